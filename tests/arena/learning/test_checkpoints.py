"""A checkpoint comes back as it was saved, and anything else is refused by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from arena.errors import ArenaError
from arena.learning.checkpoints import load_checkpoint, save_checkpoint

SPEC = {"agent": "toy", "features": 3}
MODEL = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([0.5, -1e-30])}
SHAPES = {"model": {"weight": (2, 3), "bias": (2,)}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "seed-0", {"spec": SPEC, "task": "toy/one-v1"}, {"model": MODEL, "optimizer": {"step": torch.tensor(3.0)}})
    return tmp_path / "seed-0"


def refused(folder: Path, code: str, spec: dict[str, object] = SPEC, shapes: dict[str, dict[str, tuple[int, ...]]] = SHAPES) -> str:
    with pytest.raises(ArenaError) as error:
        load_checkpoint(folder, spec, shapes)
    assert error.value.code == f"checkpoint.{code}"
    return str(error.value)


def tensor_file(folder: Path, part: str) -> Path:
    return folder / json.loads((folder / "config.json").read_text())["files"][part]["file"]


def test_round_trip(folder: Path) -> None:
    found = load_checkpoint(folder, SPEC, SHAPES)
    assert set(found.parts) == {"model"}
    assert all(torch.equal(found.parts["model"][name], MODEL[name]) for name in MODEL)
    assert found.config["task"] == "toy/one-v1" and "torch" in found.config["libraries"]


def test_saving_again_leaves_one_generation(folder: Path) -> None:
    save_checkpoint(folder, {"spec": SPEC}, {"model": {name: tensor + 1 for name, tensor in MODEL.items()}})
    assert torch.equal(load_checkpoint(folder, SPEC, SHAPES).parts["model"]["weight"], MODEL["weight"] + 1)
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".safetensors"]


@pytest.mark.parametrize("part", ["model", "optimizer"])
def test_one_flipped_bit_is_refused(folder: Path, part: str) -> None:
    path = tensor_file(folder, part)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert path.name in refused(folder, "hash")


def test_missing_tensor_file_is_refused(folder: Path) -> None:
    tensor_file(folder, "model").unlink()
    refused(folder, "hash")


def test_manifest_cannot_point_elsewhere(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["files"]["model"]["file"] = "../model-000000000000.safetensors"
    (folder / "config.json").write_text(json.dumps(config))
    assert "../model" in refused(folder, "hash")


def test_unknown_schema_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "schema": 99}))
    assert "99" in refused(folder, "schema")


def test_unreadable_config_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    refused(folder, "schema")


def test_other_specification_is_refused_showing_both(folder: Path) -> None:
    message = refused(folder, "spec", {**SPEC, "features": 4})
    assert "'features': 3" in message and "'features': 4" in message


@pytest.mark.parametrize("shapes", [{"weight": (3, 2), "bias": (2,)}, {"weight": (2, 3)}, {"weight": (2, 3), "bias": (2,), "more": (1,)}])
def test_other_shapes_are_refused(folder: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    refused(folder, "shape", shapes={"model": shapes})


def test_part_that_was_not_saved_is_refused(folder: Path) -> None:
    refused(folder, "shape", shapes={"archive": {"front": (1,)}})


def test_pickle_beside_the_weights_is_refused_unread(folder: Path) -> None:
    (folder / "extra.pkl").write_bytes(pickle.dumps({"would": "run"}))
    assert "extra.pkl" in refused(folder, "pickle")


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "missing")


@pytest.mark.parametrize("text", ["{}", '{"files": []}', '{"files": {"model": "model.safetensors"}}', "[1]", "{"])
def test_a_description_that_is_none_is_refused_by_name(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ArenaError, match="config.json is not readable") as error:
        load_checkpoint(tmp_path, {}, {})
    assert error.value.code == "checkpoint.schema"
