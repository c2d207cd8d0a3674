"""SQL over the snapshots of products, by DuckDB."""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import polars as pl
import pyarrow as pa

from headwater.errors import ConfigurationError, Problem
from headwater.reader.evolved import in_table_types
from headwater.reader.frames import DELETED
from headwater.reader.product import Product
from headwater.reader.snapshot import Snapshot, installed
from headwater.snapshot.division import event_dates
from headwater.snapshot.layout import Layout

if TYPE_CHECKING:
    import duckdb

BATCH_ROWS: Final = 20_000  # of the answer: enough for columns, and little memory
DAYS: Final = "/days"
NAME: Final = re.compile(rf"[a-z][a-z0-9-]*(\.[a-z0-9-]+)+({DAYS})?")  # of a topic, or its days
CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": False,  # a query fetches nothing from the net
    "python_enable_replacements": False,  # names of this program's variables are no tables
}
FOREIGN: Final = frozenset(
    {"interval", "uhugeint", "time with time zone", "bit", "union", "variant"}
)  # types that Arrow has no equal of: they come out as other values, or cannot be read

PARTITION: Final = "_partition"
SIGNALS_S: Final = 0.1  # between two looks for a signal: at once, for whoever pressed the keys

_T = TypeVar("_T")

OpenProduct = Callable[[str], Product]
"""The product, or output of one, of a name."""


class Query:
    """A SELECT whose tables are products by name: the newest snapshot of each, pinned.

    With `is_live` the log of each follows its snapshot, up to now; that part is held in memory.
    Where newer records of a key replace older ones, the rows are those of now: one of each key.
    A name with DAYS behind it is the table of the days of a product of mode "daily".
    """

    def __init__(self, text: str, open_product: OpenProduct, *, is_live: bool) -> None:
        with installed("duckdb"):
            import duckdb  # noqa: PLC0415  # only queries need it
        self._duckdb = duckdb
        self._text = text
        self._open_product = open_product
        self._is_live = is_live

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The answer in parts, at least one.

        Raises ConfigurationError (BAD_QUERY, NOT_INSTALLED) and what opening and reading the
        products raises.
        """
        with (
            closing(self._duckdb.connect(config=CONFIG)) as connection,
            ThreadPoolExecutor(max_workers=1) as worker,
            self._told(),
        ):
            connection.execute("SET TimeZone = 'UTC'")  # not that of the machine
            asked = self._names(connection)
            for name in dict.fromkeys(each.removesuffix(DAYS) for each in asked):
                with self._open_product(name) as product:
                    snapshot = product.snapshot()
                    self._give(connection, name, product, snapshot)
                    if name + DAYS in asked:
                        connection.register(name + DAYS, snapshot.days().frame().to_arrow())
            reader = _awaited(worker.submit(self._answer, connection), connection)
            names = _unique(reader.schema.names)
            named = zip(reader.schema, names, strict=True)
            columns = pa.schema([each.with_name(name) for each, name in named])
            yield pa.RecordBatch.from_pylist([], schema=columns)
            while (batch := _awaited(worker.submit(_next, reader), connection)) is not None:
                yield batch.rename_columns(names)

    def _answer(self, connection: "duckdb.DuckDBPyConnection") -> pa.RecordBatchReader:
        if (result := connection.sql(self._text)) is None:
            raise _bad("it gives no rows")
        for name, kind in zip(result.columns, result.types, strict=True):
            if _is_foreign(kind):
                raise _bad(
                    f"column {name} is {kind}, which only DuckDB has: CAST({name} AS VARCHAR)"
                )
        return result.to_arrow_reader(BATCH_ROWS)

    def _names(self, connection: "duckdb.DuckDBPyConnection") -> list[str]:
        """The products among the tables of the query, as DuckDB itself parses it."""
        asked = connection.execute("SELECT json_serialize_sql(?)", [self._text])
        tree = json.loads(asked.fetchall()[0][0])
        if tree["error"]:
            raise _bad(tree["error_message"])
        if len(tree["statements"]) != 1:
            raise _bad("it has several statements")
        found = dict.fromkeys(_tables(tree))
        return [name for name in found if NAME.fullmatch(name) and not Path(name).is_file()]

    def _give(
        self,
        connection: "duckdb.DuckDBPyConnection",
        name: str,
        product: Product,
        snapshot: Snapshot,
    ) -> None:
        rows, layout = snapshot.scannable(), snapshot.layout
        if not self._is_live:
            connection.register(name, rows)
            return
        with product.tail(snapshot) as reading:
            frames, is_upsert = list(reading), reading.position.is_upsert
        names, key = [*product.contract.columns], [*product.contract.key]
        older = f'FROM "{name}/snapshot"'
        if is_upsert and frames:
            newest = _newest(frames, key)
            frames = [newest.filter(~pl.col(DELETED))]
            connection.register(f"{name}/changed", _rows([newest], layout, key))
            same = ", ".join(f'"{each}"' for each in [*key, PARTITION])
            older += f' ANTI JOIN "{name}/changed" USING ({same})'
        connection.register(f"{name}/snapshot", rows)
        connection.register(f"{name}/log", _rows(frames, layout, names))
        connection.sql(f'{older} UNION ALL FROM "{name}/log"').to_view(name)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What DuckDB says of a query, in one sentence; of a value only that it was one."""
        known = self._duckdb
        try:
            yield
        except (known.ParserException, known.BinderException, known.CatalogException) as error:
            raise _bad(str(error).split("\n", maxsplit=1)[0]) from error
        except known.Error as error:
            raise _bad(f"it failed on the data ({type(error).__name__})") from error


