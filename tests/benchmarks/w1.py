"""One measured run of a product, in a process of its own; prints one JSON line.

The clocks start with the first batch that the loop processed and stop when the ends are reached.
CPU is user and system time of this whole process, librdkafka's threads included.
"""

import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from unittest import mock

from headwater.adapters.kafka.producer import KafkaTransactionalLog
from headwater.assembly.addresses import resolve
from headwater.assembly.collection import rare_collections
from headwater.assembly.processor import Processor, Telling
from headwater.assembly.project import load_product
from headwater.config import load_settings
from headwater.model import (
    CheckpointStanding,
    Code,
    Halt,
    Partition,
    Positions,
    Refusal,
    RestoreStanding,
    RuleViolation,
    StoreStanding,
    TableStanding,
)
from headwater.ports import CommitOutcome


class Stopwatch:
    """A monitor that starts with the first processed batch and adds up what was committed."""

    def __init__(self) -> None:
        self.began_s: float | None = None
        self.began_cpu_s = 0.0
        self.read = self.written = self.transactions = self.failed = 0

    def alive(self) -> None:
        pass

    def assigned(self, partitions: int) -> None:
        pass

    def unassigned(self) -> None:
        pass

    def processed(self, topic: str, seconds: float) -> None:
        if self.began_s is None:
            # the batch itself counts: processing is CPU bound, so its time is taken off both
            self.began_s = time.perf_counter() - seconds
            self.began_cpu_s = time.process_time() - seconds

    def counted(
        self, *, read: Mapping[str, int], written: Mapping[str, int], codes: Mapping[Code, int]
    ) -> None:
        self.read += sum(read.values())
        self.written += sum(written.values())

    def skipped(self, records: Mapping[str, int]) -> None:
        pass

    def late(self, rows: Mapping[str, int]) -> None:
        pass

    def duplicates(self, rows: Mapping[str, int]) -> None:
        pass

    def unordered(self, rows: Mapping[str, int]) -> None:
        pass

    def rules_broken(self, violations: Sequence[RuleViolation]) -> None:
        pass

    def limits_used(self, used: Mapping[str, float]) -> None:
        pass

    def ended(self, ending: str, seconds: float) -> None:
        self.transactions += ending == "committed"
        self.failed += ending != "committed"

    def stands_at(self, positions: Positions, published_ms: Mapping[Partition, int]) -> None:
        pass

    def waiting(self, reason: str | None) -> None:
        pass

    def restoring(self, standings: Sequence[RestoreStanding]) -> None:
        pass

    def checkpoint_passed_over(self, name: str, reason: str) -> None:
        pass

    def checkpoint_taken(self, place: str) -> None:
        pass

    def checkpointed(self, checkpoint: CheckpointStanding) -> None:
        pass

    def stores(self, standings: Sequence[StoreStanding]) -> None:
        pass

    def parked(self, topic: str, keys: int, letters: int) -> None:
        pass

    def ends(self, ends: Positions) -> None:
        pass

    def halted(self, halts: Sequence[Halt]) -> None:
        pass

    def tables(self, standings: Sequence[TableStanding]) -> None:
        pass

    def tables_refused(self, refusals: Sequence[Refusal]) -> None:
        pass


def timed_commits() -> list[float]:
    """How long each commit call will have taken, in seconds; filled while the product runs."""
    durations_s: list[float] = []
    commit = KafkaTransactionalLog.commit

    def timed(log: KafkaTransactionalLog) -> CommitOutcome:
        began = time.perf_counter()
        outcome = commit(log)
        durations_s.append(time.perf_counter() - began)
        return outcome

    mock.patch.object(KafkaTransactionalLog, "commit", timed).start()
    return durations_s


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main(product: str) -> None:
    """Run the product until the ends of now and print the figures."""
    watch = Stopwatch()
    settings = resolve(load_settings())
    commits_s = timed_commits()
    processor = Processor(load_product(product), settings, Telling(watch, lambda _text: None))
    with rare_collections():
        processor.loop.run(processor.targets())
    seconds = time.perf_counter() - (watch.began_s or 0.0)
    cpu_s = time.process_time() - watch.began_cpu_s
    processor.close()
    figures = {
        "records": watch.read,
        "written": watch.written,
        "seconds": round(seconds, 3),
        "records_per_second": round(watch.read / seconds),
        "cpu_us_per_record": round(cpu_s / watch.read * 1e6, 3),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "transactions": watch.transactions,
        "failed_transactions": watch.failed,
        "commit_ms_p50": round(percentile(commits_s, 0.5) * 1e3, 2),
        "commit_ms_p99": round(percentile(commits_s, 0.99) * 1e3, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1])
