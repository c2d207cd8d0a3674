"""Which files upkeep merges: a pure plan of their sizes and places."""

from headwater.ports import TableFile
from headwater.snapshot.upkeep import planned

TARGET = 100


def files(*sizes: int, partition: int = 0, value: str | None = None) -> list[TableFile]:
    """Files one after the other, of ten offsets each."""
    return [
        TableFile(
            f"{partition}-{value}-{place}",
            10,
            (partition, partition),
            (10 * place, 10 * place + 9),
            value,
            size,
        )
        for place, size in enumerate(sizes)
    ]


def sizes(found: list[list[TableFile]]) -> list[list[int]]:
    """The sizes of the files that become one."""
    return [[file.size or 0 for file in group] for group in found]


def test_neighbours_become_one_file_when_they_are_half_a_target_together() -> None:
    """However few they are, and no file gets larger than the target."""
    assert sizes(planned(files(30, 30), TARGET)) == [[30, 30]]
    assert sizes(planned(files(40, 40, 40), TARGET)) == [[40, 40]]
    assert sizes(planned(files(10, 10), TARGET)) == []


def test_large_files_are_left_alone_and_part_their_neighbours() -> None:
    """Else a merged file would span what another one holds."""
    assert sizes(planned(files(30, 60, 30), TARGET)) == []
    assert sizes(planned(files(30, 30, 60, 30, 30), TARGET)) == [[30, 30], [30, 30]]


def test_tiny_files_are_merged_once_they_are_many() -> None:
    """With older ones that are no larger than all of them together."""
    assert sizes(planned(files(*[1] * 7), TARGET)) == []
    assert sizes(planned(files(*[1] * 8), TARGET)) == [[1] * 8]
    assert sizes(planned(files(8, *[1] * 8), TARGET)) == [[8, *[1] * 8]]
    assert sizes(planned(files(9, *[1] * 8), TARGET)) == [[1] * 8]


def test_partitions_and_values_are_not_mixed() -> None:
    """A file is of one place of the table."""
    mixed = files(30, partition=0) + files(30, partition=1) + files(30, value="a")
    assert planned(mixed, TARGET) == []


def test_a_file_of_which_nothing_is_known_is_left_alone() -> None:
    """Its rows may stand anywhere."""
    unknown = [TableFile("a", 1, None, None, size=30), TableFile("b", 1, (0, 0), (0, 9))]
    assert planned([*unknown, *files(30)], TARGET) == []


def test_a_row_is_written_anew_a_few_times_only() -> None:
    """A thousand tiny commits: few files stay, and little is written for it."""
    target, written = 1 << 20, 0
    stored: list[TableFile] = []
    for number in range(1_000):
        stored.append(TableFile(str(number), 1, (0, 0), (number, number), None, 10))
        for group in planned(stored, target):
            size = sum(file.size or 0 for file in group)
            places = [file.offsets or (0, 0) for file in group]
            merged = TableFile(f"m{number}", 1, (0, 0), (places[0][0], places[-1][1]), None, size)
            stored = [each for each in stored if each not in group] + [merged]
            written += size
    assert sum(file.size or 0 for file in stored) == 10_000
    assert len(stored) <= 16
    assert written <= 10_000 * 10  # the binary logarithm of so many commits
