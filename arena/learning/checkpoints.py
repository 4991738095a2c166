"""Checkpoint folders: config.json and safetensors, nothing that could run code when it is opened.

config.json holds the schema version, what the trainer says of itself (task, specification of inputs and outputs, budget), the library
versions and a manifest with the sha256 of every tensor file. Tensor files are named by their content and config.json is replaced last, so a
crash while saving leaves the previous checkpoint whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from arena.errors import ArenaError

SCHEMA = 1
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".zip")
FILE = re.compile(r"[a-z0-9_]+-[0-9a-f]{12}\.safetensors")
Tensors = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Checkpoint:
    """config: as saved, with `schema`, `libraries` and `files`; parts: name -> tensors by name"""

    config: dict[str, Any]
    parts: dict[str, dict[str, Tensor]]


def save_checkpoint(folder: Path, config: Mapping[str, Any], parts: Mapping[str, Tensors]) -> None:
    """Write `parts` (e.g. "model", "optimizer") and config into `folder`, replacing what an earlier save left there."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for part, tensors in parts.items():
        data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        checksum = hashlib.sha256(data).hexdigest()
        files[part] = {"file": f"{part}-{checksum[:12]}.safetensors", "sha256": checksum}
        _replace(folder / files[part]["file"], data)
    libraries = {"python": platform.python_version(), "torch": version("torch"), "safetensors": version("safetensors")}
    whole = {**config, "schema": SCHEMA, "libraries": libraries, "files": files}
    _replace(folder / "config.json", (json.dumps(whole, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    kept = {entry["file"] for entry in files.values()}
    for path in folder.glob("*.safetensors"):
        if path.name not in kept:
            path.unlink()


def load_checkpoint(folder: Path, spec: Mapping[str, Any], shapes: Mapping[str, Shapes]) -> Checkpoint:
    """The checkpoint in `folder`, verified.

    spec: what `config["spec"]` must be; shapes: of each part wanted, name -> shape. Parts not wanted are checked but not returned.
    Raises ArenaError `checkpoint.missing`, `.pickle`, `.schema`, `.spec`, `.hash` or `.shape`.
    """
    config = _config(folder)
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLES)
    if pickles:
        raise ArenaError("checkpoint.pickle", f"{folder} holds {', '.join(pickles)}, which can run code", "keep only config.json and *.safetensors")
    if config.get("schema") != SCHEMA:
        raise ArenaError("checkpoint.schema", f"{folder}: schema {config.get('schema')!r}, this version reads {SCHEMA}", "train it again")
    if config.get("spec") != dict(spec):
        raise ArenaError("checkpoint.spec", f"{folder} is for {config.get('spec')}, wanted {dict(spec)}", "it belongs to another agent or version")
    parts = {}
    for part, entry in config["files"].items():
        if not FILE.fullmatch(entry["file"]):
            detail = f"{folder}: the manifest names {entry['file']!r}"
            raise ArenaError("checkpoint.hash", detail, "expected part-hash.safetensors in the same folder")
        path = folder / entry["file"]
        data = path.read_bytes() if path.is_file() else b""
        found = hashlib.sha256(data).hexdigest()
        if found != entry["sha256"]:
            detail = f"{path} has sha256 {found[:12]}..., the manifest says {entry['sha256'][:12]}..."
            raise ArenaError("checkpoint.hash", detail, "the file is damaged or not this checkpoint's: copy the folder again")
        if part in shapes:
            parts[part] = load(data)
    for part, wanted in shapes.items():
        have = {name: tuple(tensor.shape) for name, tensor in parts.get(part, {}).items()}
        if have != dict(wanted):
            raise ArenaError("checkpoint.shape", f"{folder}, {part}: holds {have}, wanted {dict(wanted)}", "the checkpoint is of another network")
    return Checkpoint(config, parts)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ArenaError("checkpoint.missing", f"there is no checkpoint in {folder}", "a checkpoint folder holds config.json and *.safetensors")
    try:
        found: Any = json.loads(path.read_text())
        files = found.get("files") if isinstance(found, dict) else None
        if not isinstance(files, dict) or not all(isinstance(e, dict) and {"file", "sha256"} <= set(e) for e in files.values()):
            raise ValueError("it names no files")
    except ValueError as error:
        raise ArenaError("checkpoint.schema", f"{path} is not readable: {error}", "copy or train the checkpoint again") from error
    return dict(found)


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(data)
    os.replace(partial, path)
