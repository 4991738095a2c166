"""Files that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path


def publish(partial: Path, target: Path) -> None:
    """Give a finished file its name so that neither a crash nor a power cut leaves half of it."""
    with open(partial, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
