"""Files from a public origin, each known by its sha256 before it is asked for: whole and right, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch  # type: ignore[import-untyped]
import requests

from arena.errors import ArenaError

ORIGIN = "https://raw.githubusercontent.com"  # paths are below it: repository, commit, file
TIMEOUT = 30.0  # seconds without an answer
AGAIN = "what was fetched stays; the same command goes on from there"
MIRROR = "a mirror with the same paths is named by --base-url URL or ARENA_ORIGIN"


@dataclass(frozen=True)
class Fetched:
    """What became of one file. state: fetched, kept (was there and right), refused (was there, other content), failed (no such file came)"""

    path: Path
    state: str
    message: str = ""


def download(
    files: Mapping[str, Mapping[str, Any]], folder: Path, origin: str = "", watch: Callable[[int, int], None] = lambda done, total: None
) -> list[Fetched]:
    """Bring files {name below the folder: {path, sha256, bytes}} into a folder. origin: of a mirror; watch: told (files done, of)

    A file appears whole and right or not at all; what lies there and is another file is left alone and reported. Raises ArenaError
    `data.origin`, `data.network` where the origin does not answer, `infra.disk` where the folder takes nothing more.
    """
    base = (origin or ORIGIN).rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise ArenaError("data.origin", f"{base!r} is no origin", "give an address: --base-url https://...")
    done: list[Fetched] = []
    try:
        for name, wanted in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            done.append(_file(folder / name, f"{base}/{wanted['path']}", wanted))
            watch(len(done), len(files))
    except requests.RequestException as error:
        raise ArenaError("data.network", f"nothing comes from {base}: {_reason(error)}", f"{AGAIN}; {MIRROR}", fetched=len(done)) from error
    except OSError as error:
        said = f"{folder} cannot be written: {error.strerror or error}"
        raise ArenaError("infra.disk", said, f"make room or name another folder: --data FOLDER; {AGAIN}") from error
    return done


def _file(path: Path, url: str, wanted: Mapping[str, Any]) -> Fetched:
    if path.exists():
        if path.is_file() and pooch.file_hash(str(path)) == wanted["sha256"]:
            return Fetched(path, "kept")
        return Fetched(path, "refused", f"{path} is another file (its sha256 differs): move it away and fetch again")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        pooch.HTTPDownloader(timeout=TIMEOUT)(url, str(part), None)
        if (found := pooch.file_hash(str(part))) != wanted["sha256"]:
            sizes = f"{part.stat().st_size:,} bytes for {wanted['bytes']:,}"
            return Fetched(path, "failed", f"{url} sent another file: sha256 {found[:12]}, wanted {wanted['sha256'][:12]}; {sizes}")
        os.replace(part, path)
    except requests.HTTPError as error:
        if error.response is None or error.response.status_code not in (404, 410):
            raise
        return Fetched(path, "failed", f"{url} is not there ({error.response.status_code})")
    finally:
        part.unlink(missing_ok=True)
    return Fetched(path, "fetched")


def _reason(error: requests.RequestException) -> str:
    """What went wrong, in a few words: requests wraps the cause in several others."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"nothing came for {TIMEOUT:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    return "no connection (is there a network?)" if isinstance(error, requests.ConnectionError) else str(error)[:200]
