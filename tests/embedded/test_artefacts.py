"""The installation of Java, Kafka and the registry."""

import errno
import importlib.util
from pathlib import Path

import pytest

from headwater.embedded import SILENT, artefacts, up
from headwater.errors import ConfigurationError, UnavailableError


def test_the_missing_extra_is_named_with_the_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without jgo the message says what to install, and nothing was started."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jgo" else found(name)
    )
    with pytest.raises(ConfigurationError, match=r"needs jgo: run `pip install 'headwater\[dev\]'"):
        up(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_installation_is_complete_or_absent(tmp_path: Path) -> None:
    """A fill that fails half way leaves neither the target nor its parts."""

    def fail_half_way(staged: Path, _: artefacts.Progress) -> None:
        (staged / "first.jar").write_bytes(b"x")
        raise UnavailableError("the line went dead")

    with pytest.raises(UnavailableError, match="the line went dead"):
        artefacts._installed(tmp_path / "kafka", fail_half_way, SILENT)
    assert not list(tmp_path.iterdir())


def test_the_rest_of_a_killed_download_is_cleared_away(tmp_path: Path) -> None:
    """What a `kill -9` left behind does not stay in the cache for ever."""
    (tmp_path / ".partial-killed" / "kafka").mkdir(parents=True)
    artefacts._installed(tmp_path / "kafka", lambda staged, _: (staged / "a").touch(), SILENT)
    assert [path.name for path in tmp_path.iterdir()] == ["kafka"]


def test_an_installed_program_is_not_downloaded_again(tmp_path: Path) -> None:
    """The second `up` of a user needs no network."""
    (tmp_path / "kafka").mkdir()

    def never(staged: Path, _: artefacts.Progress) -> None:
        raise AssertionError(staged)

    assert artefacts._installed(tmp_path / "kafka", never, SILENT) == tmp_path / "kafka"


@pytest.mark.parametrize("name", ["kafka-clients-4.3.1.jar", "unheard-of.jar"])
def test_a_file_that_differs_from_its_checksum_is_refused(tmp_path: Path, name: str) -> None:
    """A damaged file and a file nobody recorded are both refused."""
    (tmp_path / name).write_bytes(b"not what it says")
    with pytest.raises(UnavailableError, match=f"{name} differs from the checksum") as caught:
        artefacts._check(tmp_path / name, artefacts._checksums())
    assert caught.value.code == "DOWNLOAD_DAMAGED"


def test_a_full_disk_is_named_in_the_message_about_the_download() -> None:
    """The person learns that the disk is full, not only that something failed."""
    with (
        pytest.raises(UnavailableError, match="No space left on device") as caught,
        artefacts._translated("kafka"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.code == "DOWNLOAD_FAILED"


def test_the_cache_follows_the_desktop_convention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG_CACHE_HOME moves the cache; without it, ~/.cache holds it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert artefacts._cache_directory() == tmp_path / "headwater"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert artefacts._cache_directory() == Path.home() / ".cache" / "headwater"


def test_every_recorded_file_has_a_whole_checksum() -> None:
    """The list holds one SHA-256 per file, and the three files we name ourselves."""
    checksums = artefacts._checksums()
    assert all(len(digest) == 64 for digest in checksums.values())
    assert {
        f"kafka_2.13-{artefacts.KAFKA_VERSION}.jar",
        f"slf4j-simple-{artefacts.SLF4J_VERSION}.jar",
        f"apicurio-registry-app-{artefacts.REGISTRY_VERSION}-all.tar.gz",
    } <= set(checksums)
