"""Proves the logs of a product against its inputs: what is declared today, run over them again.

What stands in a log is compared as a multiset of key and value, whatever its offset: a record of
the input is processed once, but which transaction its results are in is nobody's promise. Both are
of one moment: what is committed of a log is what was made of the records below the positions that
were committed with it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import polars as pl

from headwater.assembly.diff.maps import maps_in_order
from headwater.assembly.diff.side import Outside, Side
from headwater.assembly.left_out import LeftOut
from headwater.assembly.project import LoadedProduct
from headwater.assembly.recomputability import why_not
from headwater.assembly.registration import lookup_ids
from headwater.assembly.state import depends_on_others
from headwater.contract import ROW
from headwater.errors import UnverifiableError
from headwater.model import Partition
from headwater.ports import Records, Topics
from headwater.snapshot.column_hashes import xxh3_64
from headwater.snapshot.cut import is_compacted
from headwater.snapshot.multiset import digests
from headwater.snapshot.rows import RowCodec

READ_AT_ONCE: Final = 40_000  # records
SHOWN: Final = 20  # differences told one by one; the rest are counted
_NTH: Final = "nth"
_ROWS: Final = {
    "digest": pl.UInt128,  # of key and value
    "key": pl.UInt64,  # its hash
    "place": pl.String,  # topic and partition of the record it stands in, or was made of
    "offset": pl.Int64,
}

Progress = Callable[[int, int], None]
"""Told how many offsets of inputs and logs are read, and how many there are."""

Ranges = Mapping[Partition, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class SourceVerdict:
    """A log beside what its inputs make.

    `recomputed` and `logged` are rows. A difference is a sentence with its place and the hash of
    its key. So many rows are `unchecked`, because their other side is not retained; `undecided`
    says why. So many records of all inputs are `left_out`: they were set aside or skipped.
    """

    topic: str
    recomputed: int
    logged: int
    differences: Sequence[str]
    difference_count: int
    unchecked: int
    undecided: Sequence[str]
    left_out: int = 0

    @property
    def outcome(self) -> Literal["equal", "different", "unverifiable"]:
        """Equal only when everything was compared and nothing differs."""
        if self.difference_count:
            return "different"
        return "unverifiable" if self.undecided else "equal"


@dataclass(frozen=True, slots=True)
class _Held:
    """What there is to read of some topics; `lost` says of which of it not all is retained."""

    ranges: Ranges
    lost: str

    @classmethod
    def of(cls, topics: Topics, ends: Mapping[Partition, int]) -> "_Held":
        beginnings: dict[Partition, int] = {}
        for topic in sorted({partition.topic for partition in ends}):
            beginnings.update(topics.beginnings(topic))
        ranges = {p: (min(beginnings[p], end), end) for p, end in ends.items()}
        lost = [f"{p} begins at {beginnings[p]}" for p in sorted(ends) if beginnings[p]]
        compacted = sorted({p.topic for p in ends if is_compacted(topics, p.topic)})
        return cls(ranges, ", ".join([*lost, *(f"{each} is compacted" for each in compacted)]))


@dataclass(slots=True)
class _Port:
    """The rows of one output from both sides; 40 to 60 bytes each."""

    codec: RowCodec
    maps: Sequence[pl.Expr]
    recomputed: list[pl.DataFrame] = field(default_factory=lambda: [pl.DataFrame(schema=_ROWS)])
    logged: list[pl.DataFrame] = field(default_factory=lambda: [pl.DataFrame(schema=_ROWS)])
    unreadable: list[str] = field(default_factory=list)

    def add_made(self, frame: pl.DataFrame, records: Records) -> None:
        """What is made of records of an input; `_row` leads back to them."""
        found = self.codec.bodies(frame)
        offsets, made_of = records.offsets(), found.rows.to_list()
        places = _place(records), [offsets[row] for row in made_of]
        self.recomputed.append(_rows(found.keys, found.values, *places))

    def add_results(self, frame: pl.DataFrame, records: Records) -> None:
        """What no single record made, as windows that closed, by the end of these records."""
        found = self.codec.bodies(frame)
        place = f"what event time closed in {_place(records)} up to "
        at = [records.offsets()[-1]] * len(found.values)
        self.recomputed.append(_rows(found.keys, found.values, place, at))

    def add_logged(self, records: Records) -> None:
        """Records of the log, as they are read today."""
        rows = self.codec.from_log(records)
        place = _place(records)
        self.unreadable += [f"{place}@{at} is no row: {bad.code}" for at, bad in rows.refused]
        frame = rows.frame.drop(ROW).with_columns(self.maps)
        found = self.codec.bodies(frame)
        self.logged.append(_rows(rows.keys, found.values, place, rows.numbered.offsets))


class Recomputation:
    """Compares every log of a product with what its inputs make today. Publishes nothing.

    `outside` is what is read from. Raises UnverifiableError (NOT_RECOMPUTABLE) for a product whose
    results hang on more than the records of one input partition each.
    """

    def __init__(self, loaded: LoadedProduct, outside: Outside) -> None:
        if reason := why_not(loaded, outside.topics):
            raise _refusal(loaded, reason)
        self._loaded = loaded
        self._outside = outside
        self._has_state = depends_on_others(loaded)

    def run(self, progress: Progress) -> list[SourceVerdict]:
        """Compare, up to the positions that the product has committed.

        Raises UnverifiableError: NOT_RECOMPUTABLE when neither all inputs nor all of a log are
        retained, or the product never ran, or it has state and not all that made it is in the
        inputs in its order; PRODUCT_MOVED when it went on meanwhile. Else DeclarationError
        (NOT_REGISTERED), UnavailableError, and ResultRefusedError where it would stop.
        """
        topics, registry = self._outside.topics, self._outside.registry
        committed = self._committed()
        ends = {p: end for topic in self._loaded.outputs for p, end in topics.ends(topic).items()}
        inputs, logs = _Held.of(topics, committed), _Held.of(topics, ends)
        left_out = LeftOut.of(self._loaded, self._outside)
        if reason := self._why_lost(inputs, logs, left_out):
            raise _refusal(self._loaded, reason)
        ids = lookup_ids(self._loaded.outputs.values(), registry)
        ports = {
            topic: _Port(RowCodec(each, *ids[topic], lookup=registry.schema), maps_in_order(each))
            for topic, each in self._loaded.outputs.items()
        }
        total = sum(end - start for held in (inputs, logs) for start, end in held.ranges.values())
        names = {output.port: output.topic for output in self._loaded.product.outputs}
        done = omitted = 0
        for side, records, passed in self._made_by(inputs.ranges):
            guilty = left_out.among(records)
            for name, frame in side.process(records, guilty).frames.items():
                ports[names[name]].add_made(frame, records)
            for name, frames in side.take_results().items():
                ports[names[name]].add_results(pl.concat(frames), records)
            omitted += len(guilty)
            done += passed
            progress(done, total)
        for records, passed in self._read(logs.ranges):
            ports[records.topic].add_logged(records)
            done += passed
            progress(done, total)
        if self._committed() != committed:
            raise UnverifiableError(
                f"{self._loaded.name} went on while its inputs were read; run the command again"
                f" when it is stopped or has nothing to do.",
                code="PRODUCT_MOVED",
            )
        progress(total, total)
        verdicts = [_verdict(topic, port, inputs, logs) for topic, port in ports.items()]
        return [replace(each, left_out=omitted) for each in verdicts]

    def _why_lost(self, inputs: _Held, logs: _Held, left_out: LeftOut) -> str:
        """What is not there any more and nothing can be said without; empty when all is."""
        if self._has_state and inputs.lost:
            return f"it has state, and what made it is not all there: {inputs.lost}"
        if self._has_state and left_out.replayed is not None:
            partition, offset = left_out.replayed
            return f"it has state, and {partition}@{offset} was set aside and came back out of turn"
        return f"{inputs.lost}, and {logs.lost}" if inputs.lost and logs.lost else ""

    def _committed(self) -> dict[Partition, int]:
        """Where the product stands on each input partition; at 0 where it has not begun."""
        topics, name = self._outside.topics, self._loaded.name
        found: dict[Partition, int] = {}
        for topic in self._loaded.streams():
            for index in range(topics.partitions(topic) or 0):
                found[Partition(topic, index)] = 0
            found.update(topics.group_offsets(name, topic))
        if not any(found.values()):
            raise _refusal(self._loaded, "it has committed no position on its inputs yet")
        return found

    def _made_by(self, ranges: Ranges) -> Iterator[tuple[Side, Records, int]]:
        """The inputs, and who makes of them what; with state one for each partition.

        What it keeps is let go of with it: no more than the state of one partition is in memory.
        """
        parts = [{place: each} for place, each in sorted(ranges.items())]
        for part in parts if self._has_state else [ranges]:
            side = Side(self._loaded, self._outside, {})
            for records, passed in self._read(part):
                yield side, records, passed

    def _read(self, ranges: Ranges) -> Iterator[tuple[Records, int]]:
        """Records, each with how many offsets they bring it on."""
        reached = {partition: start for partition, (start, _) in ranges.items()}
        for records in self._outside.reader.read(ranges, max_records=READ_AT_ONCE):
            ((partition, end),) = records.ends().items()
            yield records, end - reached[partition]
            reached[partition] = end


def _refusal(loaded: LoadedProduct, reason: str) -> UnverifiableError:
    return UnverifiableError(
        f"The logs of {loaded.name} cannot be recomputed: {reason}. `headwater verify` without"
        f" --against-source proves its snapshots.",
        code="NOT_RECOMPUTABLE",
    )


def _place(records: Records) -> str:
    return str(records.raw(0).partition)


def _rows(keys: Any, bodies: Any, place: str, offsets: pl.Series | Sequence[int]) -> pl.DataFrame:
    nowhere = pl.zeros(len(bodies), pl.Int64, eager=True)  # where they stand is not compared
    columns = {
        "digest": digests(0, nowhere, keys, bodies),
        "key": xxh3_64(pl.Series(keys.fill_null(b""))),
        "place": [place] * len(bodies),
        "offset": offsets,
    }
    return pl.DataFrame(columns, schema=_ROWS)


def _verdict(topic: str, port: _Port, inputs: _Held, logs: _Held) -> SourceVerdict:
    made, logged = pl.concat(port.recomputed), pl.concat(port.logged)
    missing, extra = _unmatched(made, logged, "digest"), _unmatched(logged, made, "digest")
    changed, undecided = extra.clear(), ""
    unchecked = 0
    if inputs.lost:
        unchecked, extra = extra.height, extra.clear()
        undecided = f"rows of the log are of records that are gone: {inputs.lost}"
    elif logs.lost:
        unchecked, missing = missing.height, missing.clear()
        undecided = f"rows have left the log: {logs.lost}"
    else:
        changed = _matched(extra, missing)
        extra, missing = _unmatched(extra, missing, "key"), _unmatched(missing, extra, "key")
    told = [
        *port.unreadable,
        *_sentences(changed, "is not what the inputs make of this key"),
        *_sentences(extra, "is in the log, and made of no record of the inputs"),
        *_sentences(missing, "makes a row that is not in the log"),
    ]
    count = len(port.unreadable) + changed.height + extra.height + missing.height
    return SourceVerdict(
        topic=topic,
        recomputed=made.height,
        logged=logged.height,
        differences=told[:SHOWN],
        difference_count=count,
        unchecked=unchecked,
        undecided=[f"{unchecked:,} {undecided}"] if unchecked else [],
    )


def _numbered(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """With the place of each row among those of one value."""
    return rows.with_columns(pl.int_range(pl.len()).over(column).alias(_NTH))


def _unmatched(rows: pl.DataFrame, others: pl.DataFrame, column: str) -> pl.DataFrame:
    """The rows whose value the others do not have as often."""
    one, other = _numbered(rows, column), _numbered(others, column)
    return one.join(other, on=[column, _NTH], how="anti").drop(_NTH).sort("place", "offset")


def _matched(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """The rows whose key the others have as often."""
    one, other = _numbered(rows, "key"), _numbered(others, "key")
    return one.join(other, on=["key", _NTH], how="semi").drop(_NTH).sort("place", "offset")


def _sentences(rows: pl.DataFrame, what: str) -> list[str]:
    return [
        f"{each['place']}@{each['offset']} {what} (key hash {each['key']:016x})"
        for each in rows.head(SHOWN).iter_rows(named=True)
    ]
