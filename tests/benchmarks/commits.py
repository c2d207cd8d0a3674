"""What a commit of a snapshot costs after many others, in every table format.

The table alone, without log and statistics: what a run of `headwater snapshot` asks of it, on a
handle of its own. The last ones alternate with the first ones of another table, so that whatever
else the machine does meets both. Prints JSON for each format:
python -m tests.benchmarks.commits [COMMITS] [FORMAT ...]
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.snapshot.changes import change
from tests.snapshot.formats import FORMATS
from tests.snapshot.storage import TOPIC, record, rows

from headwater.ports import Table
from headwater.product.snapshot import KEEP_MS, TARGET_BYTES
from headwater.snapshot.upkeep import Upkeep

COMMITS: Final = 1_000
ROWS: Final = 100  # of a commit
STATISTICS: Final = bytes(50_000)  # as large as those of a few columns
SHARE: Final = 10  # commits that are compared
MS: Final = 1_000.0


def measured(directory: Path, format_: str, commits: int) -> dict[str, Any]:
    """The figures of one format, in ms."""

    def opened(name: str = "many") -> Table:
        return FORMATS[format_](directory / name, product=TOPIC, topic=TOPIC)

    kept_ms = []
    for place in range(commits - SHARE):
        _spent_ms(opened(), place)
        kept_ms.append(_kept_ms(opened()))
    _spent_ms(opened("few"), 0)  # the very first makes the table, and is left out
    first, last = [], []
    for place in range(SHARE):
        first.append(_spent_ms(opened("few"), place + 1))
        last.append(_spent_ms(opened(), commits - SHARE + place))
    return {
        "format": format_,
        "commits": commits,
        "rows_per_commit": ROWS,
        "wall_ms": _compared([wall for wall, _ in first], [wall for wall, _ in last]),
        "cpu_ms": _compared([cpu for _, cpu in first], [cpu for _, cpu in last]),
        "upkeep_ms_per_commit": round(sum(kept_ms) / commits, 1),
        "upkeep_worst_ms": round(max(kept_ms), 1),
        "files": len(opened().files()),
        "commits_told": len(opened().commits()),
        "bytes_on_disk": sum(each.stat().st_size for each in _files(directory / "many")),
    }


def _spent_ms(table: Table, place: int) -> tuple[float, float]:
    """What a commit took: of the clock, and of the process."""
    taken = rows(place * ROWS, (place + 1) * ROWS)
    began, cpu = time.perf_counter(), time.process_time()
    _commit(table, place, taken)
    return (time.perf_counter() - began) * MS, (time.process_time() - cpu) * MS


def _commit(table: Table, place: int, taken: Any) -> None:
    """What a run asks: where to go on, of which topic and mode, and the commit."""
    named = replace(record(place * ROWS, (place + 1) * ROWS), statistics=f"statistics-{place}")
    table.evolved(taken.schema)
    last = table.last_commit()
    table.offsets("one")
    if last is not None:
        table.statistics(f"statistics-{place - 1}")
    table.commit(replace(change(taken, named), statistics=STATISTICS))
    table.offsets("one")
    table.rows()


def _kept_ms(table: Table) -> float:
    began = time.perf_counter()
    Upkeep(table, TARGET_BYTES, KEEP_MS).run_when_due()
    return (time.perf_counter() - began) * MS


def _compared(first: list[float], last: list[float]) -> dict[str, float]:
    one, other = median(first), median(last)
    return {"first_ten": round(one, 1), "last_ten": round(other, 1), "ratio": round(other / one, 2)}


def _files(directory: Path) -> Iterator[Path]:
    return (each for each in directory.rglob("*") if each.is_file())


def main() -> None:
    """Measure the formats that are named, or all."""
    commits = int(sys.argv[1]) if len(sys.argv) > 1 else COMMITS
    for format_ in sys.argv[2:] or FORMATS:
        with tempfile.TemporaryDirectory() as directory:
            found = measured(Path(directory) / "orders", format_, commits)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
