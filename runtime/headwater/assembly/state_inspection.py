"""What is stored on this machine of the steps of a stopped product, as a person may see it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.assembly.keys import encodings_of
from headwater.assembly.parking import parked_changelogs
from headwater.assembly.plain import PlainValueError, column_of, plain_events
from headwater.assembly.project import LoadedProduct
from headwater.contract import StateRows, masked_fields, touches
from headwater.engine import changelog_of, parked_rows
from headwater.engine.parking import OF_KEY, TOTALS
from headwater.errors import (
    ConfigurationError,
    Problem,
    RebuildError,
    StartRefusedError,
    StateInUseError,
)
from headwater.flow import StatefulStage
from headwater.ports import LocalStore, Mark
from headwater.redaction import REDACTED

MEMORY_BYTES: Final = 16 << 20  # of RocksDB, for one store at a time
SLICE_KEYS: Final = 20_000  # counted between two words about the progress

Progress = Callable[[int, int], None]
"""Hears what is counted, and about how many there are."""


@dataclass(frozen=True, slots=True)
class InspectedTask:
    """The local store of a task: so many keys, up to this mark; None: nothing vouches for it.

    `found` is the row of the key that was asked for, with what is sensitive masked.
    """

    task: int
    keys: int
    mark: Mark | None
    found: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class InspectedStore:
    """What is stored of a step of an output. `key` and `row` are columns and their types."""

    output: str
    step: str
    changelog: str
    key: Mapping[str, str]
    row: Mapping[str, str]
    tasks: list[InspectedTask]


@dataclass(frozen=True, slots=True)
class _Kept:
    """How the entries of a step stand in its store.

    `keys` gives the bytes that a text may mean, `shown` are the columns for a person. `total` is
    the key of an entry that adds up all others; where there is one, all are counts and places.
    """

    output: str
    step: str
    key: Mapping[str, str]
    rows: StateRows
    keys: Callable[[str], Sequence[bytes]]
    shown: Sequence[str]
    total: bytes | None = None


class StateInspection:
    """Looks at the state of one step below `directory`; every output that has the step.

    The step of what is parked behind dead letters is the input topic.
    Raises ConfigurationError (UNKNOWN_STEP) when no output has such a step with state.
    """

    def __init__(self, loaded: LoadedProduct, step: str, directory: Path) -> None:
        self._loaded = loaded
        self._directory = directory
        stages = [(each.output, stage) for each in loaded.sections for stage in each.plan.stateful]
        # both sides of a join have one store
        kept = {(topic, stage.step.name): _kept(topic, stage) for topic, stage in stages}
        kept |= {(each.output, each.step): each for each in _parked(loaded)}
        self._kept = [each for (_, name), each in kept.items() if name == step]
        if not self._kept:
            known = ", ".join(sorted({name for _, name in kept})) or "none"
            text = f"{loaded.name} has no step {step} with state; there are: {known}"
            raise ConfigurationError([Problem("UNKNOWN_STEP", text)])

    def stores(self, key: str | None, progress: Progress) -> Iterator[InspectedStore]:
        """Every store of the step; `key` is a text, or a JSON object where it has several columns.

        Raises StateInUseError while the product runs, ConfigurationError (BAD_KEY) for a key of
        another type, StartRefusedError when what is stored is damaged (STATE_DAMAGED), of a later
        release (STATE_FORMAT) or of another declaration (STATE_COLUMNS).
        """
        for kept in self._kept:
            wanted = () if key is None else kept.keys(key)
            folder = self._directory / kept.output / kept.step
            stores = RocksDbStores(folder, RocksDbMemory(MEMORY_BYTES))
            tasks = []
            for task in _tasks(folder):
                with self._told(folder), closing(stores.open(task)) as store:
                    found = self._row(store, kept, wanted) if wanted else None
                    count = _count(store, progress)
                    if kept.total is not None:
                        count -= store.get([kept.total]) != [None]
                    tasks.append(InspectedTask(task, count, store.mark(), found))
            yield InspectedStore(
                kept.output,
                kept.step,
                changelog_of(kept.output, kept.step),
                kept.key,
                _types({name: kept.rows.columns[name] for name in kept.shown}),
                tasks,
            )

    def _row(
        self, store: LocalStore, kept: _Kept, wanted: Sequence[bytes]
    ) -> dict[str, Any] | None:
        values = [value for value in store.get(wanted) if value is not None]
        if not values:
            return None
        row, *_ = plain_events(kept.rows.decode(values))
        is_count = kept.total is not None
        return {
            name: row[name] if is_count or self._may_show(name) else REDACTED for name in kept.shown
        }

    def _may_show(self, column: str) -> bool:
        """Whether nothing sensitive can stand in a column.

        Where a contract has a field to be masked, only names of other fields are trusted: a step
        may have put it under a name of its own.
        """
        contracts = [*self._loaded.inputs.values(), *self._loaded.outputs.values()]
        masked = masked_fields(*contracts)
        is_field = any(column in each.columns for each in contracts)
        return not masked or (is_field and not touches(column, masked))

    @contextmanager
    def _told(self, folder: Path) -> Iterator[None]:
        try:
            yield
        except StateInUseError as error:
            raise StateInUseError(
                f"{self._loaded.name} runs and holds its state in {folder}; stop it, then look."
            ) from error
        except RebuildError as error:
            raise StartRefusedError(
                f"{error} The next run throws it away and restores it from the changelog.",
                code=error.code,
            ) from error


def _kept(output: str, stage: StatefulStage) -> _Kept:
    return _Kept(
        output,
        stage.step.name,
        _types(stage.keys.columns),
        stage.rows,
        lambda text: [_key(text, stage)],
        shown=list(stage.rows.columns),
    )


def _parked(loaded: LoadedProduct) -> Iterator[_Kept]:
    """The keys that wait behind a dead letter, by input."""
    for topic in parked_changelogs(loaded).values():
        yield _Kept(
            f"{loaded.name}.dead-letters",
            topic,
            {"key": "as in the input"},
            parked_rows(),
            lambda text: [OF_KEY + key for key in encodings_of(text)],
            shown=["first", "letters"],
            total=TOTALS,
        )


def _tasks(folder: Path) -> list[int]:
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def _key(text: str, stage: StatefulStage) -> bytes:
    """The bytes that a key stands under."""
    columns = dict(stage.keys.columns)
    try:
        given = {next(iter(columns)): text} if len(columns) == 1 else json.loads(text)
        if not isinstance(given, dict) or given.keys() != columns.keys():
            raise PlainValueError("its columns are others")
        parts = [column_of(n, [_number(given[n], dtype)], dtype) for n, dtype in columns.items()]
        frame = pl.DataFrame(parts).cast(pl.Schema(columns))
    except (ValueError, pl.exceptions.PolarsError) as error:
        wanted = ", ".join(f"{name} ({dtype})" for name, dtype in columns.items())
        form = "" if len(columns) == 1 else "; write a JSON object"
        said = f"--key: the key of {stage.step.name} is {wanted}{form}"
        raise ConfigurationError([Problem("BAD_KEY", said)]) from error
    (key,) = stage.keys.encode(frame)
    return key


def _number(value: Any, dtype: pl.DataType) -> Any:
    """A text as a number, where one is asked for."""
    return int(value) if isinstance(value, str) and dtype.is_integer() else value


def _count(store: LocalStore, progress: Progress) -> int:
    about, count, start = store.size().keys, 0, b""
    while True:
        keys, _ = store.scan(start, SLICE_KEYS)
        count += len(keys)
        progress(count, max(about, count))
        if len(keys) < SLICE_KEYS:
            return count
        start = keys[-1] + b"\0"


def _types(columns: Mapping[str, pl.DataType]) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in columns.items()}