def _next(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    """The next part of an answer; Arrow tells what DuckDB cannot give it, as a text beyond 2 GB."""
    try:
        return next(reader, None)
    except (OSError, pa.ArrowInvalid) as error:
        raise _bad("it has a value that is too large, or it failed on the data") from error


def _awaited(asked: Future[_T], connection: "duckdb.DuckDBPyConnection") -> _T:
    """What another thread made of DuckDB, which is interrupted on Ctrl-C.

    It hears of no signal itself: Python handles them in the first thread, between its own steps,
    and the system may deliver them to any.
    """
    try:
        while True:
            try:
                return asked.result(SIGNALS_S)
            except TimeoutError:
                if asked.done():
                    raise
    except KeyboardInterrupt:
        connection.interrupt()
        raise


def _bad(why: str) -> ConfigurationError:
    return ConfigurationError(
        [
            Problem(
                "BAD_QUERY",
                f"the query cannot be answered: {why}. Write one SELECT, with products in quotes:"
                f" FROM 'domain.product'.",
            )
        ]
    )


def _is_foreign(kind: Any) -> bool:
    """Whether a type of DuckDB is FOREIGN, or holds one that is."""
    if kind.id in {"list", "struct", "map", "array"}:
        return any(_is_foreign(each) for _, each in kind.children if hasattr(each, "id"))
    return kind.id in FOREIGN


def _unique(names: list[str]) -> list[str]:
    """Names of columns, each once: one that came before has a number behind it."""
    found: list[str] = []
    for name in names:
        numbers = (f"{name}_{number}" for number in count(1))
        found.append(
            name
            if name not in found
            else next(each for each in numbers if each not in {*names, *found})
        )
    return found


def _tables(node: Any) -> Iterator[str]:
    """Every table that a parsed query names without a schema."""
    if isinstance(node, dict):
        if node.get("type") == "BASE_TABLE" and not node.get("schema_name"):
            yield node["table_name"]
        for each in node.values():
            yield from _tables(each)
    elif isinstance(node, list):
        for each in node:
            yield from _tables(each)


def _newest(frames: list[pl.DataFrame], key: list[str]) -> pl.DataFrame:
    """The newest row of each key, deletions among them; keys are held by partition."""
    rows = pl.concat(frames).sort("_offset")
    return rows.unique([*key, PARTITION], keep="last", maintain_order=True)


def _rows(frames: list[pl.DataFrame], layout: Layout, names: list[str]) -> pa.Table:
    """Frames of the log as rows of the table: with the day of the event, where it has that."""
    columns = layout.contract_columns
    wanted = [*names, *layout.beside.names]
    empty = pa.schema([columns.field(name) for name in wanted]).empty_table()
    contract = layout.contract
    dated = [
        each.with_columns(event_dates(each, contract)) if layout.is_dated else each
        for each in frames
    ]
    return pa.concat_tables([empty, *(in_table_types(each, layout, names) for each in dated)])
