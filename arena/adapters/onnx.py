"""Agents from ONNX files: a graph of known operators, run by onnxruntime on the CPU; nothing in it is code of its maker.

Inputs are named like the entries of the mode's observation space; or one input of any other name gets all entries (without `action_mask`)
flattened and joined, in the order of the space. Shapes are [rows, ...], seats of a role being rows, too. The output is the action, or
logits which are decoded by the one rule of `_decoder`. docs/agents.md has the whole convention.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
from gymnasium import spaces
from numpy.typing import NDArray

from arena.adapters.fitting import Misfit, fit
from arena.agent import Agent, Brief, Nature, Observation
from arena.domain import Mode
from arena.errors import ArenaError
from arena.legality import limits
from arena.task import TaskView

MAX_BYTES = 1_000_000_000  # of a file; protobuf itself ends at 2 GB
TRIAL = 2  # rows on which a model shows what it gives
BESIDE = ("action_mask", "live")  # go only into inputs of that name
OUTPUTS = ("action", "actions", "logits")  # which output counts, where there are several
LIVE = spaces.Discrete(2)
KINDS: Mapping[str, Any] = {
    "float": np.float32, "double": np.float64, "bool": np.bool_, "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
}  # fmt: skip
Array = NDArray[Any]
Decoder = Callable[[Array, Array | None], Array]


@dataclass(frozen=True)
class Feed:
    """One input of the model: the entries that fill it, its dtype, the shape of one row."""

    name: str
    entries: tuple[str, ...]
    kind: np.dtype[Any]
    row: tuple[int, ...]

    def value(self, flat: Mapping[str, Array]) -> Array:
        """[N, *row] from the entries [N, ...]."""
        columns = [flat[entry] for entry in self.entries]
        whole = columns[0] if len(columns) == 1 else np.concatenate([column.reshape(len(column), -1) for column in columns], 1, dtype=np.float64)
        return np.ascontiguousarray(whole.reshape(len(whole), *self.row), self.kind)


@dataclass(frozen=True)
class Plan:
    """How a mode is played: what goes in, which output is read, how it becomes actions; `batch` rows a call, 0: any number."""

    feeds: tuple[Feed, ...]
    output: str
    decode: Decoder
    batch: int
    dims: int  # axes of an entry's row, by which leading axes are told
    first: str


class OnnxAgent(Agent):
    """A policy exported to ONNX, played deterministically. One thread: the platform runs several agents beside each other."""

    nature: ClassVar[Nature] = "learned"

    def __init__(self, path: str | Path, mode: str | None = None) -> None:
        self.path, self.mode = Path(path).expanduser(), mode
        self.session = open_session(self.path)

    def check(self, task: TaskView) -> None:
        fit(task, self.mode, self.path.name, self._try)

    def begin(self, brief: Brief) -> None:
        try:
            self.plan = self._plan(brief.observation_space, brief.action_space)
        except Misfit as error:
            raise ArenaError("agent.incompatible", f"{self.path.name} cannot play {brief.mode!r}: {error}") from error

    def act(self, obs: Observation) -> Any:
        plan = self.plan
        lead = tuple(obs[plan.first].shape)[: obs[plan.first].dim() - plan.dims]
        n = int(np.prod(lead))
        flat = {name: tensor.numpy(force=True) for name, tensor in obs.items()}
        flat["live"] = np.broadcast_to(flat["live"].reshape(-1, *[1] * (len(lead) - 1)), lead)
        flat = {name: value.reshape(n, *value.shape[len(lead) :]) for name, value in flat.items()}
        answer = self._run(plan.output, {feed.name: feed.value(flat) for feed in plan.feeds}, n, plan.batch)
        actions = plan.decode(answer, flat.get("action_mask"))
        actions = actions.reshape(*lead, *actions.shape[1:])
        if answer.dtype.kind != "f" or actions.dtype.kind == "f" or not np.isnan(answer).any():
            return actions
        parts = answer.reshape(lead[0], -1)  # the best of NaN is no choice
        return [np.full(row.shape, np.nan) if np.isnan(part).any() else row for row, part in zip(actions, parts, strict=True)]

    def _try(self, mode: Mode) -> None:
        self._plan(mode.observation_space, mode.action_space)

    def _run(self, output: str, fed: Mapping[str, Array], n: int, batch: int) -> Array:
        """The output for n rows; a model of a fixed batch gets as many at a time, the last ones repeated to fill it."""
        if not batch:
            return np.asarray(self.session.run([output], dict(fed))[0])
        pieces = []
        for start in range(0, n, batch):
            rows = np.minimum(np.arange(start, start + batch), n - 1)
            pieces.append(np.asarray(self.session.run([output], {name: value[rows] for name, value in fed.items()})[0]))
        return np.concatenate(pieces)[:n]

    def _plan(self, seen: spaces.Dict, action: spaces.Space[Any]) -> Plan:
        """Raises Misfit for a model that takes or gives anything else; it is run on two rows to see what it gives."""
        entries: dict[str, spaces.Space[Any]] = {**seen.spaces, "live": LIVE}
        inputs = self.session.get_inputs()
        batches = {item.shape[0] for item in inputs if item.shape and isinstance(item.shape[0], int)}
        if len(batches) > 1 or (batches and not all(item.shape and isinstance(item.shape[0], int) for item in inputs)):
            raise Misfit(f"inputs of unequal batch sizes ({', '.join(map(_signature, inputs))}), expected one dynamic first axis")
        batch = batches.pop() if batches else 0
        foreign = [item for item in inputs if item.name not in entries]
        rest = tuple(name for name in seen.spaces if name not in BESIDE)
        if foreign and (len(foreign) > 1 or any(item.name not in BESIDE for item in inputs if item is not foreign[0])):
            asked = ", ".join(map(_signature, foreign))
            raise Misfit(f"input {asked} is no entry of the observation, which has {', '.join(_entry(*pair) for pair in entries.items())}")
        feeds = tuple(_feed(item, rest if item in foreign else (item.name,), entries) for item in inputs)
        outputs = self.session.get_outputs()
        named = [item for item in outputs if item.name in OUTPUTS]
        if len(outputs) > 1 and len(named) != 1:
            raise Misfit(f"outputs {', '.join(map(_signature, outputs))}, expected a single one, or one called {' or '.join(OUTPUTS)}")
        output = outputs[0] if len(outputs) == 1 else named[0]
        n = batch or TRIAL
        blank = {name: np.broadcast_to(np.clip(0, *limits(space)), (n, *(space.shape or ()))) for name, space in entries.items()}
        try:
            given = self._run(output.name, {feed.name: feed.value(blank) for feed in feeds}, n, batch)
        except Exception as error:
            reason = f"it fails on {n} rows: {_line(error)}; was it exported with a dynamic batch axis?"
            raise Misfit(reason) from error
        shown = f"output {output.name!r} is {given.dtype} {list(given.shape)} for {n} rows"
        if given.shape[:1] != (n,):
            raise Misfit(f"{shown}, expected [{n}, ...]: export it with a dynamic batch axis")
        first = next(iter(seen.spaces))
        return Plan(feeds, output.name, _decoder(action, given.dtype, given.shape[1:], shown), batch, len(seen[first].shape or ()), first)


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """The model in a file. Its bytes alone count: weights kept in other files are never looked for.

    Raises ArenaError `unknown.file`, `agent.incompatible`.
    """
    if not path.is_file():
        raise ArenaError("unknown.file", f"there is no file {path}", "give the path of an ONNX file")
    if path.stat().st_size > MAX_BYTES:
        raise ArenaError("agent.incompatible", f"{path.name} has {path.stat().st_size:,} bytes, at most {MAX_BYTES:,} are read")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come as exceptions
    options.add_session_config_entry("session.load_model_format", "ONNX")  # not onnxruntime's own format, which it trusts
    with tempfile.TemporaryDirectory() as empty:  # else it looks for the weights of such a model in the current folder
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
        try:
            return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            reason = _line(error)
            if "external data" in reason.lower():
                hint = "embed the weights: onnx.save_model(onnx.load(path), path, save_as_external_data=False)"
                reason = "its weights are kept in other files, which are never read"
            elif "INVALID_PROTOBUF" in reason or "No graph" in reason:
                hint, reason = "export it again", f"it is no ONNX model, or a damaged one ({reason})"
            else:
                hint = "it may use what onnxruntime itself has: no custom operators, opset as the installed version knows it"
            raise ArenaError("agent.incompatible", f"{path.name} cannot be loaded: {reason}", hint) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _signature(item: Any) -> str:
    return f"{item.name!r} {item.type} [{', '.join(map(str, item.shape))}]"


def _entry(name: str, space: spaces.Space[Any]) -> str:
    return f"{name} ({space.dtype}, {list(space.shape or ())})"


def _feed(item: Any, names: tuple[str, ...], entries: Mapping[str, spaces.Space[Any]]) -> Feed:
    """How an input is filled. Raises Misfit where its dtype or shape does not take the entries."""
    kind = KINDS.get(item.type.removeprefix("tensor(").removesuffix(")"))
    if kind is None:
        raise Misfit(f"input {_signature(item)}, expected a tensor of {', '.join(KINDS)}")
    dtype = np.dtype(kind)
    for name in names:
        if not _castable(entries[name], dtype):
            raise Misfit(f"input {_signature(item)} cannot hold {_entry(name, entries[name])}")
    shapes = [tuple(entries[name].shape or ()) for name in names]
    width = sum(int(np.prod(shape)) for shape in shapes)
    wanted = [shapes[0]] if len(names) == 1 else [(width,)]
    if len(names) == 1 and (not shapes[0] or item.name not in entries):
        wanted.append((width,))
    for row in wanted:
        if len(item.shape) == 1 + len(row) and all(not isinstance(n, int) or n == m for n, m in zip(item.shape[1:], row, strict=True)):
            return Feed(item.name, names, dtype, row)
    what = _entry(names[0], entries[names[0]]) if len(names) == 1 else f"{', '.join(names)} joined"
    raise Misfit(f"input {_signature(item)}, expected {' or '.join(str(['rows', *row]).replace(chr(39), '') for row in wanted)} for {what}")


def _castable(space: spaces.Space[Any], kind: np.dtype[Any]) -> bool:
    """Floats take numbers of any kind, integers take what is whole and fits, bools take 0 and 1."""
    if kind.kind == "f":
        return True
    if np.dtype(space.dtype).kind == "f":
        return False
    low, high = (int(np.min(limits(space)[0])), int(np.max(limits(space)[1])))
    least, most = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return bool(least <= low and high <= most)


def _decoder(space: spaces.Space[Any], kind: np.dtype[Any], row: tuple[int, ...], shown: str) -> Decoder:
    """Output rows as actions: integers are actions themselves; floats are logits, whose best the mask allows is played (Discrete), whose best
    of each component (MultiDiscrete), whose positive ones (MultiBinary), or the action of a Box. Raises Misfit for anything else."""
    shape = tuple(space.shape or ())
    width = int(np.prod(shape))
    whole, logits = kind.kind in "iub", kind.kind == "f"
    plain = row == shape or (shape == () and row == (1,))
    if isinstance(space, spaces.Box) and np.dtype(space.dtype).kind == "f":
        if logits and plain:
            return lambda given, mask: given.reshape(len(given), *shape)
        raise Misfit(f"{shown}, expected floats [rows, {', '.join(map(str, shape or (1,)))}] for {space}")
    if isinstance(space, spaces.Discrete) and logits and row == (int(space.n),):
        offset = int(space.start)
        return lambda given, mask: (given if mask is None else np.where(mask.astype(np.bool_), given, -np.inf)).argmax(1) + offset
    if isinstance(space, spaces.MultiDiscrete) and logits and row == (int(space.nvec.sum()),):
        ends = np.cumsum(space.nvec.reshape(-1))
        start = np.asarray(space.start).reshape(-1)

        def best(given: Array, mask: Array | None) -> Array:
            parts = np.split(given, ends[:-1], 1)
            chosen: Array = np.stack([part.argmax(1) for part in parts], 1) + start
            return chosen.reshape(len(given), *shape)

        return best
    if isinstance(space, spaces.MultiBinary) and logits and row == shape:
        return lambda given, mask: np.where(given > 0, 1, 0)
    if whole and plain and (kind.kind != "b" or isinstance(space, spaces.MultiBinary)):
        return lambda given, mask: given.reshape(len(given), *shape)
    sizes = {spaces.Discrete: getattr(space, "n", 0), spaces.MultiDiscrete: np.sum(getattr(space, "nvec", 0)), spaces.MultiBinary: width}
    choice = f" or logits [rows, {sizes[type(space)]}]" if type(space) in sizes else ""
    raise Misfit(f"{shown}, expected integers [rows{''.join(f', {n}' for n in shape)}]{choice} for {space}")


