"""Small disks in memory that can be filled up, grown and set read-only, where we may mount them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A mounted tmpfs."""

    def __init__(self, folder: Path, size: str) -> None:
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no permission to mount: {done.stderr.strip()}")

    def remount(self, options: str) -> None:
        """Change its size (size=64m) or its mode (ro, rw)."""
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Disk]:
    """Mount a disk; skip the test where that is not allowed."""
    disk = Disk(folder, size)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
