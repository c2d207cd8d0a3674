"""Which release of a project this process runs; dead letters and audit records say so."""

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

from headwater.config import Settings

GIT_S: Final = 5.0  # seconds; `git describe` takes milliseconds, a file system away for ever


def release_of(root: Path, settings: Settings) -> str:
    """The setting `release`; else the project's `git describe`; else Headwater's own version.

    An image has no `.git`: its build sets HEADWATER_RELEASE.
    """
    return settings.release or _described(root) or f"headwater-{version('headwater')}"


def _described(root: Path) -> str:
    """What git calls the commit that is checked out; empty without git or without commits."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--tags"]
    try:
        said = subprocess.run(command, capture_output=True, timeout=GIT_S, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""
