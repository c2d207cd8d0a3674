"""Where a product begins to read: declared, committed before the first record (promise 9)."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from headwater.clock import Clock
from headwater.engine.attempts import Attempts
from headwater.engine.state_of_before import refuse_state_of_before
from headwater.engine.watermarks import EventTimes
from headwater.errors import (
    AbortableError,
    RecycleError,
    RetriableError,
    StartRefusedError,
    UnavailableError,
)
from headwater.model import Partition, Positions
from headwater.ports import LogReader, RecordSource, Topics

EMPTY_GROUP_S: Final = (
    20.0  # above session.timeout.ms (12 s): a killed static member is still in the group until then
)

Start = Literal["earliest", "latest"] | int
"""A time is milliseconds since the epoch, compared with publish times."""


@dataclass(frozen=True, slots=True)
class StartPolicy:
    """The start of each input topic as declared, and the operator's explicit one, if any.

    `outputs`, `changelogs` and `repartitions` are topics of the product's own; of a changelog, with
    the topics whose records change what is in it: partition i of each is its task i. Those in
    `parked` say which keys wait for letters, and are right wherever the product begins: nothing is
    added up in them. `backfilled` is where partitions begin whose records are at hand although the
    log has dropped them: in a snapshot.
    """

    group: str
    inputs: Mapping[str, Start]
    outputs: Sequence[str]
    explicit: Start | None = None
    changelogs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    repartitions: Sequence[str] = ()
    parked: Collection[str] = ()
    backfilled: Positions = field(default_factory=dict)


class StartPositions:
    """Resolves and checks positions; the only writer of the note beside committed offsets."""

    def __init__(self, policy: StartPolicy, topics: Topics, reader: LogReader) -> None:
        self._policy = policy
        self._topics = topics
        self._reader = reader
        frozen = (*policy.outputs, *policy.repartitions)
        self._outputs = {topic: topics.partitions(topic) for topic in frozen}
        self._changelogs = {topic: topics.topic_id(topic) for topic in policy.changelogs}
        self._frozen: dict[str, object] = {"outputs": self._outputs}
        if self._changelogs:
            self._frozen["changelogs"] = self._changelogs
        self._note = _text(self._frozen)

    def note(self, more: Mapping[str, object]) -> str:
        """The metadata of a committed offset: the frozen partition counts, and what more there is.

        Attempts, and how far event time has come.
        """
        return _text({**self._frozen, **more}) if more else self._note

    def commit_before_joining(self, source: RecordSource, clock: Clock) -> None:
        """Resolve and commit the start of every input topic that has no offset of the group.

        Only an empty group takes such a commit: of two processes that start at
        once one wins, and the other reads what it wrote. Raises StartRefusedError: `OFFSETS_LOST`,
        and `STATE_OF_BEFORE` when there is state of partitions that have no offset.
        """
        policy = self._policy
        changelogs = {c: t for c, t in policy.changelogs.items() if c not in policy.parked}
        refuse_state_of_before(policy.group, changelogs, self._topics, self._reader)
        deadline = clock.monotonic() + EMPTY_GROUP_S
        lacking = [
            (topic, start)
            for topic, start in policy.inputs.items()
            if not self._topics.group_offsets(policy.group, topic)
        ]
        for topic, start in lacking:
            self._resolve(topic, start)  # refuses before anything is committed
        # Own topics first: who is killed in between is asked for the start of the inputs again.
        for topic, start in (*self._own(), *lacking):
            while not self._topics.group_offsets(policy.group, topic):
                positions = self._resolve(topic, start)
                try:
                    source.commit_start(positions)
                except RetriableError as error:
                    if clock.monotonic() > deadline:
                        raise UnavailableError(
                            f"{topic}: the start position cannot be committed: {error}"
                        ) from error

    def _own(self) -> Iterator[tuple[str, Start]]:
        """Where to begin on repartition topics that the group has no offset of.

        All of it is still to be read. Where an operator begins anew, what is there is of before.
        """
        start: Start = "earliest" if self._policy.explicit is None else "latest"
        return ((topic, start) for topic in self._policy.repartitions)

    def check(
        self,
        partitions: Sequence[Partition],
        source: RecordSource,
        attempts: Attempts,
        times: EventTimes,
    ) -> Positions:
        """Where to begin on each assigned partition; `attempts` learns what was tried there.

        And `times` how far event time had come.

        Raises StartRefusedError: `DATA_LOSS` when a committed position is no longer in the log,
        `PARTITIONS_CHANGED` when an output has another partition count than when last written,
        `CHANGELOG_LOST` when a changelog is not the topic it was then.
        """
        committed = source.committed(partitions)
        notes = source.metadata(partitions)
        self._check_outputs(notes)
        positions: dict[Partition, int] = {}
        ends: dict[Partition, int] = {}
        for topic in sorted({partition.topic for partition in partitions}):
            first, end = self._beginnings(topic), self._topics.high_watermarks(topic)
            ends.update(end)
            for partition in (p for p in partitions if p.topic == topic):
                # a partition without an offset is new: the group has offsets on others
                positions[partition] = committed.get(partition, first[partition])
                _check_range(partition, positions[partition], first[partition], end[partition])
        attempts.assigned(positions, notes, ends)
        times.assigned(partitions, notes)
        return positions

    def is_all_read(self, targets: Positions, source: RecordSource) -> bool:
        """Whether the group read its inputs up to `targets`, and then all that was moved.

        Each process writes to the tasks of the others: none is done before all are. What is under
        way to a repartition topic is below its high watermark, and is yet to be read.
        """
        try:
            committed = source.committed(list(targets))
            if any(committed.get(p, 0) < end for p, end in targets.items()):
                return False
            for topic in self._policy.repartitions:
                ends = self._topics.high_watermarks(topic)
                found = source.committed(list(ends))
                if any(found.get(p, 0) < end for p, end in ends.items()):
                    return False
        except (AbortableError, RecycleError, RetriableError):
            return False  # the next turn meets the cause and mends it, and we are asked again
        return True

    def _resolve(self, topic: str, declared: Start) -> Positions:
        is_input = topic in self._policy.inputs
        start = self._policy.explicit if is_input else declared
        if start is None:
            self._refuse_if_ever_written(topic)
            start = declared
        if start == "earliest":
            return self._beginnings(topic)
        if start == "latest":
            return self._topics.ends(topic)
        return self._topics.at_time(topic, start)

    def _beginnings(self, topic: str) -> Positions:
        """The first offsets that can be read."""
        held = self._policy.backfilled
        return {p: min(at, held.get(p, at)) for p, at in self._topics.beginnings(topic).items()}

    def _refuse_if_ever_written(self, topic: str) -> None:
        if any(
            self._topics.group_offsets(self._policy.group, other) for other in self._policy.inputs
        ):
            return  # a new input of a running product
        written = [
            name
            for name in self._policy.outputs
            if any(self._topics.high_watermarks(name).values())
        ]
        if written:
            raise StartRefusedError(
                f"group {self._policy.group} has no offsets on {topic} but {', '.join(written)} "
                "was written before; going on would publish twice or leave a gap: "
                "restore the offsets, or say --start",
                code="OFFSETS_LOST",
            )

    def _check_outputs(self, notes: Mapping[Partition, str]) -> None:
        for partition, note in notes.items():
            found = json.loads(note) if note.startswith("{") else {}
            self._check_changelogs(partition, found.get("changelogs", {}))
            recorded: dict[str, int] = found.get("outputs", {})
            for topic, count in self._outputs.items():
                if recorded.get(topic, count) != count:
                    raise StartRefusedError(
                        f"{topic} has {count} partitions and had {recorded[topic]} when "
                        f"{partition} was last committed; keys would move: restore the count, "
                        "or publish to a new major",
                        code="PARTITIONS_CHANGED",
                    )

    def _check_changelogs(self, partition: Partition, recorded: Mapping[str, str]) -> None:
        for topic, topic_id in self._changelogs.items():
            if recorded.get(topic, topic_id) != topic_id:
                raise StartRefusedError(
                    f"{topic} was deleted or made anew since {partition} was last committed, and "
                    "the state with it; restore the topic, or begin anew (docs/state.md, To begin "
                    "anew)",
                    code="CHANGELOG_LOST",
                )


def _text(note: Mapping[str, object]) -> str:
    return json.dumps(note, sort_keys=True, separators=(",", ":"))


def _check_range(partition: Partition, position: int, first: int, end: int) -> None:
    if first <= position <= end:
        return
    raise StartRefusedError(
        f"{partition}: committed position {position} is outside the log ({first} to {end}): "
        "records were removed before they were read, or the topic was made anew; an operator must "
        "decide where to go on: in a snapshot that has them, with `headwater backfill`, or behind",
        code="DATA_LOSS",
    )
