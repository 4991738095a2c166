"""What is known: domains, tasks and agents. Discovery reads metadata only; a module is imported on first use.

Sources: the entry-point groups `arena.domains` and `arena.agents` (each names a light module with DOMAIN or AGENTS), files given by
path, agents registered with the decorator `agent`. A plugin that fails to import is listed as broken with its reason; it breaks nothing else.
"""

from __future__ import annotations

import ast
import fnmatch
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from arena.digest import digest
from arena.errors import ArenaError, unknown

if TYPE_CHECKING:
    from arena.agent import Agent
    from arena.task import Task

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
REFERENCE = re.compile(r"(?P<name>[^@()]+)(@(?P<version>\d+))?(\((?P<parameters>.*)\))?", re.DOTALL)


@dataclass(frozen=True)
class TaskSpec:
    """A task as listed: `name` is `name-vN` within its domain; `needs` says which real data it wants."""

    name: str
    tier: str
    n: int
    summary: str
    needs: str = ""
    ranked: bool = True


@dataclass(frozen=True)
class DomainSpec:
    """A domain as listed. Targets are `module:attribute`, imported on first use.

    load: (task name, **parameters) -> Task
    check: (folder) -> reports on the user's data files; figures: module that draws; bench: () -> the domain's speed figures
    suite: the tasks whose mean is the domain's score
    """

    name: str
    summary: str
    tasks: tuple[TaskSpec, ...]
    load: str
    check: str = ""
    figures: str = ""
    bench: str = ""
    suite: tuple[str, ...] = ()


@dataclass(frozen=True)
class AgentSpec:
    """An agent as listed. `target` makes it; `tasks` are globs of the tasks it can play; `version` rises when its play changes."""

    name: str
    target: str
    nature: str
    summary: str
    tasks: tuple[str, ...] = ("*",)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    trainable: bool = False
    weights: str = ""  # folder of shipped checkpoints, relative to the target's module

    def plays(self, task_id: str) -> bool:
        return any(fnmatch.fnmatch(task_id, pattern) for pattern in self.tasks)


@dataclass(frozen=True)
class Candidate:
    """An agent chosen by reference: its identity, and how to make it.

    spec: what was asked for, in a form that makes it again; digest: of everything that decides its play
    """

    name: str
    kind: str
    nature: str
    spec: dict[str, Any]
    digest: str
    make: Callable[[], Agent]
    tasks: tuple[str, ...] = ("*",)
    summary: str = ""
    version: int | None = None

    def plays(self, task_id: str) -> bool:
        return any(fnmatch.fnmatch(task_id, pattern) for pattern in self.tasks)


broken: dict[str, str] = {}
_decorated: dict[str, AgentSpec] = {}


def agent(name: str, nature: str = "other", tasks: tuple[str, ...] = ("*",), **parameters: Any) -> Callable[[Any], Any]:
    """Register a factory under a name, for this process."""
    if not NAME.fullmatch(name):
        raise ArenaError("agent.name", f"{name!r} is no agent name", "use 1 to 64 of a-z 0-9 _ . - and start with a letter or digit")

    def register(factory: Any) -> Any:
        target = f"{factory.__module__}:{factory.__qualname__}"
        _decorated[name] = AgentSpec(name, target, nature, (factory.__doc__ or "").strip().split("\n")[0], tasks, parameters)
        return factory

    return register


@cache
def _plugins(group: str, attribute: str) -> dict[str, Any]:
    found = {}
    for point in sorted(entry_points(group=group), key=lambda p: p.name):
        try:
            named = getattr(point.load(), attribute)
            specs, kind = ((named,), DomainSpec) if attribute == "DOMAIN" else (named, AgentSpec)
            if not all(isinstance(spec, kind) for spec in specs):
                raise TypeError(f"{attribute} holds something that is no {kind.__name__}")
            found[point.name] = named
        except (Exception, SystemExit) as error:  # any plugin may fail in any way; the others go on
            broken[f"{group}: {point.name}"] = f"{type(error).__name__}: {error}".split("\n")[0]
    return found


def domains() -> dict[str, DomainSpec]:
    return {spec.name: spec for spec in _plugins("arena.domains", "DOMAIN").values()}


