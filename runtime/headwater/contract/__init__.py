"""Contracts: schema, column types, codec. Never touches Kafka, never raises for bad data."""

from headwater.contract.compatibility import (
    Incompatibility,
    event_time_change,
    former_name,
    former_names,
    incompatibilities,
    key_change,
    next_major,
    predecessors,
    renamed,
)
from headwater.contract.decoder import Decoded, Decoder, record_name
from headwater.contract.detours import detours
from headwater.contract.document import field_line
from headwater.contract.encoder import Bodies, Encoded, Encoder
from headwater.contract.event_types import claimed_twice
from headwater.contract.expansion import size_of
from headwater.contract.fitting import always_null, misfits, required
from headwater.contract.framing import frame_of, guid_header, named_schema, schema_headers
from headwater.contract.key_reader import KeyReader
from headwater.contract.keys import is_lookup_key, key_schema, lookup_keys
from headwater.contract.masking import masked_event, masked_fields, touches
from headwater.contract.outline import fields_of
from headwater.contract.registered import UNDOCUMENTED, adopted, registered_contract
from headwater.contract.repartition import LINEAGE, Moved, RepartitionRows
from headwater.contract.reuse import reused_names
from headwater.contract.rule import Rule, Severity
from headwater.contract.rules import Broken, Rules, Violation
from headwater.contract.schema import (
    Contract,
    contract_path,
    is_reserved,
    load_contract,
    parse_contract,
    registered_text,
)
from headwater.contract.state_rows import StateRows
from headwater.contract.tables import arrow_schema, from_arrow, to_arrow
from headwater.contract.tightening import tightened
from headwater.contract.topic_decoder import DecodedTypes, TopicDecoder
from headwater.contract.translation import Translation
from headwater.contract.types import ROW, ROW_TYPE

__all__ = [
    "LINEAGE",
    "ROW",
    "ROW_TYPE",
    "UNDOCUMENTED",
    "Bodies",
    "Broken",
    "Contract",
    "Decoded",
    "DecodedTypes",
    "Decoder",
    "Encoded",
    "Encoder",
    "Incompatibility",
    "KeyReader",
    "Moved",
    "RepartitionRows",
    "Rule",
    "Rules",
    "Severity",
    "StateRows",
    "TopicDecoder",
    "Translation",
    "Violation",
    "adopted",
    "always_null",
    "arrow_schema",
    "claimed_twice",
    "contract_path",
    "detours",
    "event_time_change",
    "field_line",
    "fields_of",
    "former_name",
    "former_names",
    "frame_of",
    "from_arrow",
    "guid_header",
    "incompatibilities",
    "is_lookup_key",
    "is_reserved",
    "key_change",
    "key_schema",
    "load_contract",
    "lookup_keys",
    "masked_event",
    "masked_fields",
    "misfits",
    "named_schema",
    "next_major",
    "parse_contract",
    "predecessors",
    "record_name",
    "registered_contract",
    "registered_text",
    "renamed",
    "required",
    "reused_names",
    "schema_headers",
    "size_of",
    "tightened",
    "to_arrow",
    "touches",
]
