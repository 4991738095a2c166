"""Agents trained with Stable-Baselines3, played without it: the network is rebuilt from a converted folder (config.json and safetensors).

`arena convert` writes such a folder (sb3_convert.py). All algorithms known here share one form: the entries of the observation, flattened and
joined (classes as one-hot vectors), go through layers of one activation into a head; algorithms differ in what the head means. Play is
SB3's `predict(deterministic=True)`, whose own clipping and rescaling of Box actions belongs to it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from arena.adapters.fitting import Misfit, fit
from arena.adapters.sb3_convert import MASKABLE
from arena.adapters.space_documents import differing, space_document, space_of
from arena.agent import Agent, Brief, Nature, Observation
from arena.domain import Mode
from arena.errors import ArenaError
from arena.faces.episodes import shown_space, vector_space
from arena.learning.checkpoints import load_checkpoint
from arena.task import TaskView

SPEC: dict[str, Any] = {"agent": "sb3", "version": 1}
WHOLE = "observation"  # the name of an observation that is no Dict
MASKED = -1e8  # logit of what the mask forbids, as MaskablePPO has it
ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (nn.ReLU, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Softplus, nn.Mish, nn.Identity)
}
Array = NDArray[Any]
Width = Annotated[int, Field(ge=1, le=65536)]


class Normalizer(BaseModel):
    """Of VecNormalize: clip((x - mean) / sqrt(var + epsilon)) for the entries named; mean and var are tensors beside."""

    model_config = ConfigDict(strict=True, extra="forbid")
    entries: list[str]
    clip: float
    epsilon: float


class Network(BaseModel):
    """The architecture, as config.json has it under "network".

    observation, action: documents of the spaces it was trained on (scalars shown as vectors of length 1)
    hidden: sizes of the layers before the head; limit: of the head's absolute value (gSDE); squash: tanh, then from -1..1 to the bounds
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    algorithm: str
    observation: dict[str, Any]
    action: dict[str, Any]
    hidden: Annotated[list[Width], Field(max_length=100)]
    activation: str
    limit: float | None
    squash: bool
    normalizer: Normalizer | None

    def entries(self) -> dict[str, spaces.Space[Any]]:
        whole = space_of(self.observation)
        return dict(whole.spaces) if isinstance(whole, spaces.Dict) else {WHOLE: whole}

    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """part -> tensor -> shape, what its tensor files must hold."""
        entries = self.entries()
        widths = [sum(width_of(space) for space in entries.values()), *self.hidden, width_of(space_of(self.action))]
        policy: dict[str, tuple[int, ...]] = {}
        for i, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            policy |= {f"{i}.weight": (after, before), f"{i}.bias": (after,)}
        if self.normalizer is None:
            return {"policy": policy}
        stats = {f"{what}.{name}": tuple(entries[name].shape or ()) for name in self.normalizer.entries for what in ("mean", "var")}
        return {"policy": policy, "normalizer": stats}


