"""Settings: where they come from, what is refused, and that secrets stay secret."""

import traceback
from datetime import timedelta
from pathlib import Path

import pytest

from headwater.adapters.kafka import consumer, producer
from headwater.config import Settings, format_duration, load_settings, parse_duration
from headwater.config.reference import markdown
from headwater.config.rules import ORDERS, OWNED, REGISTRY_OWNED, SAFE_VALUES, TIMEOUTS_MS
from headwater.errors import ConfigurationError, Problem

REPOSITORY = Path(__file__).parents[2]
CANARY = "canary-5f3a"


def problems_of(directory: Path, environ: dict[str, str], text: str = "") -> tuple[Problem, ...]:
    """The problems that loading these settings ends with."""
    (directory / "headwater.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(directory, environ)
    assert caught.value.exit_code == 78
    return caught.value.problems


def test_nothing_set_means_the_documented_defaults(tmp_path: Path) -> None:
    """An empty directory and environment give a full set of settings."""
    settings = load_settings(tmp_path, {})
    assert settings.commit_interval == timedelta(milliseconds=100)
    assert settings.outage_limit == timedelta(minutes=5)
    assert (settings.metrics.host, settings.metrics.port) == ("127.0.0.1", 0)
    assert settings.dead_letters.at_least == 100
    assert settings.snapshots == str(tmp_path / ".headwater/snapshots")
    assert settings.instance
    assert settings.kafka == {}


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    """A variable wins over the file, value by value, nested tables included."""
    (tmp_path / "headwater.toml").write_text(
        'commit_interval = "1s"\npoll_size = 5\n'
        '[metrics]\nhost = "0.0.0.0"\nport = 1\n'
        '[kafka]\nbootstrap.servers = "a:1"\n"client.rack" = "r1"\n'
    )
    settings = load_settings(
        tmp_path,
        {
            "HEADWATER_COMMIT_INTERVAL": "25ms",
            "HEADWATER_METRICS__PORT": "9",
            "HEADWATER_KAFKA": "b:2",
        },
    )
    assert settings.commit_interval == timedelta(milliseconds=25)
    assert settings.poll_size == 5
    assert (settings.metrics.host, settings.metrics.port) == ("0.0.0.0", 9)  # noqa: S104  # read, not bound
    assert settings.kafka == {"bootstrap.servers": "b:2", "client.rack": "r1"}


def test_any_client_property_passes_through(tmp_path: Path) -> None:
    """Single underscores are dots, TOML values become text, lists are joined."""
    (tmp_path / "headwater.toml").write_text(
        '[kafka]\nbootstrap.servers = ["a:1", "b:2"]\nsocket.keepalive.enable = true\n'
        "socket.timeout.ms = 4000\n"
    )
    settings = load_settings(
        tmp_path,
        {"HEADWATER_KAFKA__SASL_MECHANISM": "PLAIN", "HEADWATER_REGISTRY": "http://r:1"},
    )
    assert settings.kafka == {
        "bootstrap.servers": "a:1,b:2",
        "socket.keepalive.enable": "true",
        "socket.timeout.ms": "4000",
        "sasl.mechanism": "PLAIN",
    }
    assert settings.registry == {"url": "http://r:1"}


def test_every_mistake_is_listed_at_once_with_its_place(tmp_path: Path) -> None:
    """Unknown, ill-typed, unsafe and inconsistent settings come in one error."""
    problems = problems_of(
        tmp_path,
        {"HEADWATER_POLL_SIZE": "many", "HEADWATER_KAFKA__GROUP_ID": "mine"},
        'comit_interval = "1s"\n[kafka]\nisolation.level = "read_uncommitted"\n'
        "transaction.timeout.ms = 4000\n",
    )
    found = {(p.code, Path(p.file or "").name, p.line) for p in problems}
    assert found == {
        ("UNKNOWN_SETTING", "headwater.toml", 1),
        ("BAD_VALUE", "HEADWATER_POLL_SIZE", None),
        ("UNSAFE_SETTING", "HEADWATER_KAFKA__GROUP_ID", None),
        ("UNSAFE_SETTING", "headwater.toml", 3),
        ("INCONSISTENT_TIMEOUTS", "headwater.toml", 4),
    }


@pytest.mark.parametrize(
    "location", ["checkpoints", "/mnt/shared", "s3://bucket", "s3://a-bucket.eu/some/prefix/"]
)
def test_checkpoints_are_in_a_directory_or_a_bucket(tmp_path: Path, location: str) -> None:
    """As it is written."""
    settings = load_settings(tmp_path, {"HEADWATER_CHECKPOINTS": location})
    assert settings.checkpoints == location


@pytest.mark.parametrize(
    "location",
    ["", "s3://", "s3:///prefix", "gs://bucket", "s3://me:secret@bucket", "s3://bucket//x",
     "s3://bucket/a?region=b", "file:///tmp", "s3://Bucket", "s3:/bucket/prefix", "s3:bucket"],
)  # fmt: skip
def test_any_other_place_for_checkpoints_is_refused(tmp_path: Path, location: str) -> None:
    """Stores that nothing here tries, and locations with a password in them."""
    (problem,) = problems_of(tmp_path, {"HEADWATER_CHECKPOINTS": location})
    assert problem.code == "BAD_VALUE"
    assert "write a directory, or s3://bucket/prefix" in problem.message
    assert "secret" not in problem.message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://catalogue/iceberg",
        "postgresql://me:secret@catalogue:5432/iceberg?sslmode=require",
        "postgresql:///iceberg?host=/run/postgresql",
    ],
)
def test_the_catalogue_of_iceberg_is_a_url_of_postgres(tmp_path: Path, url: str) -> None:
    """As it is written, and shown nowhere."""
    settings = load_settings(tmp_path, {"HEADWATER_ICEBERG_CATALOGUE": url})
    assert settings.iceberg_catalogue.get_secret_value() == url
    assert "secret@" not in f"{settings!r} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    "url",
    ["catalogue", "mysql://me:secret@h/d", "postgresql://me:secret@h", "postgresql://h/", "1"],
)
def test_any_other_catalogue_is_refused(tmp_path: Path, url: str) -> None:
    """Drivers that nothing here tries, and places that are none; the password stays out of it."""
    (problem,) = problems_of(tmp_path, {"HEADWATER_ICEBERG_CATALOGUE": url})
    assert problem.code == "BAD_VALUE"
    assert "write postgresql://" in problem.message
    assert "secret" not in problem.message