def agents() -> dict[str, AgentSpec]:
    listed = [spec for specs in _plugins("arena.agents", "AGENTS").values() for spec in specs]
    return {spec.name: spec for spec in listed} | _decorated


def tasks() -> dict[str, TaskSpec]:
    """All tasks by id."""
    return {f"{domain.name}/{task.name}": task for domain in domains().values() for task in domain.tasks}


def domain_of(task_id: str) -> DomainSpec:
    known = domains()
    name = task_id.split("/")[0]
    if name not in known:
        raise unknown("domain", name, known)
    return known[name]


# ---- references: name[@version][(key=value, ...)] ------------------------------------------------------------------


def parse(reference: str) -> tuple[str, int | None, dict[str, Any]]:
    """Name, version and parameters of a reference. Values are Python literals, fractions (1/32) or plain words."""
    match = REFERENCE.fullmatch(reference.strip())
    if not match:
        raise ArenaError("reference", f"{reference!r} is no reference", "write name, name@2 or name(key=value, ...)")
    version = int(match["version"]) if match["version"] else None
    return match["name"].strip(), version, _parameters(match["parameters"] or "", reference)


def _parameters(text: str, reference: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in re.split(r",(?![^\[\(]*[\]\)])", text) if text.strip() else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key.isidentifier():
            raise ArenaError("reference", f"{part.strip()!r} in {reference!r} is no parameter", "write key=value")
        if key in found:
            raise ArenaError("reference", f"{key} is given twice in {reference!r}", "give each parameter once")
        found[key] = _value(value)
    return found


def _value(text: str) -> Any:
    if not text.startswith(("'", '"')):  # fractions, also within a list
        text = re.sub(r"(?<![\w./])(\d+)/([1-9]\d*)(?![\w./])", lambda found: repr(int(found[1]) / int(found[2])), text)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def load(target: str) -> Any:
    """The object behind `module:attribute`."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def versions_of(name: str, known: Iterable[str]) -> list[str]:
    """The ids `name-v1`, `name-v2`, ... that are known, oldest first."""
    found = (task for task in known if re.fullmatch(re.escape(name) + r"-v\d+", task))
    return sorted(found, key=lambda task: int(task.rpartition("-v")[2]))


@cache
def task(reference: str) -> Task:
    """The task of that id; `name` without `-vN` is the newest version. Raises ArenaError `unknown.task` suggesting near names."""
    name, _, parameters = parse(reference)
    known = tasks()
    if name not in known:
        versions = versions_of(name, known)
        if not versions:
            domain_of(name)
            raise unknown("task", name, known, "arena list tasks shows all")
        name = versions[-1]
    domain = domain_of(name)
    try:
        found: Task = load(domain.load)(name.split("/", 1)[1], **parameters)
    except TypeError as error:
        if parameters:
            raise ArenaError("task.parameters", f"{reference}: {error}", "only tasks on your own files take parameters") from error
        raise
    return found


def candidate(reference: str) -> Candidate:
    """The agent a reference names: a known name, or `path/to/file.py:Class`. Raises ArenaError where there is none."""
    name, version, parameters = parse(reference)
    if re.search(r"\.py(:|$)", name):
        return _from_file(name, parameters)
    known = agents()
    if name not in known:
        raise unknown("agent", name, known, "arena list agents shows all; a file is given as path/to/file.py:Class")
    spec = known[name]
    merged = {**spec.parameters, **parameters}
    weights = _trained_digest(merged) or _weights_digest(spec.target, spec.weights)
    identity = {"target": spec.target, "parameters": merged, "version": spec.version, "weights": weights}
    shown = f"{name}({','.join(f'{key}={value}' for key, value in sorted(parameters.items()))})" if parameters else name

    def make() -> Agent:
        return _build(load(spec.target), merged, shown)

    stored = {"reference": reference, **{k: v for k, v in identity.items() if k != "weights"}}
    return Candidate(shown, "builtin", spec.nature, stored, digest(identity), make, spec.tasks, spec.summary, version)


@cache
def _weights_digest(target: str, weights: str) -> str:
    """Digest of the shipped checkpoints an agent plays."""
    if not weights:
        return ""
    module = importlib.util.find_spec(target.split(":")[0])
    assert module is not None and module.origin is not None
    return _folder_digest(Path(module.origin).parent / weights)


def _trained_digest(parameters: Mapping[str, Any]) -> str:
    """Digest of the checkpoints a user trained and names by the parameter `checkpoint`: what is in the folder counts, not where it lies."""
    return _folder_digest(Path(str(parameters["checkpoint"])).expanduser()) if parameters.get("checkpoint") else ""


def _folder_digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


def _from_file(name: str, parameters: dict[str, Any]) -> Candidate:
    path_text, _, attribute = name.partition(":")
    path = Path(path_text).expanduser().resolve()  # whoever resumes the run may stand elsewhere
    if not path.is_file():
        raise ArenaError("unknown.file", f"there is no file {path_text}", "give the path of a Python file: path/to/file.py:Class")
    source = path.read_bytes()
    identity = {"file": hashlib.sha256(source).hexdigest(), "attribute": attribute, "parameters": parameters}
    identity |= {"weights": _trained_digest(parameters)} if "checkpoint" in parameters else {}

    def make() -> Agent:
        return _build(_attribute(path, attribute), parameters, name)

    label = re.sub(r"[^a-z0-9_.-]+", "-", (attribute or path.stem).lower()).strip("-.") or "agent"
    if parameters:
        label += f"({','.join(f'{key}={value}' for key, value in sorted(parameters.items()))})"
    stored = {"reference": f"{path}:{attribute}" if attribute else str(path), "parameters": parameters}
    return Candidate(label, "file", "other", stored, digest(identity), make, summary=f"from {path.name}")


def _attribute(path: Path, attribute: str) -> Any:
    """What `file.py:attribute` names; without an attribute, the only class or function the file defines."""
    label = f"arena_file_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(label, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[label] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        reason = f"{path} cannot be imported: {type(error).__name__}: {error}"
        raise ArenaError("agent.incompatible", reason, "run it with python to see why") from error
    own = {n: v for n, v in vars(module).items() if getattr(v, "__module__", None) == label and callable(v) and not n.startswith("_")}
    if not attribute:
        if len(own) == 1:
            return next(iter(own.values()))
        raise ArenaError("agent.incompatible", f"{path} defines {', '.join(own) or 'nothing callable'}", f"say which: {path}:NAME")
    if not hasattr(module, attribute):
        raise unknown("attribute", f"{path}:{attribute}", [f"{path}:{n}" for n in own])
    return getattr(module, attribute)


def _build(factory: Any, parameters: Mapping[str, Any], label: str) -> Agent:
    """The agent itself: batched classes as they are, everything else through the one-observation adapter."""
    from arena.agent import Agent, Vectorised

    checked = validated(factory, parameters, label) if inspect.isclass(factory) else dict(parameters)
    if inspect.isclass(factory) and (issubclass(factory, Agent) or getattr(factory, "batched", False)):
        return cast("Agent", factory(**checked))
    mode = checked.pop("mode", getattr(factory, "mode", None))
    if inspect.isclass(factory):
        if not hasattr(factory, "act") and not any("__call__" in vars(base) for base in factory.__mro__):
            raise ArenaError("agent.incompatible", f"{label} has no act(obs)", "an agent is a class with act(obs) or a function of obs")
        return Vectorised(lambda: factory(**checked), mode)
    if callable(factory):
        return Vectorised(lambda: lambda obs: factory(obs, **checked), mode)
    raise ArenaError("agent.incompatible", f"{label} is a {type(factory).__name__}", "an agent is a class with act(obs) or a function of obs")


def validated(factory: Any, parameters: Mapping[str, Any], label: str, code: str = "agent.parameters") -> dict[str, Any]:
    """Parameters checked against the factory's signature by Pydantic. Raises ArenaError `code` naming the parameter."""
    from pydantic import ConfigDict, ValidationError, create_model

    signature = inspect.signature(factory, eval_str=True)
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return dict(parameters)
    fields: dict[str, Any] = {
        name: (Any if p.annotation is p.empty else p.annotation, ... if p.default is p.empty else p.default)
        for name, p in signature.parameters.items()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    model = create_model("Parameters", __config__=ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True), **fields)
    try:
        checked = model(**parameters)
        return {name: getattr(checked, name) for name in fields}
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0])
        detail = f"{label}: parameter {place} = {parameters.get(place)!r}: {first['msg'].lower()}"
        raise ArenaError(code, detail, f"parameters: {', '.join(fields) or 'none'}") from error
