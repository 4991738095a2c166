"""Files that agents bring: kept under the digest of their content below the home folder, never changed.

    HOME/artifacts/DIGEST/    the files of one registered agent
    HOME/uploads/SHA256.onnx  what the browser sent, until a worker has registered it
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from arena import settings
from arena.digest import digest
from arena.errors import ArenaError

if TYPE_CHECKING:
    from arena.store import Store

LARGEST = 2_000_000_000  # bytes of an agent's files


def artifact(name: str) -> Path:
    return settings.home() / "artifacts" / name


def keep(files: Mapping[str, Path]) -> str:
    """Copy files into the home folder under the digest of their names and contents; that digest, "" for no files.

    Raises ArenaError agent.source (too large), store.*.
    """
    from arena.store.database import disk_error

    if not files:
        return ""
    size = sum(path.stat().st_size for path in files.values())
    if size > LARGEST:
        raise ArenaError("agent.source", f"the files of the agent have {size:,} bytes", f"at most {LARGEST:,} are kept")
    place = artifact(f".{uuid.uuid4().hex}.tmp")
    try:
        for name, path in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place / name)
        content = content_of(place)
        if artifact(content).exists():
            shutil.rmtree(place)
        else:
            os.rename(place, artifact(content))
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise disk_error(error, place) from error
    return content


def content_of(folder: Path) -> str:
    """Digest of all files of a folder: their names and bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digest(found)


def upload(name: str) -> Path:
    """Where an uploaded file lies until it is registered: `uploads/SHA256.onnx` (or .py) below the home folder."""
    return settings.home() / "uploads" / name


def collect(store: Store, min_age: float = 86_400) -> list[Path]:
    """Remove artifacts that no agent refers to and uploads that no job waits for, older than `min_age` seconds; what was removed."""
    used = {row["spec"].get("artifact") for row in store.agents(retired=True)}
    waiting = [job for status in ("queued", "running") for job in store.jobs(status=status, limit=100_000)]
    used |= {str(job["spec"].get("source", "")).removeprefix("upload:") for job in waiting}
    removed = []
    for path in [*artifact("").glob("*"), *upload("").glob("*")]:
        if path.stem not in used and path.stat().st_mtime < time.time() - min_age:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            removed.append(path)
    return removed
