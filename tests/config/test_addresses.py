"""Where broker and registry are found when they are not set."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater import embedded
from headwater.assembly.addresses import resolve, stack_folder
from headwater.config import Settings, load_settings
from headwater.embedded import process
from headwater.embedded.home import Home
from headwater.errors import ConfigurationError, UnavailableError

STACK = embedded.Addresses(kafka="127.0.0.1:1", registry="http://127.0.0.1:2")


def settings_of(directory: Path, **environ: str) -> Settings:
    """Settings of these variables."""
    return load_settings(directory, {f"HEADWATER_{name}": held for name, held in environ.items()})


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack seems to run in every directory."""
    monkeypatch.setattr(embedded, "addresses", lambda _: STACK)


@pytest.fixture
def half_down(tmp_path: Path) -> Iterator[None]:
    """A process that runs in the place of the registry, and none in that of Kafka."""
    home = Home.within(tmp_path)
    home.root.mkdir()
    record = home.record_path("registry")
    process.spawn(
        ["/bin/sleep", "600"], record=record, port=2, log=home.root / "log", env=dict(os.environ)
    )
    assert process.wait_until(lambda: home.running("registry") is not None, 60)
    yield
    embedded.down(tmp_path)


def test_without_any_address_the_way_out_is_told(tmp_path: Path) -> None:
    """Both problems at once, each with the command that helps."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(settings_of(tmp_path), tmp_path)
    assert [p.code for p in caught.value.problems] == ["NO_BROKER", "NO_REGISTRY"]
    assert all("headwater dev up" in p.message for p in caught.value.problems)
    assert caught.value.exit_code == 78


def test_addresses_that_are_set_are_kept(tmp_path: Path) -> None:
    """No stack is needed, and the environment stays production."""
    settings = settings_of(tmp_path, KAFKA="b:1", REGISTRY="http://r:1")
    assert resolve(settings, tmp_path) == settings
    assert settings.environment == "production"


@pytest.mark.usefixtures("running")
def test_the_running_stack_is_found_and_is_dev(tmp_path: Path) -> None:
    """Other properties stay beside its addresses."""
    found = resolve(settings_of(tmp_path, KAFKA__CLIENT_RACK="r1"), tmp_path)
    assert found.kafka == {"bootstrap.servers": STACK.kafka, "client.rack": "r1"}
    assert found.registry == {"url": STACK.registry}
    assert found.environment == "dev"


@pytest.mark.usefixtures("running")
def test_the_environment_that_is_set_is_kept(tmp_path: Path) -> None:
    """Production can be tried on the stack of one machine."""
    settings = settings_of(tmp_path, ENVIRONMENT="production")
    assert resolve(settings, tmp_path).environment == "production"


@pytest.mark.usefixtures("running")
def test_the_stack_named_by_its_addresses_is_dev_too(tmp_path: Path) -> None:
    """What `dev up --format env` prints may be set or not: the same."""
    settings = settings_of(tmp_path, KAFKA=STACK.kafka, REGISTRY=STACK.registry)
    assert resolve(settings, tmp_path).environment == "dev"


@pytest.mark.usefixtures("running")
def test_half_of_the_stack_never_mixes_with_another_place(tmp_path: Path) -> None:
    """A production broker is not given the laptop's registry."""
    with pytest.raises(ConfigurationError, match=r"set HEADWATER_REGISTRY=.* too") as caught:
        resolve(settings_of(tmp_path, KAFKA="production:9092"), tmp_path)
    assert [p.code for p in caught.value.problems] == ["NO_REGISTRY"]


@pytest.mark.usefixtures("half_down")
def test_a_stack_that_lost_a_service_is_told_and_how_to_start_it(tmp_path: Path) -> None:
    """Not that nothing is set: exit 69 and the command that helps."""
    with pytest.raises(
        UnavailableError, match=r"Kafka .* does not run.*`headwater dev up`"
    ) as down:
        resolve(settings_of(tmp_path), tmp_path)
    assert (down.value.code, down.value.exit_code) == ("STACK_DOWN", 69)


@pytest.mark.usefixtures("half_down")
def test_a_stack_out_of_order_does_not_matter_to_another_place(tmp_path: Path) -> None:
    """Who says where broker and registry are is not asked about this folder."""
    settings = settings_of(tmp_path, KAFKA="b:1", REGISTRY="http://r:1")
    assert resolve(settings, tmp_path) == settings


def test_the_stack_is_looked_for_here_and_then_at_the_root_of_the_project(tmp_path: Path) -> None:
    """As products are; a folder that only holds snapshots is no stack."""
    inside = tmp_path / "products" / "shop"
    inside.mkdir(parents=True)
    (inside / ".headwater" / "snapshots").mkdir(parents=True)
    assert stack_folder(inside) == inside
    started(tmp_path)
    assert stack_folder(inside) == tmp_path
    started(inside)
    assert stack_folder(inside) == inside


def started(folder: Path) -> None:
    """What a stack leaves that ran here once."""
    (folder / ".headwater").mkdir(exist_ok=True)
    (folder / ".headwater" / "kafka.json").write_text("{}", encoding="utf-8")
