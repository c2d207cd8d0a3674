"""The settings of one process. Read them with `load_settings`; every value here was checked."""

import json
import re
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
)

from headwater.config.durations import Duration
from headwater.config.locations import parse_location
from headwater.model import Code, OnIncompatible
from headwater.redaction import ClientProperties, redact, users_of

MIB: Final = 1024 * 1024

_POSTGRES: Final = re.compile(r"postgresql://[^/?\s]*/[^/?\s]+(\?\S*)?")


def _properties(value: object) -> ClientProperties:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("write one address, or a table of names and values")
    return ClientProperties(value)


Properties = Annotated[
    ClientProperties,
    BeforeValidator(_properties),
    PlainSerializer(lambda held: {name: redact(name, value) for name, value in held.items()}),
    Field(default_factory=ClientProperties),
]


def _catalogue(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text and not _POSTGRES.fullmatch(text):
        raise ValueError("write postgresql://user:password@host:port/database")
    return value


class BadRecordShare(BaseModel):
    """How many bad records of one kind are too many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(
        default=0.05, gt=0, le=1, description="Part of the last `window` records that may be bad."
    )
    window: int = Field(default=10_000, ge=1, description="Records looked back on.")
    at_least: int = Field(
        default=100, ge=1, description="Bad records that are always allowed within the window."
    )


def _table(value: object) -> object:
    """A variable of the environment holds the table as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("write a table of codes, in the environment as JSON") from None


def _of_bad_records(codes: Mapping[Code, BadRecordShare]) -> Mapping[Code, BadRecordShare]:
    if Code.PARKED in codes:
        raise ValueError("nothing is wrong with records that merely wait: PARKED has no limit")
    return codes


class DeadLetterLimit(BadRecordShare):
    """How many bad records are too many, in all and by code (promise 6)."""

    codes: Annotated[
        Mapping[Code, BadRecordShare], BeforeValidator(_table), AfterValidator(_of_bad_records)
    ] = Field(
        default_factory=dict,
        description=(
            "Limits of single codes beside the total: a table per code of `share`, `window` and "
            "`at_least`, such as `[dead_letters.codes.AVRO_LENGTH]`; as JSON in the environment."
        ),
    )


class MetricsAddress(BaseModel):
    """Where metrics and probes are served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1", description="Address to listen on, or the path of a Unix socket."
    )
    port: int = Field(
        default=0, ge=0, le=65_535, description="Port to listen on; 0 takes a free one."
    )


class Settings(BaseModel):
    """The settings of one process, frozen. Durations are `timedelta`, sizes are bytes.

    `repr`, `str` and `model_dump` show no secret; `kafka` and `registry` themselves hold them.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,  # ClientProperties checks itself
    )

    environment: Literal["dev", "production"] = Field(
        default="production",
        description=(
            "`dev` creates topics and registers schemas by itself; `production` verifies them and "
            "refuses to start on a difference. It is `dev` by itself on the stack of "
            "`headwater dev up`."
        ),
    )
    instance: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description=(
            "Name of this replica: stable over restarts, unique among replicas of a product. "
            "Part of the transactional id and of the group instance id."
        ),
    )
    release: str = Field(
        default="",
        pattern=r"^[\x21-\x7e]{0,100}$",
        description=(
            "Which release of the project this is, for dead letters and the audit log. Empty: what "
            "`git describe` says of the project, or else the version of Headwater; an image has no "
            "git, so its build sets it."
        ),
    )
    actor: str = Field(
        default="",
        max_length=200,
        description=(
            "Who replays, discards or skips records, for the audit log. Empty: the user of the "
            "process."
        ),
    )
    commit_interval: Duration = Field(
        default=timedelta(milliseconds=100),
        ge=timedelta(milliseconds=1),
        le=timedelta(seconds=5),
        description="Time from a transaction's first record to its commit.",
    )
    poll_size: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Records taken per poll."
    )
    batch_bytes: ByteSize = Field(
        default=ByteSize(16 * MIB),
        ge=64 * 1024,
        le=1024 * MIB,
        description="Bytes of input values processed as one batch.",
    )
    step_timeout: Duration = Field(
        default=timedelta(seconds=20),
        ge=timedelta(seconds=1),
        description=(
            "How long one step may take over one batch before the process is ended (exit code "
            "142); at most half of `max.poll.interval.ms`. After three starts that ended at the "
            "same position, the records that do it are found in a child process and quarantined. "
            "A record that does not come back is given this time once more: up to 30 s, it is "
            "found within a minute."
        ),
    )
    outage_limit: Duration = Field(
        default=timedelta(minutes=5),
        ge=timedelta(seconds=30),
        description="How long broker or registry may be away before the process exits with 69.",
    )
    dead_letters: DeadLetterLimit = Field(
        default=DeadLetterLimit(), description="How many bad records stop the product with exit 65."
    )
    on_incompatible: OnIncompatible = Field(
        default="pause",
        description=(
            "What a record does whose writer's schema the contract can never resolve: `pause` "
            "halts its partition there and alerts, `dead-letter` sets it aside like a bad record, "
            "`stop` ends the process with exit 65. `--on-incompatible` of `headwater run` wins."
        ),
    )
    metrics: MetricsAddress = Field(
        default=MetricsAddress(),
        description="Where `/metrics`, `/livez`, `/readyz`, `/startupz` listen.",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="`auto` is text on a terminal and JSON elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe level that is written."
    )
    snapshots: Annotated[str, AfterValidator(parse_location)] = Field(
        default=".headwater/snapshots",
        description=(
            "Where snapshot tables are kept, each below the name of its topic: a directory, "
            "relative to the working directory, or `s3://bucket/prefix`, reached as that of "
            "`checkpoints` is."
        ),
    )
    iceberg_catalogue: Annotated[SecretStr, AfterValidator(_catalogue)] = Field(
        default=SecretStr(""),
        description=(
            "Catalogue of the snapshot tables of format `iceberg`: "
            "`postgresql://user:password@host:port/database`, whose readers need it too. Without "
            "a password there, the usual places of Postgres are asked (`PGPASSWORD`, "
            "`PGPASSFILE`). Empty: each table has its own, the SQLite file `catalog.db` beside it; "
            "none in a bucket can."
        ),
    )
    state_dir: Path = Field(
        default=Path(".headwater/state"),
        description=(
            "Directory of the local state of steps, relative to the working directory. The "
            "processes of one machine may share it; what is lost is restored from changelogs."
        ),
    )
    checkpoints: Annotated[str, AfterValidator(parse_location)] = Field(
        default=".headwater/checkpoints",
        description=(
            "Where checkpoints of the state of steps are kept: a directory, relative to the "
            "working directory, or `s3://bucket/prefix`, with region, endpoint and credentials "
            "from the usual variables (`AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, "
            "`AWS_SECRET_ACCESS_KEY`). Where local state is lost, the newest is loaded and the "
            "changelog read from there on, so it helps most where it outlives the machine, shared "
            "by all replicas."
        ),
    )
    checkpoint_every: Duration = Field(
        default=timedelta(minutes=10),
        ge=timedelta(seconds=1),
        description="How often a checkpoint of each task's state is written, if it changed.",
    )
    kafka: Properties = Field(
        description="Properties of the Kafka client; a plain string is `bootstrap.servers`."
    )
    registry: Properties = Field(
        description="Properties of the schema registry's client; a plain string is `url`."
    )

    @classmethod
    def from_tables(cls, *tables: Mapping[str, Any]) -> Self:
        """Settings of nested tables, the first table of most weight.

        Raises pydantic.ValidationError.
        """
        merged: Mapping[str, Any] = {}
        for table in reversed(tables):
            merged = _overlaid(merged, table)
        return cls.model_validate(merged)

    def secrets(self) -> frozenset[str]:
        """The values that must never be printed."""
        catalogue = users_of(self.iceberg_catalogue.get_secret_value())
        return self.kafka.secrets() | self.registry.secrets() | catalogue

    def with_addresses(
        self, kafka: Mapping[str, str], registry: Mapping[str, str], **changes: object
    ) -> "Settings":
        """These settings with client properties overlaid, and further values replaced."""
        update = {"kafka": self.kafka | kafka, "registry": self.registry | registry, **changes}
        return self.model_copy(update=update)

    def with_places(
        self,
        *,
        kafka: str | Mapping[str, str] | None,
        registry: str | Mapping[str, str] | None,
        snapshots: str | Path | None,
    ) -> "Settings":
        """These settings with the places that are not None; a plain string is an address."""
        brokers = {"bootstrap.servers": kafka} if isinstance(kafka, str) else kafka
        schemas = {"url": registry} if isinstance(registry, str) else registry
        tables = self.snapshots if snapshots is None else str(snapshots)
        return self.with_addresses(brokers or {}, schemas or {}, snapshots=tables)


def _overlaid(table: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """A table with the entries of another, nested tables likewise."""
    nested = {
        name: _overlaid(table[name], value)
        for name, value in other.items()
        if isinstance(value, Mapping) and isinstance(table.get(name), Mapping)
    }
    return {**table, **other, **nested}
