"""Stable-Baselines3 archives made into folders of weights. This is the one place where something of a user's is unpickled.

Whoever opens such an archive executes what is in it, so it is asked for in so many words (`arena convert --trust`) and happens in a process of
its own: `convert` starts it, `python -m arena.adapters.sb3_convert` is it. What comes out is verified against SB3 before it is kept.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arena.errors import ArenaError, unknown

MASKABLE = "MaskablePPO"
ALGORITHMS = ("PPO", "A2C", MASKABLE, "SAC", "TD3", "DDPG", "DQN")
SIGNS = (  # what an archive's data holds of its algorithm, most telling first
    ("exploration_fraction", "DQN"), ("target_entropy", "SAC"), ("policy_delay", "TD3"), ("clip_range", "PPO"), ("cg_max_steps", ""),
    ("gae_lambda", "A2C"),
)  # fmt: skip
TRIALS, TOLERANCE = 256, 1e-6
SECONDS = 600
UNUSED = {  # parts of an archive that play no role here, some of which other versions of Python could not read
    "learning_rate": 0.0, "lr_schedule": None, "clip_range": None, "clip_range_vf": None, "buffer_size": 1, "ep_info_buffer": None,
    "ep_success_buffer": None, "_last_obs": None, "_last_original_obs": None, "_last_episode_starts": None, "action_noise": None,
}  # fmt: skip


def convert(model: Path, folder: Path, algorithm: str | None = None, normalize: Path | None = None) -> dict[str, Any]:
    """Convert an archive into a folder, in a process of its own, which EXECUTES what is pickled in it. What was found out.

    Raises ArenaError `unknown.file`, `unknown.algorithm`, `agent.incompatible` with the reason, `store.io`; the folder is whole or untouched.
    """
    for path in (model, normalize):
        if path is not None and not path.is_file():
            raise ArenaError("unknown.file", f"there is no file {path}", "give the path of an archive that model.save() wrote")
    if not zipfile.is_zipfile(model):
        raise ArenaError("agent.incompatible", f"{model} is no archive of Stable-Baselines3", "give what model.save() wrote")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir()) and not (folder / "config.json").exists()):
        raise ArenaError("agent.incompatible", f"{folder} exists and is no converted model", "name another folder: --out")
    chosen = algorithm or algorithm_of(model)
    if chosen not in ALGORITHMS:
        raise unknown("algorithm", chosen, ALGORITHMS, f"can be converted: {', '.join(ALGORITHMS)}")
    with tempfile.TemporaryDirectory() as place:
        made, result = Path(place) / "made", Path(place) / "result.json"
        words = [str(model), str(made), chosen, str(normalize or ""), str(result)]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "arena.adapters.sb3_convert", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ArenaError("agent.incompatible", f"{model} was not loaded in {SECONDS} s") from None
        found: dict[str, Any] = json.loads(result.read_text()) if result.is_file() else {}
        if done.returncode or "refused" in found or not found:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]
            reason = found.get("refused") or f"Stable-Baselines3 cannot load it as {chosen}: {last}"
            hint = found.get("hint") or "is it of this algorithm (--algo), and are the modules it needs on the path?"
            raise ArenaError("agent.incompatible", f"{model.name}: {reason}", hint)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob("*.safetensors"):
                old.unlink()
            for path in sorted(made.iterdir(), key=lambda path: path.name == "config.json"):  # config.json last
                shutil.copyfile(path, folder / path.name)
        except OSError as error:
            raise ArenaError("store.io", f"{folder} cannot be written: {error.strerror or error}", "name another folder: --out") from error
    return found


def algorithm_of(model: Path) -> str:
    """The algorithm that saved an archive, by the names in its data; nothing in it is unpickled for that.

    Raises ArenaError `agent.incompatible`.
    """
    try:
        with zipfile.ZipFile(model) as archive:
            data = json.loads(archive.read("data"))
        policy = str(data.get("policy_class", ""))
    except (KeyError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ArenaError("agent.incompatible", f"{model} is no archive of Stable-Baselines3 ({error})", "give what model.save() wrote") from error
    found = next((name for sign, name in SIGNS if sign in data), "")
    if "sb3_contrib" in policy:
        found = MASKABLE if found == "PPO" and "askable" in policy else ""
    if not found:
        hint = f"known are {', '.join(ALGORITHMS)}; --algo says which it is"
        raise ArenaError("agent.incompatible", f"{model.name} is of an algorithm that is not known here", hint)
    return found


# ---- in the process of its own -------------------------------------------------------------------------------------------


class Refused(Exception):
    """Why a model cannot be converted, and a hint."""


def main(model: str, folder: str, algorithm: str, normalize: str) -> dict[str, Any]:
    """Load, take apart, save, and compare what was saved with SB3 itself."""
    import torch

    from arena.adapters.sb3 import SPEC, load
    from arena.adapters.space_documents import space_document
    from arena.learning.checkpoints import save_checkpoint

    torch.set_num_threads(1)
    loaded = _loaded(model, algorithm)
    layers, activation, limit, squash = _network(loaded.policy, algorithm)
    stats = _statistics(loaded.observation_space, normalize) if normalize else None
    digest = hashlib.sha256(Path(model).read_bytes()).hexdigest()
    with zipfile.ZipFile(model) as archive:
        names = archive.namelist()
        version = archive.read("_stable_baselines3_version").decode().strip() if "_stable_baselines3_version" in names else "unknown"
    network = {
        "algorithm": algorithm, "observation": space_document(loaded.observation_space), "action": space_document(loaded.action_space),
        "hidden": [layer.out_features for layer in layers[:-1]], "activation": activation, "limit": limit, "squash": squash,
        "normalizer": None if stats is None else stats[0],
    }  # fmt: skip
    weights = {f"{i}.{name}": getattr(layer, name) for i, layer in enumerate(layers) for name in ("weight", "bias")}
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise Refused("its weights hold NaN or infinity", "train it again")
    source = {"sha256": digest, "stable_baselines3": version, "steps": int(loaded.num_timesteps)}
    config = {"spec": SPEC, "network": network, "source": source}
    save_checkpoint(Path(folder), config, {"policy": weights, **({} if stats is None else {"normalizer": stats[1]})})
    difference = _difference(loaded, load(Path(folder)), stats, algorithm)
    if not difference <= TOLERANCE:
        raise Refused(f"the rebuilt network differs from SB3's by {difference:.3g}", "please report this with the versions you use")
    return {**network, "source": source, "difference": difference}


def _loaded(model: str, algorithm: str) -> Any:
    if algorithm == MASKABLE:
        try:
            library = importlib.import_module("sb3_contrib")
        except ImportError as error:
            raise Refused("MaskablePPO needs sb3-contrib", "pip install sb3-contrib") from error
    else:
        library = importlib.import_module("stable_baselines3")
    return getattr(library, algorithm).load(model, device="cpu", custom_objects=UNUSED | {"lr_schedule": float, "clip_range": float})


def _network(policy: Any, algorithm: str) -> tuple[list[Any], str, float | None, bool]:
    """(Linear layers, activation, limit of the head, squashed) of what decides the action. Raises Refused for any other structure."""
    from stable_baselines3.common.preprocessing import is_image_space
    from torch import nn

    if type(policy).__module__.split(".")[0] not in ("stable_baselines3", "sb3_contrib"):
        raise Refused(f"its policy class {type(policy).__qualname__} is not one of SB3's", "only MlpPolicy and MultiInputPolicy can be converted")
    if algorithm in ("PPO", "A2C", MASKABLE):
        if getattr(policy, "lstm_actor", None) is not None:
            raise Refused("its policy is recurrent", "only MlpPolicy and MultiInputPolicy can be converted")
        extractor, modules, squash = policy.pi_features_extractor, [policy.mlp_extractor.policy_net, policy.action_net], policy.squash_output
    elif algorithm == "SAC":
        extractor, modules, squash = policy.actor.features_extractor, [policy.actor.latent_pi, policy.actor.mu], True
    elif algorithm == "DQN":
        extractor, modules, squash = policy.q_net.features_extractor, [policy.q_net.q_net], False
    else:
        extractor, modules, squash = policy.actor.features_extractor, [policy.actor.mu], True
    for space in getattr(policy.observation_space, "spaces", {"": policy.observation_space}).values():
        if is_image_space(space, normalized_image=not policy.normalize_images):
            raise Refused(f"it observes images ({space})", "only vectors can be converted; export a network on images to ONNX")
    _plain(extractor)
    flat = list(_flat(modules))
    limit = None
    if isinstance(flat[-1], nn.Hardtanh):
        limit = float(flat.pop().max_val)
    elif algorithm in ("TD3", "DDPG"):
        flat.pop()  # the tanh that squashes
    layers, between = flat[::2], flat[1::2]
    kinds: set[Any] = {type(module) for module in between} or {nn.Identity}
    if any(type(layer) is not nn.Linear or layer.bias is None for layer in layers) or len(kinds) > 1 or len(layers) != len(between) + 1:
        raise Refused(f"its network is not Linear layers with one activation between them: {', '.join(type(module).__name__ for module in flat)}", "")
    return layers, _activation(kinds.pop(), between), limit, bool(squash)


def _activation(kind: Any, modules: list[Any]) -> str:
    from arena.adapters.sb3 import ACTIVATIONS

    name = str(kind.__name__)
    known = ACTIVATIONS.get(name)
    if known is None or known is not kind or any(module.extra_repr() != known().extra_repr() for module in modules):
        raise Refused(f"its activation {modules[0]} is not known", f"known are, with their defaults, {', '.join(ACTIVATIONS)}")
    return name


def _plain(extractor: Any) -> None:
    """Raises Refused unless an extractor of features only flattens and joins."""
    from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
    from torch import nn

    parts = extractor.extractors.values() if type(extractor) is CombinedExtractor else []
    odd = next((part for part in parts if type(part) is not nn.Flatten), None)
    if type(extractor) not in (CombinedExtractor, FlattenExtractor) or odd is not None:
        name = type(odd or extractor).__name__
        raise Refused(f"its features come from {name}", "only Flatten- and CombinedExtractor of vectors can be converted; export others to ONNX")


def _flat(modules: list[Any]) -> Iterator[Any]:
    from torch import nn

    for module in modules:
        if isinstance(module, nn.Sequential):
            yield from _flat(list(module))
        else:
            yield module


def _statistics(space: Any, path: str) -> tuple[dict[str, Any], dict[str, Any], Any] | None:
    """(normalizer of config.json, tensors, the object itself) of a saved VecNormalize; None where it leaves observations alone."""
    import pickle

    import torch
    from stable_baselines3.common.vec_env import VecNormalize

    from arena.adapters.sb3 import WHOLE

    with open(path, "rb") as file:
        found: Any = pickle.load(file)
    if not isinstance(found, VecNormalize):
        raise Refused(f"{Path(path).name} holds a {type(found).__name__}", "--normalize takes what VecNormalize.save() wrote")
    if not found.norm_obs:
        return None
    if found.observation_space != space:
        raise Refused(f"{Path(path).name} is of observations {found.observation_space}, the model's are {space}", "give the one saved with the model")
    stats = {name: found.obs_rms[name] for name in found.norm_obs_keys or ()} if isinstance(found.obs_rms, dict) else {WHOLE: found.obs_rms}
    tensors = {f"{what}.{name}": torch.as_tensor(getattr(rms, what)).double() for name, rms in stats.items() for what in ("mean", "var")}
    return {"entries": list(stats), "clip": float(found.clip_obs), "epsilon": float(found.epsilon)}, tensors, found


def _difference(loaded: Any, policy: Any, stats: Any, algorithm: str) -> float:
    """The largest difference between SB3's actions and ours on observations drawn from the space; classes that differ count as 1."""
    import numpy as np
    from gymnasium import spaces

    from arena.adapters.sb3 import WHOLE

    space = loaded.observation_space
    space.seed(0)
    drawn = [space.sample() for _ in range(TRIALS)]
    if isinstance(space, spaces.Dict):
        seen: Any = {name: np.stack([np.asarray(one[name]) for one in drawn]) for name in space.spaces}
    else:
        seen = np.stack([np.asarray(one) for one in drawn])
    more, mask = {}, None
    if algorithm == MASKABLE and isinstance(loaded.action_space, spaces.Discrete):
        mask = np.random.default_rng(0).random((TRIALS, int(loaded.action_space.n))) < 0.5
        mask[:, 0] = True
        more = {"action_masks": mask}
    theirs, _ = loaded.predict(seen if stats is None else stats[2].normalize_obs(seen), deterministic=True, **more)
    ours = policy(seen if isinstance(seen, dict) else {WHOLE: seen}, mask)
    if theirs.shape != ours.shape:
        return float("inf")
    return float(np.abs(theirs.astype(np.float64) - ours).max())


if __name__ == "__main__":
    try:
        answer = main(*sys.argv[1:5])
    except Refused as refused:
        answer = {"refused": refused.args[0], "hint": refused.args[1]}
    Path(sys.argv[5]).write_text(json.dumps(answer))
