"""SQL over the snapshots of products, by DuckDB."""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import polars as pl
import pyarrow as pa

from headwater.errors import ConfigurationError, Problem
from headwater.reader.evolved import in_table_types
from headwater.reader.product import Product
from headwater.reader.snapshot import installed
from headwater.snapshot.division import event_dates
from headwater.snapshot.layout import Layout

if TYPE_CHECKING:
    import duckdb

BATCH_ROWS: Final = 20_000  # of the answer: enough for columns, and little memory
NAME: Final = re.compile(r"[a-z][a-z0-9-]*(\.[a-z0-9-]+)+")  # of a topic
CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": False  # a query fetches nothing from the net
}

SIGNALS_S: Final = 0.1  # between two looks for a signal: at once, for whoever pressed the keys

_T = TypeVar("_T")

OpenProduct = Callable[[str], Product]
"""The product, or output of one, of a name."""


class Query:
    """A SELECT whose tables are products by name: the newest snapshot of each, pinned.

    With `is_live` the log of each follows its snapshot, up to now; that part is held in memory.
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
            for name in self._names(connection):
                with self._open_product(name) as product:
                    self._give(connection, name, product)
            reader = _awaited(worker.submit(self._answer, connection), connection)
            yield pa.RecordBatch.from_pylist([], schema=reader.schema)
            while (batch := _awaited(worker.submit(next, reader, None), connection)) is not None:
                yield batch

    def _answer(self, connection: "duckdb.DuckDBPyConnection") -> pa.RecordBatchReader:
        result = connection.execute(self._text)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Arrow output .* makes an extra copy", UserWarning)
            reader = result.to_arrow_reader(BATCH_ROWS)
        if reader is None:
            raise _bad("it gives no rows")
        return reader

    def _names(self, connection: "duckdb.DuckDBPyConnection") -> list[str]:
        """The products among the tables of the query, as DuckDB itself parses it."""
        asked = connection.execute("SELECT json_serialize_sql(?)", [self._text])
        tree = json.loads(asked.fetchall()[0][0])
        if tree["error"]:
            raise _bad(tree["error_message"])
        if len(tree["statements"]) != 1:
            raise _bad("it has several statements")
        found = dict.fromkeys(_tables(tree))
        return [name for name in found if NAME.fullmatch(name) and not Path(name).exists()]

    def _give(self, connection: "duckdb.DuckDBPyConnection", name: str, product: Product) -> None:
        snapshot = product.snapshot()
        rows, layout = snapshot.scannable(), snapshot.layout
        if not self._is_live:
            connection.register(name, rows)
            return
        with product.events(snapshot.cut, "now") as reading:
            names = [*product.contract.columns]
            tail = [in_table_types(_dated(frame, layout), layout, names) for frame in reading]
        connection.register(f"{name}/snapshot", rows)
        connection.register(f"{name}/log", pa.concat_tables([snapshot.schema.empty_table(), *tail]))
        connection.sql(f'FROM "{name}/snapshot" UNION ALL FROM "{name}/log"').to_view(name)

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


def _dated(frame: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """A frame of the log with the day of the event, where its table has that."""
    return frame.with_columns(event_dates(frame, layout.contract)) if layout.is_dated else frame