@pytest.mark.parametrize(
    ("environ", "text", "meant"),
    [
        ({}, "pol_size = 1", "poll_size"),
        ({}, "[metrics]\nprt = 1", "metrics.port"),
        ({"HEADWATER_METRIC__PORT": "1"}, "", "metrics.port"),
        ({"HEADWATER_KAFFKA": "a:1"}, "", "kafka"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(
    tmp_path: Path, environ: dict[str, str], text: str, meant: str
) -> None:
    """A typing mistake is found at start, not missed in production."""
    (problem,) = problems_of(tmp_path, environ, text)
    assert problem.code == "UNKNOWN_SETTING"
    assert f"did you mean {meant}?" in problem.message


def test_variables_that_kubernetes_sets_are_no_settings(tmp_path: Path) -> None:
    """A service named headwater does not stop the process."""
    environ = {
        "HEADWATER_SERVICE_HOST": "10.0.0.1",
        "HEADWATER_PORT": "tcp://10.0.0.1:80",
        "HEADWATER_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert load_settings(tmp_path, environ) == load_settings(tmp_path, {})


@pytest.mark.parametrize("name", OWNED)
def test_properties_that_are_headwaters_own_are_refused(tmp_path: Path, name: str) -> None:
    """Whatever the value."""
    (problem,) = problems_of(tmp_path, {}, f'[kafka]\n"{name}" = "x"')
    assert problem.code == "UNSAFE_SETTING"
    assert problem.line == 2


@pytest.mark.parametrize("name", SAFE_VALUES)
def test_properties_with_safe_values_take_no_other(tmp_path: Path, name: str) -> None:
    """The safe value passes, any other is refused."""
    (problem,) = problems_of(tmp_path, {}, f'[kafka]\n"{name}" = "unsafe"')
    assert problem.code == "UNSAFE_SETTING"
    for value in SAFE_VALUES[name][0]:
        (tmp_path / "headwater.toml").write_text(f'[kafka]\n"{name}" = "{value}"')
        assert load_settings(tmp_path, {}).kafka[name] == value


@pytest.mark.parametrize("name", REGISTRY_OWNED)
def test_bounds_of_registry_calls_cannot_be_lifted(tmp_path: Path, name: str) -> None:
    """Nothing blocks for ever, so timeouts of the registry's client are ours."""
    (problem,) = problems_of(tmp_path, {}, f'[registry]\n"{name}" = 1')
    assert problem.code == "UNSAFE_SETTING"


def test_unverified_certificates_are_for_a_laptop_only(tmp_path: Path) -> None:
    """The environment dev may, production may not."""
    text = '[kafka]\nenable.ssl.certificate.verification = "false"\n'
    (problem,) = problems_of(tmp_path, {}, text)
    assert problem.code == "UNSAFE_SETTING"
    assert load_settings(tmp_path, {"HEADWATER_ENVIRONMENT": "dev"}).kafka


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: str(order.shorter))
def test_timeouts_out_of_order_are_refused(tmp_path: Path, order: object) -> None:
    """The shorter one raised above the longer one is told, the defaults pass."""
    shorter, longer = getattr(order, "shorter"), getattr(order, "longer")  # noqa: B009  # parametrised
    too_long = TIMEOUTS_MS[longer] + 1
    problems = problems_of(tmp_path, {}, f'[kafka]\n"{shorter}" = {too_long}')
    assert ("INCONSISTENT_TIMEOUTS", 2) in [(p.code, p.line) for p in problems]


def test_the_timeouts_judged_are_those_the_clients_start_with() -> None:
    """The defaults are said twice, but never differently."""
    used = {**consumer.DEFAULTS, **producer.DEFAULTS}  # the producer's socket timeout is judged
    assert {name: used[name] for name in TIMEOUTS_MS} == dict(TIMEOUTS_MS)


def test_a_commit_interval_leaves_time_to_commit(tmp_path: Path) -> None:
    """An interval beyond half of the transaction timeout is refused."""
    (problem,) = problems_of(
        tmp_path,
        {"HEADWATER_COMMIT_INTERVAL": "5s"},
        "[kafka]\ntransaction.timeout.ms = 9000\n",
    )
    assert problem.code == "INCONSISTENT_TIMEOUTS"
    assert problem.line == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('step_timeout = "31s"\n', 1),
        ("[kafka]\nmax.poll.interval.ms = 39999\n", 2),
        ('step_timeout = "61s"\n[kafka]\nmax.poll.interval.ms = 120000\n', 3),
    ],
)
def test_a_step_is_ended_before_the_group_gives_its_partitions_away(
    tmp_path: Path, text: str, line: int
) -> None:
    """Its bound fits twice into the poll interval, or the settings are refused."""
    (problem,) = problems_of(tmp_path, {}, text)
    assert (problem.code, problem.line) == ("INCONSISTENT_TIMEOUTS", line)
    assert "step_timeout" in problem.message
    (tmp_path / "headwater.toml").write_text('step_timeout = "30s"\n')
    assert load_settings(tmp_path, {}).step_timeout == timedelta(seconds=30)


def test_a_poll_interval_that_is_no_number_is_told_once(tmp_path: Path) -> None:
    """The bound of a step is not judged by it."""
    (problem,) = problems_of(tmp_path, {}, '[kafka]\nmax.poll.interval.ms = "long"\n')
    assert problem.code == "BAD_VALUE"


@pytest.mark.parametrize(
    "text", ["[kafka", "commit_interval = 5", 'metrics = "x"', "[[kafka]]\na = 1", "kafka = [[1]]"]
)
def test_a_file_of_the_wrong_shape_is_one_sentence(tmp_path: Path, text: str) -> None:
    """Broken TOML and wrong kinds of values never end in a stack trace."""
    (problem,) = problems_of(tmp_path, {}, text)
    assert problem.code in {"BAD_TOML", "BAD_VALUE"}
    assert "headwater.toml" in str(problem)


def test_a_directory_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    """An unreadable file is not silently an absent one."""
    (tmp_path / "headwater.toml").mkdir()
    with pytest.raises(ConfigurationError, match="UNREADABLE_FILE"):
        load_settings(tmp_path, {})


def secret_settings(directory: Path) -> Settings:
    """Settings with a canary in every place that may hold a secret."""
    (directory / "secret").write_text(f"{CANARY}-file\n")
    return load_settings(
        directory,
        {
            "HEADWATER_KAFKA__SASL_PASSWORD": CANARY,
            "HEADWATER_KAFKA__SSL_KEY_PEM": CANARY,
            "HEADWATER_KAFKA__SASL_OAUTHBEARER_CLIENT_SECRET": CANARY,
            "HEADWATER_KAFKA__SASL_OAUTHBEARER_CONFIG": f"x={CANARY}",
            "HEADWATER_KAFKA__SSL_KEY_PASSWORD_FILE": "secret",
            "HEADWATER_REGISTRY": f"http://user:{CANARY}@registry:1",
            "HEADWATER_REGISTRY__BASIC_AUTH_USER_INFO": f"user:{CANARY}",
            "HEADWATER_REGISTRY__BEARER_AUTH_TOKEN": CANARY,
        },
    )


def test_secrets_never_show(tmp_path: Path) -> None:
    """No way of printing settings shows a secret, while the clients get it."""
    settings = secret_settings(tmp_path)
    texts = [
        repr(settings),
        str(settings),
        str(settings.model_dump()),
        settings.model_dump_json(),
        f"{settings.kafka} {settings.registry}",
        repr(settings.kafka | {"client.id": "x"}),
        str(settings.with_addresses({}, {})),
    ]
    assert not [text for text in texts if CANARY in text]
    assert settings.kafka["sasl.password"] == CANARY
    assert settings.kafka["ssl.key.password"] == f"{CANARY}-file"
    assert CANARY in settings.secrets()
    assert f"{CANARY}-file" in settings.secrets()


def test_secrets_never_show_in_errors(tmp_path: Path) -> None:
    """Neither the error nor its trace carries the value of a wrong setting."""
    environ = {
        "HEADWATER_KAFKA__SASL_PASSWORD": CANARY,
        "HEADWATER_KAFKA__GROUP_ID": CANARY,
        "HEADWATER_POLL_SIZE": CANARY,
        "HEADWATER_LOG_LEVEL": CANARY,
        "HEADWATER_INSTANCE": f"not valid {CANARY}",
        "HEADWATER_METRICS": CANARY,
        "HEADWATER_COMMIT_INTERVAL": CANARY,
        "HEADWATER_REGISTRY": f"ftp://{CANARY}",
    }
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path, environ)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert len(caught.value.problems) == 7


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 70_000])
def test_a_secret_file_that_cannot_be_used_is_told(tmp_path: Path, content: bytes | None) -> None:
    """Absent, binary or far too large: one sentence with the setting's name."""
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    (problem,) = problems_of(tmp_path, {"HEADWATER_KAFKA__SASL_PASSWORD_FILE": "secret"})
    assert problem.code == "SECRET_FILE"
    assert problem.file == "HEADWATER_KAFKA__SASL_PASSWORD_FILE"