def width_of(space: spaces.Space[Any]) -> int:
    """Numbers that stand for a value of a space, as input or as output of a network. Raises ValueError for spaces SB3 does not take."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete) and len(space.nvec.shape) == 1:
        return int(space.nvec.sum())
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return int(np.prod(space.shape or ()))
    raise ValueError(f"no vector of {space}")


class Policy:
    """The network with its weights, on the CPU: observations [N, ...] as the faces show them -> actions [N, ...], as `predict` gives them."""

    def __init__(self, network: Network, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.network, self.entries, self.action = network, network.entries(), space_of(network.action)
        tensors = parts["policy"]
        self.layers = [(tensors[f"{i}.weight"].float(), tensors[f"{i}.bias"].float()) for i in range(len(network.hidden) + 1)]
        self.activation = ACTIVATIONS[network.activation]()
        self.stats = {name: tensor.double().numpy() for name, tensor in parts.get("normalizer", {}).items()}

    @torch.no_grad()
    def __call__(self, seen: Mapping[str, Array], mask: Array | None = None) -> Array:
        x = torch.cat([self._features(name, space, seen[name]) for name, space in self.entries.items()], 1)
        for weight, bias in self.layers[:-1]:
            x = self.activation(nn.functional.linear(x, weight, bias))
        x = nn.functional.linear(x, *self.layers[-1])
        if isinstance(self.action, spaces.Box):
            return self._continuous(x, self.action)
        if isinstance(self.action, spaces.MultiBinary):
            return torch.sigmoid(x).round().to(torch.int8).numpy().reshape(len(x), *self.action.shape)
        if mask is not None and self.network.algorithm == MASKABLE:
            x = torch.where(torch.from_numpy(mask.astype(np.bool_)), x, MASKED)
        if isinstance(self.action, spaces.MultiDiscrete):
            return torch.stack([_best(part) for part in torch.split(x, self.action.nvec.tolist(), 1)], 1).numpy()
        return (x.argmax(1) if self.network.algorithm == "DQN" else _best(x)).numpy()

    def _features(self, name: str, space: spaces.Space[Any], value: Array) -> Tensor:
        normalizer = self.network.normalizer
        if normalizer is not None and name in normalizer.entries:
            deviation = np.sqrt(self.stats[f"var.{name}"] + normalizer.epsilon)
            value = np.clip((value - self.stats[f"mean.{name}"]) / deviation, -normalizer.clip, normalizer.clip).astype(np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(value))
        if isinstance(space, spaces.Discrete):
            return nn.functional.one_hot(tensor.long(), int(space.n)).float()
        if isinstance(space, spaces.MultiDiscrete):
            columns = tensor.long().unbind(1)
            return torch.cat([nn.functional.one_hot(column, int(n)) for column, n in zip(columns, space.nvec, strict=True)], 1).float()
        return tensor.float().flatten(1)

    def _continuous(self, x: Tensor, space: spaces.Box[Any]) -> Array:
        if self.network.limit is not None:
            x = x.clamp(-self.network.limit, self.network.limit)
        given = (torch.tanh(x) if self.network.squash else x).numpy().reshape(len(x), *space.shape)
        if self.network.squash:
            return np.asarray(space.low + (0.5 * (given + 1.0) * (space.high - space.low)))
        return np.asarray(np.clip(given, space.low, space.high))


def _best(logits: Tensor) -> Tensor:
    """The likeliest class, by the probabilities that SB3 computes: they may tie where logits do not."""
    return torch.softmax(logits - logits.logsumexp(1, keepdim=True), 1).argmax(1)


class Sb3Agent(Agent):
    """A converted Stable-Baselines3 model, played by the mean or the likeliest action."""

    nature: ClassVar[Nature] = "learned"

    def __init__(self, folder: str | Path, mode: str | None = None) -> None:
        self.folder, self.mode = Path(folder).expanduser(), mode
        self.policy = load(self.folder)

    def check(self, task: TaskView) -> None:
        fit(task, self.mode, self.folder.name, self._try)

    def begin(self, brief: Brief) -> None:
        mode = brief.task.domain.role(brief.role).mode(brief.mode)
        try:
            self._try(mode)
        except Misfit as error:
            raise ArenaError("agent.incompatible", f"{self.folder.name} cannot play {brief.mode!r}: {error}") from error
        self.space = brief.action_space
        self.seen = {name: (space.dtype, tuple(space.shape or ())) for name, space in brief.observation_space.spaces.items()}

    def act(self, obs: Observation) -> Array:
        first, (_, row) = next(iter(self.seen.items()))
        lead = tuple(obs[first].shape)[: obs[first].dim() - len(row)]
        n = int(np.prod(lead))
        shown = {name: obs[name].numpy(force=True).reshape(n, *(row or (1,))).astype(kind) for name, (kind, row) in self.seen.items()}
        for name, space in self.policy.entries.items():
            if isinstance(space, spaces.Discrete):  # faces make vectors of scalars in boxes only
                shown[name] = shown[name][:, 0]
        mask = shown.get("action_mask")
        actions = self.policy({WHOLE: shown[first]} if WHOLE in self.policy.entries and WHOLE not in shown else shown, mask)
        return actions.reshape(*lead, *(self.space.shape or ()))

    def _try(self, mode: Mode) -> None:
        """Raises Misfit with both spaces, the first difference marked. Bounds of what is observed may differ: they are not part of a network."""
        network = self.policy.network
        compare("observation", network.observation, space_document(shown_space(mode)), ("low", "high", "dtype"))
        compare("action", network.action, space_document(vector_space(mode.action_space)), ("dtype",))


def compare(what: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], but: tuple[str, ...]) -> None:
    """Raises Misfit unless two space documents agree, showing all entries side by side."""
    mine, here = ({what: side} if side["type"] != "Dict" else dict(side["spaces"]) for side in (ours, theirs))
    lines, marked = [], False
    for name in [*mine, *(name for name in here if name not in mine)]:
        sides = [_words(side[name], what) if name in side else "-" for side in (mine, here)]
        field = differing(mine[name], here[name], but) if name in mine and name in here else "only on one side"
        mark = ">" if field and not marked else " "
        lines.append(f"\n{mark} {name:12} {sides[0]:32} {sides[1]:32} {f'{field} differs' if mark == '>' and ' ' not in str(field) else ''}".rstrip())
        marked = marked or bool(field)
    if not marked and list(mine) != list(here):
        raise Misfit(f"the entries of its {what} come in another order: {', '.join(mine)}; here {', '.join(here)}")
    if marked:
        raise Misfit(f"its {what} is another one\n  {'':12} {'trained on':32} {'here':32}".rstrip() + "".join(lines))


def _words(space: Mapping[str, Any], what: str) -> str:
    shape = "" if space["type"] == "Discrete" else f" {space['shape']}"
    shown = ("n", "nvec", "low", "high") if what == "action" else ("n", "nvec")
    return f"{space['type']}{shape}" + "".join(f" {key} {space[key]}" for key in shown if key in space)


def load(folder: Path) -> Policy:
    """The network in a folder that `arena convert` wrote; its files are verified and none of them can run code.

    Raises ArenaError `checkpoint.*`, e.g. `checkpoint.pickle` for an archive of SB3's own.
    """
    if folder.is_file():
        what = "a Stable-Baselines3 archive" if zipfile.is_zipfile(folder) else "a file"
        hint = f"convert it once, if you trust whoever made it: arena convert {folder.name} --trust --out {folder.stem}"
        raise ArenaError("checkpoint.pickle", f"{folder} is {what}, which may hold pickles that run code, and no converted folder", hint)
    config = load_checkpoint(folder, SPEC, {}).config
    try:
        network = Network.model_validate(config.get("network"))
        shapes = network.shapes()
        if network.activation not in ACTIVATIONS:
            raise ValueError(f"activation {network.activation!r}, known are {', '.join(ACTIVATIONS)}")
    except (ValidationError, ValueError, KeyError) as error:
        reason = error.errors()[0] if isinstance(error, ValidationError) else None
        detail = f"network.{'.'.join(map(str, reason['loc']))}: {reason['msg'].lower()}" if reason else str(error)
        raise ArenaError("checkpoint.schema", f"{folder}/config.json: {detail}", "convert the model again") from error
    return Policy(network, load_checkpoint(folder, SPEC, shapes).parts)
