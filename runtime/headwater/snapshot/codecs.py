"""The codecs of the schemas in a table's commits, or why there is none. Each is asked for once."""

from collections.abc import Callable

from headwater.errors import DeclarationError, UnknownSchemaError
from headwater.ports import Table
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.verdict import Difference, Findings


class Codecs:
    """The codec of a schema id; `make` is what `Verifier` has for one."""

    def __init__(self, make: Callable[[int], RowCodec], table: Table) -> None:
        self._make = make
        self._table = table
        self._found: dict[int, RowCodec | Difference | str] = {}

    def find(self, schema_id: int) -> RowCodec | None:
        """The codec of a schema; None when its rows can only be counted."""
        if schema_id not in self._found:
            self._found[schema_id] = self._fitting(schema_id)
        found = self._found[schema_id]
        return found if isinstance(found, RowCodec) else None

    def tell(self, schema_id: int, findings: Findings) -> None:
        """Why there is none, where there is none."""
        self.find(schema_id)
        match self._found[schema_id]:
            case Difference() as difference:
                findings.differs(difference)
            case str() as reason:
                findings.undecided(reason)
            case _:
                pass

    def _fitting(self, schema_id: int) -> RowCodec | Difference | str:
        try:
            codec = self._make(schema_id)
        except UnknownSchemaError as error:
            return str(error)
        except DeclarationError:
            return f"schema {schema_id} of the registry is no contract"
        if phrase := self._table.differing_columns(codec.columns):
            detail = f"the columns are not those of schema {schema_id}: {phrase}"
            return Difference("recorded", None, None, detail)
        return codec
