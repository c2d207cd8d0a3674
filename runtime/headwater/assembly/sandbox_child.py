"""The child of the sandbox: works on pieces of a batch until one of them ends it.

It says what it is about to do before it does it; what it makes of a piece goes nowhere. Started as
`python -m headwater.assembly.sandbox_child FD`, the other end of the socket in the parent's hands.
"""

import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater.adapters.memory import MemoryBroker, MemoryTopics
from headwater.adapters.memory.reader import MemoryRecords
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.project import LoadedProduct, complete
from headwater.assembly.registration import SchemaIds
from headwater.assembly.sandbox_memory import LEAST_BYTES, allowance, confine
from headwater.assembly.sandbox_wire import (
    OUT_OF_MEMORY,
    TOO_LITTLE_MEMORY,
    packed,
    receive,
    reference_text,
    schema_of,
    send,
    table,
    unpacked,
    unpacked_rows,
)
from headwater.assembly.source import read_product
from headwater.assembly.tasks import TaskMaker
from headwater.engine import LetterWriter, Task
from headwater.errors import (
    DeclarationError,
    ResultRefusedError,
    RuleBrokenError,
    UnknownSchemaError,
)
from headwater.flow import NoRows
from headwater.flow.blame import is_out_of_memory
from headwater.model import SchemaRef
from headwater.ports import RegisteredSchema, TopicSettings
from headwater.product import Step

BETWEEN_S: Final = 10.0  # what libraries load when first used is in it, on a busy machine too


def main(descriptor: int) -> None:
    """Serve the parent at this socket until it hangs up."""
    faulthandler.enable()  # a crash says where it was: frames, no values
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, all_threads=False, chain=True)
    parent = Connection(descriptor)
    try:
        child = _Child(parent, receive(parent))
        while True:
            child.serve(receive(parent))
    except EOFError:
        return  # the parent is done with us, or gone
    except BaseException as error:  # noqa: BLE001 - told without its text: that may hold a payload
        if is_out_of_memory(error):
            os._exit(OUT_OF_MEMORY)
        frames = "".join(traceback.format_tb(error.__traceback__))
        sys.stderr.write(f"{frames}{type(error).__name__}\n")
        sys.stderr.flush()
        os._exit(1)  # at once: the parent would take a slow farewell for a step that hangs


class _Child:
    def __init__(self, parent: Connection, setup: Mapping[str, Any]) -> None:
        self._parent = parent
        self._progress = _Progress(parent)
        tables = {topic: unpacked_rows(parent.recv_bytes()) for topic in setup["tables"]}
        self._tasks = _tasks(self._progress, setup, tables)
        self._warm_up()
        more_bytes = allowance(setup["memory_bytes"])
        if more_bytes < LEAST_BYTES:
            os._exit(TOO_LITTLE_MEMORY)
        confine(more_bytes)
        send(parent, said="confined", bytes=more_bytes)
        send(parent, said="ready")

    def _warm_up(self) -> None:
        """What libraries load and reserve when first used is on nobody's account."""
        for topic, task in self._tasks.items():
            task.process(unpacked(topic, packed(table(MemoryRecords(topic, [])))))

    def serve(self, request: Mapping[str, Any]) -> None:
        """Take a piece of a batch, work on it and say when that is done."""
        piece = unpacked(request["topic"], self._parent.recv_bytes())
        self._progress.seconds = request["seconds"]
        self._progress.between("decode")  # it is taken: from here on it is to blame
        try:
            self._tasks[piece.topic].process(piece)
        except (DeclarationError, ResultRefusedError, RuleBrokenError):
            pass  # the parent runs into it too, and tells
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        send(self._parent, said="done")


class _Progress:
    """Says where the work is; each step has `seconds`, as in the process that is replaced here."""

    def __init__(self, parent: Connection) -> None:
        self.parent = parent
        self.seconds = 0.0  # no bound: no piece is here yet

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        """A step begins: tell, and set the alarm anew. Memory that runs out in it ends the child.

        Else the step would be blamed as if it had only raised.
        """
        self._begin(step.name, self.seconds)
        try:
            yield
        except (MemoryError, OSError) as error:
            if is_out_of_memory(error):
                os._exit(OUT_OF_MEMORY)
            raise
        finally:
            self.between("encode")

    def between(self, step: str) -> None:
        """What is done before, between and behind the steps."""
        self._begin(step, max(self.seconds, BETWEEN_S))

    def _begin(self, step: str, seconds: float) -> None:
        send(self.parent, said="step", step=step, seconds=seconds)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _tasks(
    progress: _Progress, setup: Mapping[str, Any], tables: Mapping[str, pl.DataFrame]
) -> dict[str, Task]:
    file = Path(setup["file"])
    loaded = _without_state(complete(read_product(file), file)).surrounded(progress.around)
    for topic, rows in tables.items():
        loaded.tables[topic].rows.apply(rows)
    topics = MemoryTopics(MemoryBroker())
    read = [*loaded.streams(), *loaded.repartitions]
    topics.create([TopicSettings(topic, 1, "source") for topic in read])
    ids = {topic: SchemaIds(*pair) for topic, pair in setup["ids"].items()}
    maker = TaskMaker(
        loaded,
        ids,
        _AskingRegistry(progress.parent),
        topics,
        LetterWriter("none"),
        repartitions=dict.fromkeys(loaded.repartitions, 1),
    )
    tasks = maker.tasks()
    for task in tasks.values():
        task.skip_proofs()
    return tasks


def _without_state(loaded: LoadedProduct) -> LoadedProduct:
    """What a step with state would drop is run here too: state must not leave its process."""
    return loaded.with_plans(
        lambda plan: plan.with_stores(
            {stage.step.name: NoRows(stage.rows) for stage in plan.stateful}
        ).taking_all_as_late()
    )


class _AskingRegistry(MemoryRegistry):
    """Asks the parent for schemas: it has them mostly, and this process has no way out."""

    def __init__(self, parent: Connection) -> None:
        super().__init__()
        self._parent = parent

    def schema(self, reference: SchemaRef) -> str:
        """The Avro JSON text. Raises UnknownSchemaError."""
        found = self._asked("schema", reference_text(reference))
        if found is None:
            raise UnknownSchemaError(f"the registry has no schema {reference}")
        return str(found)

    def subjects(self, schema_id: int) -> frozenset[str]:
        """The subjects of an id."""
        found: Iterable[str] = self._asked("subjects", schema_id)
        return frozenset(found)

    def lookup(self, subject: str, schema: str) -> RegisteredSchema | None:
        """The registered copy of exactly this schema."""
        found = self._asked("lookup", subject, schema)
        return None if found is None else schema_of(found)

    def _asked(self, name: str, *arguments: int | str) -> Any:
        left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0.0)  # waiting is not working
        send(self._parent, said="ask", name=name, of=arguments)
        answer = receive(self._parent)["answer"]
        signal.setitimer(signal.ITIMER_REAL, left_s)
        return answer


if __name__ == "__main__":
    main(int(sys.argv[1]))
