"""Decodes mutated values in a process of its own, which may die of them. Started by `test_fuzz`.

Arguments: a file of targets (JSON), a file to note the round in, the first round, and how many
values to mutate. A round is one batch, and its number is all it takes to run it again. What is
written to standard output is JSON.
"""

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.fuzz.mutation import Mutator

from headwater.contract import Decoded, Decoder, parse_contract

SIZES: Final = (1, 1, 1, 1, 2, 8, 60, 400)  # of batches: alone, a few, and enough to be halved
SOUND_SHARE: Final = 0.1  # of values left as they are: columns must find the bad among good ones
SLOW_S: Final = 0.05  # of processor time; a value that takes longer alone is a failure
TRIES: Final = 3  # the best counts: memory that is fetched once is not what a value costs
ROOM_BYTES: Final = 1 << 30  # of address space, beyond what the process has when it begins
MOST_FAILURES: Final = 20  # told; the first is enough to begin with


@dataclass(frozen=True, slots=True)
class Target:
    """What is decoded: seeds of one writer's schema, under one contract."""

    name: str
    decoder: Decoder
    seeds: Sequence[bytes]


def read_targets(file: Path) -> list[Target]:
    """The targets in a file, each with a decoder of its own."""
    return [_target(each) for each in json.loads(file.read_text())]


def _target(given: dict[str, Any]) -> Target:
    contract = parse_contract(given["contract"], topic="a.b", version=1, path=Path("v1.avsc"))
    writer: str = given["writer"]
    seeds = [bytes.fromhex(each) for each in given["seeds"]]
    return Target(given["name"], Decoder(contract, lambda _: writer), seeds)


class Fuzzer:
    """Decodes rounds on both paths and compares what they make of them."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets
        self.mutated = 0
        self.taken = 0
        self.slowest_s = 0.0
        self.codes: Counter[str] = Counter()
        self.failures: list[str] = []

    def run(self, number: int) -> None:
        """One round: a batch of one target's values, most of them mutated."""
        random = Random(number)
        target = random.choice(self._targets)
        mutator = Mutator(random)
        values: list[bytes] = []
        for seed in random.choices(target.seeds, k=random.choice(SIZES)):
            if is_mutated := random.random() >= SOUND_SHARE:
                seed = mutator.mutate(seed, target.seeds)  # noqa: PLW2901 - the same, damaged
            self.mutated += is_mutated
            values.append(seed)
        self._compare(f"round {number}, {target.name}", target.decoder, values)

    def _compare(self, case: str, decoder: Decoder, values: Sequence[bytes]) -> None:
        try:
            columnar = self._timed(case, decoder.decode, values)
            by_row = self._timed(case, decoder.decode_by_row, values)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure to report
            self.failures.append(f"{case}: {type(error).__name__}: {error}")
            return
        self.taken += columnar.frame.height
        self.codes.update(each.code.value for each in columnar.quarantined)
        if columnar.quarantined != by_row.quarantined:
            self.failures.append(f"{case}: {columnar.quarantined} but {by_row.quarantined}")
        elif not columnar.frame.equals(by_row.frame):
            self.failures.append(f"{case}: other values by column than by row")

    def _timed(
        self, case: str, decode: Callable[[Sequence[bytes]], Decoded], values: Sequence[bytes]
    ) -> Decoded:
        began = time.process_time()
        decoded = decode(values)
        took_s = time.process_time() - began
        if took_s > SLOW_S or len(values) == 1:
            self._look_at(case, decode, values, took_s)
        return decoded

    def _look_at(
        self,
        case: str,
        decode: Callable[[Sequence[bytes]], Decoded],
        values: Sequence[bytes],
        took_s: float,
    ) -> None:
        """Halve what was slow until one value is to blame, or none is."""
        if took_s > SLOW_S:
            took_s = min(took_s, *(_seconds(decode, values) for _ in range(TRIES)))
        if len(values) == 1:
            self.slowest_s = max(self.slowest_s, took_s)
            if took_s > SLOW_S:
                self.failures.append(f"{case}: {len(values[0])} bytes took {took_s:.3f} s")
        elif took_s > SLOW_S:
            middle = len(values) // 2
            for half in (values[:middle], values[middle:]):
                self._look_at(case, decode, half, _seconds(decode, half))


def _seconds(decode: Callable[[Sequence[bytes]], Decoded], values: Sequence[bytes]) -> float:
    began = time.process_time()
    decode(values)
    return time.process_time() - began


def _limit_memory() -> None:
    """No request for memory beyond some room is granted: a bomb fails where it goes off."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def _peak_mb() -> float:
    """The most memory this process ever held; `getrusage` would count its parent's, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1_024


def main() -> None:
    """Run rounds until enough values were mutated; note each round before it begins."""
    targets = read_targets(Path(sys.argv[1]))
    note, number, wanted = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    for target in targets:  # what schemas and libraries cost once is not what a value costs
        target.decoder.decode(target.seeds)
        target.decoder.decode_by_row(target.seeds)
    _limit_memory()
    fuzzer = Fuzzer(targets)
    with note.open("w") as noted:
        while fuzzer.mutated < wanted and len(fuzzer.failures) < MOST_FAILURES:
            noted.seek(0)
            noted.write(f"{number}\n")
            noted.flush()
            fuzzer.run(number)
            number += 1
    found = {
        "mutated": fuzzer.mutated,
        "rounds": number - int(sys.argv[3]),
        "taken": fuzzer.taken,
        "codes": fuzzer.codes,
        "slowest_ms": round(1_000 * fuzzer.slowest_s, 3),
        "peak_mb": round(_peak_mb(), 1),
        "failures": fuzzer.failures,
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
