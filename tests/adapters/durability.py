"""What a test sees of files that are made durable."""

import os

import pytest


def watched_syncs(patch: pytest.MonkeyPatch) -> set[int]:
    """The inodes of the files and folders that are made durable from now on."""
    synced: set[int] = set()
    real = os.fsync

    def watched(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    patch.setattr(os, "fsync", watched)
    return synced
