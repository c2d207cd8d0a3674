"""The codecs of the schemas in a table's commits, or why there is none. Each is asked for once."""

from collections.abc import Callable, Iterable

from headwater.errors import DeclarationError, StartRefusedError, UnknownSchemaError
from headwater.ports import CommitRecord, Table
from headwater.snapshot.columns import conflicts, differing
from headwater.snapshot.layout import Layout
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.verdict import Difference, Findings


class Codecs:
    """The codec of a schema id of these commits; `make` gives one more, as `Verifier.codecs`."""

    def __init__(
        self, make: Callable[[int], RowCodec], table: Table, records: Iterable[CommitRecord]
    ) -> None:
        self._make = make
        self._table = table
        self._names = {each.schema_id: each.stored_names for each in records}
        self._found: dict[int, RowCodec | Difference | str] = {}

    def find(self, schema_id: int) -> RowCodec | None:
        """The codec of a schema; None when its rows can only be counted."""
        if schema_id not in self._found:
            self._found[schema_id] = self._fitting(schema_id)
        found = self._found[schema_id]
        return found if isinstance(found, RowCodec) else None

    def again(self) -> "Codecs":
        """The same for another thread, as a codec serves one; asks for all of both now."""
        other = Codecs(self._make, self._table, ())
        other._names = self._names
        for schema_id in self._names:
            self.find(schema_id)
            other.find(schema_id)
        return other

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
            codec = self._make(schema_id).laid_out(self._names[schema_id])
            codec = codec.divided(self._table.divided_by)
        except UnknownSchemaError as error:
            return str(error)
        except DeclarationError:
            return f"schema {schema_id} of the registry is no contract"
        if phrase := self._lacking(codec.layout):
            detail = f"the columns are not those of schema {schema_id}: {phrase}"
            return Difference("recorded", None, None, detail)
        return codec

    def foreign(self) -> str:
        """The columns that no commit brought, as a phrase; empty when there are none."""
        found = [self.find(schema_id) for schema_id in self._names]
        known = [codec.layout.columns.names for codec in found if codec is not None]
        stored = self._table.columns()
        if stored is None or len(known) < len(found):  # which is told
            return ""
        strange = [name for name in stored.names if not any(name in names for names in known)]
        return ", ".join(f"{name} is only stored" for name in strange)

    def _lacking(self, layout: Layout) -> str:
        """The columns that the table does not have as they were written, as a phrase."""
        stored = self._table.columns()
        if stored is None:
            return ""
        try:
            wanted = self._table.evolved(layout.columns)
        except StartRefusedError:
            return conflicts(stored, layout.columns, widening=True) or "they are of other types"
        return differing(stored, wanted)