def test_a_secret_given_twice_is_told(tmp_path: Path) -> None:
    """Which one would count is not left to chance."""
    (tmp_path / "secret").write_text("a")
    (problem,) = problems_of(
        tmp_path,
        {"HEADWATER_KAFKA__SASL_PASSWORD_FILE": "secret", "HEADWATER_KAFKA__SASL_PASSWORD": "b"},
    )
    assert problem.code == "TWICE"


@pytest.mark.parametrize("text", ["100ms", "5s", "15m", "1h", "7d", "1500ms"])
def test_durations_read_back_as_written(text: str) -> None:
    """The text of a duration is what one would write."""
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize("text", ["5", "", "-1s", "1 fortnight", "s", "1e3s", 5])
def test_a_duration_without_a_unit_is_refused(text: object) -> None:
    """Nobody has to guess whether 5 means seconds."""
    with pytest.raises(ValueError, match="number with a unit"):
        parse_duration(text)


def test_the_page_of_settings_is_the_code() -> None:
    """docs/settings.md is what `make docs` writes."""
    assert (REPOSITORY / "docs/settings.md").read_text() == markdown()


@pytest.mark.parametrize("place", ["file", "environment"])
def test_a_code_may_have_a_limit_of_its_own(tmp_path: Path, place: str) -> None:
    """A table per code in the file, JSON in the environment; the rest of a limit is the default."""
    if place == "file":
        (tmp_path / "headwater.toml").write_text("[dead_letters.codes.AVRO_LENGTH]\nshare = 0.01\n")
    table = '{"AVRO_LENGTH": {"share": 0.01}}'
    environ = {"HEADWATER_DEAD_LETTERS__CODES": table} if place == "environment" else {}
    (own,) = load_settings(tmp_path, environ).dead_letters.codes.items()
    assert own[0] == "AVRO_LENGTH"
    assert (own[1].share, own[1].window, own[1].at_least) == (0.01, 10_000, 100)


@pytest.mark.parametrize("table", ['{"AVRO_LENGHT": {}}', "no json", '{"AVRO_LENGTH": {"x": 1}}'])
def test_a_mistake_in_a_limit_of_a_code_is_told(tmp_path: Path, table: str) -> None:
    """An unknown code, an unknown name, and what is no table."""
    with pytest.raises(ConfigurationError, match=r"dead_letters\.codes"):
        load_settings(tmp_path, {"HEADWATER_DEAD_LETTERS__CODES": table})


def test_what_merely_waits_has_no_limit(tmp_path: Path) -> None:
    """A parked record is no bad one: a limit on it would never trip."""
    environ = {"HEADWATER_DEAD_LETTERS__CODES": '{"PARKED": {"share": 0.1}}'}
    with pytest.raises(ConfigurationError, match="PARKED has no limit"):
        load_settings(tmp_path, environ)
