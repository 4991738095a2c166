"""Recorded actions: content-addressed files beside the database.

`recordings/ab/abcd....zst` holds one safetensors block, `{role: actions [T, n, ...]}`, named by the sha256 of its uncompressed bytes and
compressed as a row of independent zstandard frames of at most `FRAME` bytes, each with its own checksum. Any zstd tool reads it; when a
byte is damaged, everything before its frame is still known to be right.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import zstandard
from numpy.typing import NDArray

from arena.errors import ArenaError
from arena.store.database import disk_error
from arena.store.files import publish, sync_folder

Tensors = dict[str, NDArray[np.generic]]

FRAME = 1 << 18
LEVEL = 3
_DTYPES = {
    **{f"{kind}{bits}": np.dtype(f"<{letter}{bits // 8}") for kind, letter in (("F", "f"), ("I", "i"), ("U", "u")) for bits in (16, 32, 64)},
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def recording_path(home: Path, digest: str) -> Path:
    return home / "recordings" / digest[:2] / f"{digest}.zst"


def write_recording(home: Path, tensors: Mapping[str, NDArray[np.generic]]) -> str:
    """Store tensors and return their digest. Equal content is one file; the file is on the disk when this returns.

    Write this before `commit_chunk`: a crash in between leaves an orphan that `gc` finds, never a row without its file.
    Raises ArenaError store.full, store.readonly.
    """
    block = safetensors.numpy.save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    digest = hashlib.sha256(block).hexdigest()
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)
    put_recording(home, digest, (compressor.compress(block[start : start + FRAME]) for start in range(0, len(block), FRAME)))
    return digest


def put_recording(home: Path, digest: str, packed: Iterable[bytes]) -> None:
    """Store what is compressed already, in pieces; the caller vouches for the digest of its content.

    Raises ArenaError store.full, store.readonly.
    """
    path = recording_path(home, digest)
    try:
        os.utime(path)  # young again: the collector leaves it alone until its chunk is committed
        return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise disk_error(error, path) from error
    partial = path.with_name(f".{digest}.{uuid.uuid4().hex}.tmp")
    try:
        is_new_folder = not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_new_folder:
            sync_folder(path.parent.parent)
        with open(partial, "wb") as file:
            for piece in packed:
                file.write(piece)
        publish(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise disk_error(error, path) from error


def read_recording(home: Path, digest: str) -> Tensors:
    """The tensors of a recording. Raises ArenaError store.recording_missing, store.recording_damaged."""
    path = recording_path(home, digest)
    salvaged = salvage_recording(path)
    if salvaged.tensors is None or not salvaged.intact:
        raise ArenaError(
            "store.recording_damaged",
            f"{path} is damaged after {salvaged.good_bytes} bytes: {salvaged.reason}",
            "restore it from a backup or an export, or run the chunk again; `arena verify` names the first step that is lost",
            path=str(path),
            good_bytes=salvaged.good_bytes,
        )
    return salvaged.tensors


@dataclass(frozen=True, slots=True)
class Salvage:
    """What a recording file still tells.

    tensors: the leading rows (steps) of every tensor that are certain; None where not even the names can be read.
    steps: the rows each tensor had when it was written. good_bytes: uncompressed bytes that are certain.
    """

    tensors: Tensors | None
    intact: bool
    good_bytes: int
    reason: str
    steps: dict[str, int]


def salvage_recording(path: Path) -> Salvage:
    """Read a recording as far as its checksums vouch for it. Raises ArenaError store.recording_missing, store.io."""
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        raise ArenaError("store.recording_missing", f"there is no recording {path}", "restore `recordings/` from a backup", path=str(path)) from None
    except OSError as error:
        raise disk_error(error, path) from error
    frames: list[bytes] = []
    reason = ""
    while packed and not reason:
        decoder = zstandard.ZstdDecompressor().decompressobj()
        try:
            frame = decoder.decompress(packed)
        except zstandard.ZstdError as error:
            reason = str(error)
            break
        if not decoder.eof:
            reason = "the file ends early"
            break
        frames.append(frame)
        packed = decoder.unused_data
    block = b"".join(frames)
    whole = hashlib.sha256(block).hexdigest() == path.stem
    if not whole and not reason:
        # Every frame is as it was written, so either whole frames are missing or this is another recording.
        reason = "the content is not what the name promises"
    tensors, steps = _leading_rows(block)
    if not whole and tensors is not None and all(len(tensors[name]) == n for name, n in steps.items()):
        tensors, steps, block = None, {}, b""  # complete, yet not the content of this name: nothing in it can be trusted
    return Salvage(tensors, not reason, len(block), reason, steps)


def _leading_rows(block: bytes) -> tuple[Tensors | None, dict[str, int]]:
    """The rows of every tensor that lie within the first bytes of a safetensors block, and how many rows there were."""
    head = 8 + int.from_bytes(block[:8], "little")
    if len(block) < max(head, 9):
        return None, {}
    try:
        header = json.loads(block[8:head])
        layout = {name: (_DTYPES[e["dtype"]], e["shape"], e["data_offsets"]) for name, e in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError):
        return None, {}
    tensors: Tensors = {}
    for name, (dtype, shape, (begin, end)) in layout.items():
        row = (end - begin) // max(shape[0], 1)  # bytes
        rows = shape[0] if head + end <= len(block) else max(0, len(block) - head - begin) // row
        values = block[head + begin : head + begin + rows * row]
        tensors[name] = np.frombuffer(values, dtype).reshape(rows, *shape[1:]).copy()
    return tensors, {name: shape[0] for name, (_, shape, _) in layout.items()}


def gc(home: Path, referenced: Container[str], min_age: float = 86_400) -> list[Path]:
    """Remove recordings that no chunk refers to and temporary files, all only when older than `min_age` seconds; what was removed.

    Age is what protects a live writer, whose file exists before its chunk is committed. A file is first moved aside and its age read
    again: a writer that found it in the meantime has made it young, and it goes back.
    """
    removed = []
    for path in sorted((home / "recordings").glob("*/*")):
        if path.name.endswith(".zst") and path.stem in referenced:
            continue
        if not path.name.endswith((".zst", ".tmp")) or not _older(path, min_age):
            continue
        aside = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.tmp")
        try:
            os.rename(path, aside)
            if not _older(aside, min_age):
                os.rename(aside, path)
                continue
            aside.unlink()
        except FileNotFoundError:
            continue  # another collector was faster
        removed.append(path)
    return removed


def _older(path: Path, age: float) -> bool:
    try:
        return path.stat().st_mtime < time.time() - age
    except FileNotFoundError:
        return False
