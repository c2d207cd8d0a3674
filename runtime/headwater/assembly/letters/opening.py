"""Joins a product's dead letters with the broker and the registry: what the commands work on."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from headwater.adapters.kafka.consumer import KafkaSource
from headwater.adapters.kafka.damage import end_of_damage
from headwater.adapters.kafka.producer import KafkaTransactionalLog
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.audit import Action, Actor, AuditLog, Mark, Place, actor_of
from headwater.assembly.checkpoints import checkpoints_of
from headwater.assembly.letters.box import DeadLetterBox, Entry, OnProgress, Selection, in_order
from headwater.assembly.letters.ledger import Beside, Ledger
from headwater.assembly.letters.parked import ParkedKeys
from headwater.assembly.letters.payload import PayloadView
from headwater.assembly.letters.replay import Replay, Replayed, ReplayOptions
from headwater.assembly.letters.skip import Skipper
from headwater.assembly.letters.standing import Standstill
from headwater.assembly.letters.state import KeptState
from headwater.assembly.letters.work import Release
from headwater.assembly.parking import parked_changelogs
from headwater.assembly.project import LoadedProduct
from headwater.assembly.registration import registered_ids
from headwater.assembly.release import release_of
from headwater.assembly.sandbox import ChildSandbox, Setting
from headwater.assembly.starting import start_policy
from headwater.assembly.state import depends_on_others, partners, remembered, stores_on_disk
from headwater.assembly.step_bound import bounded
from headwater.assembly.tables import read_tables, tables_cut
from headwater.assembly.tasks import TaskMaker
from headwater.clock import SYSTEM
from headwater.config import Settings
from headwater.engine import (
    EventTimes,
    LetterWriter,
    Restoring,
    StartPositions,
    StateSources,
    StoredLetter,
    Stores,
    Task,
)
from headwater.errors import ConfigurationError, Problem, StartRefusedError
from headwater.model import Partition

MARKS_AT_ONCE: Final = 10_000  # per transaction: far below what a producer's queue holds
HAS_STATE: Final = "it has steps with state, which the letters change beside it"
QUIET: Final = {"log_level": "2"}  # critical: what fails here is told by an error, or tried again


class DeadLetters:
    """The dead letters of one product on one broker, until `close`.

    Every method raises UnavailableError when broker or registry do not answer.
    """

    def __init__(self, loaded: LoadedProduct, settings: Settings) -> None:
        self._loaded = loaded
        self._settings = settings
        self._is_dev = settings.environment == "dev"
        self._topics = KafkaTopics(settings.kafka)
        self._registry = SchemaRegistry(settings.registry)
        self._reader = KafkaLogReader(settings.kafka)
        self.actor: Final = Actor(
            actor_of(settings), loaded.name, release_of(loaded.root, settings)
        )
        self._audit = AuditLog(self._topics, self._registry, self._reader)
        self.box: Final = DeadLetterBox(loaded.name, self._topics, self._reader, self._audit)

    def close(self) -> None:
        """Abort what is open and let go of the clients."""
        for name in ("_log", "_group"):
            if name in self.__dict__:
                self.__dict__[name].close()
        self._reader.close()
        self._registry.close()

    def payload(self, letter: StoredLetter) -> dict[str, Any] | str:
        """Key, value and headers as a person may see them, or why they cannot be shown."""
        found, refused = self.box.originals([letter])
        for each in refused:
            return each.reason
        contracts = [
            self._loaded.inputs[stream.contract_name]
            for stream in self._loaded.streams().get(letter.source.topic, ())
        ]
        if not contracts:
            return f"{self._loaded.name} no longer reads {letter.source.topic}: no contract tells"
        (record,) = found.values()
        return PayloadView(contracts, self._registry.schema).shown(record)

    def replay(
        self, selection: Selection, options: ReplayOptions, on_progress: OnProgress
    ) -> Replayed:
        """Replay open letters; see `Replay.run`. Raises DeclarationError, StartRefusedError."""
        if not options.is_dry:
            self._audit.prepare(is_creating=self._is_dev)
        ids = registered_ids(self._loaded, self._registry, is_registering=self._is_dev)
        bound_s = self._settings.step_timeout.total_seconds()
        loaded = bounded(self._loaded, bound_s)
        setting = Setting(self._loaded.file, ids, self._registry, bound_s, loaded.tables)
        with ExitStack() as opened:
            stores = self._stores()
            letters = LetterWriter(self.box.topic, self.actor.release)
            maker = TaskMaker(
                loaded,
                ids,
                self._registry,
                self._topics,
                letters,
                stores=stores,
                repartitions=self._repartitions(),
            )
            tasks = maker.tasks()
            read_tables(maker, self._reader, tables_cut([loaded], self._topics))
            sandbox = opened.enter_context(closing(ChildSandbox(setting)))
            release = Release(
                tasks.get,
                sandbox,
                repartitions=loaded.repartitions,
                remembered=remembered(loaded),
            )
            ledger = self._ledger
            if depends_on_others(loaded):
                state = opened.enter_context(self._kept_state(tasks, stores).held())
                release = replace(release, state=state)
                ledger = self._new_ledger(state)
            replay = Replay(self.box, ledger, release, topics=self._topics, reader=self._reader)
            return replay.run(selection, options, on_progress)

    def _stores(self) -> Stores:
        """Where the product has them: who runs here next finds them up to date."""
        return stores_on_disk(self._loaded, self._settings.state_dir, self._topics)

    def _repartitions(self) -> dict[str, int]:
        counts = {topic: self._topics.partitions(topic) for topic in self._loaded.repartitions}
        missing = [topic for topic, count in counts.items() if count is None]
        if missing:
            text = f"there is no topic {', '.join(missing)}; run this release once, then replay"
            raise StartRefusedError(text, code="TOPIC_MISSING")
        return {topic: count for topic, count in counts.items() if count is not None}

    def _kept_state(self, tasks: Mapping[str, Task], stores: Stores) -> KeptState:
        standstill = Standstill(
            self._loaded.name, list(tasks), self._group, self._topics, why=HAS_STATE
        )
        marks = {topic: task.watermarks for topic, task in tasks.items() if task.watermarks}
        checkpoints = checkpoints_of(stores, self._settings)
        sources = StateSources(self._topics, self._reader, checkpoints)
        return KeptState(
            standstill,
            Restoring(stores, sources, SYSTEM),
            EventTimes(marks, SYSTEM),
            StartPositions(start_policy(self._loaded), self._topics, self._reader),
            partners=partners(self._loaded),
        )

    def discard(self, selection: Selection, reason: str, on_progress: OnProgress) -> int:
        """Mark the open letters that are meant as discarded; how many they were."""
        self._audit.prepare(is_creating=self._is_dev)
        self._ledger.take_over()
        meant, others = self.box.divided(selection, on_progress)
        self._ledger.know(open_letters([*meant, *others]))
        letters = open_letters(in_order(meant))
        for first in range(0, len(letters), MARKS_AT_ONCE):
            part = letters[first : first + MARKS_AT_ONCE]
            self._ledger.commit([self._discarded(letter, reason) for letter in part])
        return len(letters)

    def _discarded(self, letter: StoredLetter, reason: str) -> Mark:
        return Mark(
            Action.DISCARDED,
            letter.partition,
            letter.offset,
            code=letter.code,
            reason=reason,
            letter=letter,
            topic_id=self.box.topic_id,
        )

    def skip(self, place: Place, end: int | None, reason: str) -> int:
        """Move the stopped product on from `place` to `end`, which is returned; see `Skipper.skip`.

        Without an `end` it is moved past one record, or past the whole batch where that is damaged.
        """
        partition, offset = place
        self._require_input(partition)
        if end is None:
            end = max(offset + 1, end_of_damage(self._settings.kafka, partition, offset))
        self._audit.prepare(is_creating=self._is_dev)
        skipper = Skipper(self._group, self._log, self._audit, self.actor, self._topics)
        skipper.skip(place, end, reason)
        return end

    def _require_input(self, partition: Partition) -> None:
        if partition.topic not in self._loaded.streams():
            text = f"{partition.topic} is no input of {self._loaded.name}"
            raise ConfigurationError([Problem("BAD_VALUE", text)])
        count = self._topics.partitions(partition.topic)
        if count is None:
            raise StartRefusedError(f"there is no topic {partition.topic}", code="TOPIC_MISSING")
        if partition.index >= count:
            has = "1 partition" if count == 1 else f"{count} partitions"
            text = f"{partition.topic} has {has}, numbered from 0: {partition} is none"
            raise ConfigurationError([Problem("BAD_VALUE", text)])

    @cached_property
    def _group(self) -> KafkaSource:
        """Of the product's group, under a member id that no process of it has; it never joins."""
        return KafkaSource(self._quiet, group=self._loaded.name, member=self.box.topic)

    @property
    def _quiet(self) -> Mapping[str, str]:
        return {**QUIET, **self._settings.kafka}

    @cached_property
    def _log(self) -> KafkaTransactionalLog:
        return KafkaTransactionalLog(self._quiet, transactional_id=self.box.topic)

    @cached_property
    def _ledger(self) -> Ledger:
        keeps_order = self._loaded.product.dead_letters.keep_order
        return self._new_ledger(self._parked_keys() if keeps_order else None)

    def _new_ledger(self, beside: Beside | None) -> Ledger:
        return Ledger(
            self._log, self._audit, self.actor, dead_letters=self.box.topic, beside=beside
        )

    def _parked_keys(self) -> ParkedKeys:
        changelogs = {topic: log for log, topic in parked_changelogs(self._loaded).items()}
        return ParkedKeys(
            self._loaded.name, changelogs, self._group, topics=self._topics, reader=self._reader
        )


def open_letters(entries: Sequence[Entry]) -> list[StoredLetter]:
    """The letters that nothing was decided about yet."""
    return [each.letter for each in entries if each.status == "open"]
