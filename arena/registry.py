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
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena import settings
from arena.digest import digest
from arena.errors import ArenaError, unknown
from arena.making import build

if TYPE_CHECKING:
    from arena.agent import Agent
    from arena.task import Task, TaskView

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
OWN_FILE = "file"  # DOMAIN/file(path=...): one instance of the user's, as a task
OURS = "arena-bench"  # the distribution whose agents need no walls
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
    solve: module that makes a task of one file of the user's and writes down what came of it (docs/cli.md, `arena solve`)
    check: (folder) -> reports on the user's data files; figures: module that draws; bench: () -> the domain's speed figures
    fetch: (what a task needs, data root, origin or "", watch) -> reports on the files it brought there; none: the user must bring them
    suite: the tasks whose mean is the domain's score
    """

    name: str
    summary: str
    tasks: tuple[TaskSpec, ...]
    load: str
    check: str = ""
    fetch: str = ""
    figures: str = ""
    bench: str = ""
    solve: str = ""
    suite: tuple[str, ...] = ()


@dataclass(frozen=True)
class AgentSpec:
    """An agent as listed. `target` makes it; `tasks` are globs of the tasks it can play; `version` rises when its play changes.

    origin: the distribution that brings it, where that is not ours: such an agent runs in a process of its own
    """

    name: str
    target: str
    nature: str
    summary: str
    tasks: tuple[str, ...] = ("*",)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    trainable: bool = False
    weights: str = ""  # folder of shipped checkpoints, relative to the target's module
    origin: str = ""

    def plays(self, task_id: str) -> bool:
        return any(fnmatch.fnmatch(task_id, pattern) for pattern in self.tasks)


@dataclass(frozen=True)
class Candidate:
    """An agent chosen by reference: its identity, and how to make it.

    spec: what was asked for, in a form that makes it again; digest: of everything that decides its play
    make: () -> the agent in this process; source: how it is made in a process of its own (`arena.making.build`), where it must have one
    environment: names of the variables that process may see; level: inline (ours), process, remote (HTTP)
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
    source: Mapping[str, Any] | None = None
    environment: tuple[str, ...] = ()
    remote: bool = False

    def plays(self, task_id: str) -> bool:
        return any(fnmatch.fnmatch(task_id, pattern) for pattern in self.tasks)

    @property
    def level(self) -> str:
        """Where its code runs. The setting `isolation = inline` takes the walls away, to look into an agent with a debugger."""
        if self.remote:
            return "remote"
        return "process" if self.source is not None and settings.setting("isolation").value != "inline" else "inline"

    def enter(self, task: TaskView) -> Agent:
        """The agent, ready for a task, where it belongs: in this process, in one of its own, at the other end of a connection.

        Raises ArenaError `agent.incompatible` and others where it cannot be made. `close` it when it is no longer needed.
        """
        if self.level == "process":
            from arena.isolation import Isolated

            assert self.source is not None
            return Isolated(self.source, self.name, task, self.environment)
        agent = self.make()
        if self.remote:
            from arena.isolation import Limits

            agent.limits = Limits.of(task.limits)  # type: ignore[attr-defined]
        return agent


def walled(name: str, kind: str, nature: str, spec: dict[str, Any], content: str, source: Mapping[str, Any], **more: Any) -> Candidate:
    """A candidate whose code is not ours."""
    return Candidate(name, kind, nature, spec, content, lambda: build(source), source=source, **more)


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
            origin = point.dist.name if point.dist is not None else ""
            if attribute == "AGENTS" and origin != OURS:
                named = [replace(spec, origin=origin or point.value) for spec in named]
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


def task(reference: str) -> Task:
    """The task of that id; `name` without `-vN` is the newest version. Raises ArenaError `unknown.task` suggesting near names.

    `DOMAIN/file(path=...)` is one instance file of the user's, made a task by the domain's `solve`. A task is loaded once per data folder.
    """
    root = settings.data_root()
    return _task(reference, root and root.resolve())


@cache
def _task(reference: str, root: Path | None) -> Task:
    """`root` is where the domain will look for real data: the same task is missing in one folder and found in another."""
    name, _, parameters = parse(reference)
    known = tasks()
    if name.endswith(f"/{OWN_FILE}") and domain_of(name).solve:
        own: Task = load(f"{domain_of(name).solve}:load")(**parameters)
        return replace(own, reference=reference)
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
    return replace(found, reference=reference)


def candidate(reference: str) -> Candidate:
    """The agent a reference names: a known name, a registered one, `path/to/file.py:Class` or `module:Class`.

    Raises ArenaError where there is none.
    """
    name, version, parameters = parse(reference)
    if re.search(r"\.py(:|$)", name):
        return _from_file(name, parameters)
    if MODULE.fullmatch(name):
        return _from_module(name, parameters)
    spec = agents().get(name)
    if spec is None:
        from arena.registration import registered

        return registered(name, version, parameters)
    merged = {**spec.parameters, **parameters}
    weights = _trained_digest(merged) or _weights_digest(spec.target, spec.weights)
    identity = {"target": spec.target, "parameters": merged, "version": spec.version, "weights": weights}
    shown = labelled(name, parameters)
    stored = {"reference": reference, **{k: v for k, v in identity.items() if k != "weights"}}
    source = {"kind": "target", "target": spec.target, "path": "", "parameters": _absolute(merged), "label": shown}
    return Candidate(
        shown, "builtin", spec.nature, stored, digest(identity), lambda: build(source), spec.tasks, spec.summary, version,
        source if spec.origin else None,
    )  # fmt: skip


def labelled(name: str, parameters: Mapping[str, Any]) -> str:
    """A name with the parameters that were given: `pid(kp=0.3)`."""
    return f"{name}({','.join(f'{key}={value}' for key, value in sorted(parameters.items()))})" if parameters else name


def _absolute(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A `checkpoint` by its full path: the agent's process stands elsewhere."""
    given = parameters.get("checkpoint")
    return {**parameters, "checkpoint": str(Path(str(given)).expanduser().resolve())} if given else dict(parameters)


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
    identity = {"file": hashlib.sha256(path.read_bytes()).hexdigest(), "attribute": attribute, "parameters": parameters}
    identity |= {"weights": _trained_digest(parameters)} if "checkpoint" in parameters else {}
    shown = labelled(label_of(attribute or path.stem), parameters)
    stored = {"reference": f"{path}:{attribute}" if attribute else str(path), "parameters": parameters}
    source = {"kind": "file", "path": str(path), "attribute": attribute, "folder": "", "parameters": _absolute(parameters), "label": name}
    return walled(shown, "file", "other", stored, digest(identity), source, summary=f"from {path.name}")


def label_of(text: str) -> str:
    """A name for something that was given none."""
    return re.sub(r"[^a-z0-9_.-]+", "-", text.lower()).strip("-.") or "agent"


def _from_module(name: str, parameters: dict[str, Any]) -> Candidate:
    """`module:Class` of an installed package or of the current folder; its sources decide what it is."""
    folder = str(Path.cwd())
    content = module_digest(name.partition(":")[0], folder)
    identity = {"module": name, "sources": content, "parameters": parameters}
    identity |= {"weights": _trained_digest(parameters)} if "checkpoint" in parameters else {}
    stored = {"reference": name, "parameters": parameters, "folder": folder}
    source = {"kind": "target", "target": name, "path": folder, "parameters": _absolute(parameters), "label": name}
    return walled(labelled(label_of(name.partition(":")[2]), parameters), "file", "other", stored, digest(identity), source, summary=f"from {name}")


def module_digest(module: str, folder: str) -> str:
    """Digest of a module's file, or of all Python files of the package it lies in; nothing of it is executed.

    Raises ArenaError `unknown.module`.
    """
    from importlib.machinery import PathFinder

    top = module.split(".")[0]
    found = PathFinder.find_spec(top, [folder]) or PathFinder.find_spec(top)
    if found is None or not (found.origin or found.submodule_search_locations):
        raise ArenaError("unknown.module", f"there is no module {top}", "give an installed one or one of this folder: module:Class")
    total = hashlib.sha256()
    roots = [Path(place) for place in found.submodule_search_locations or ()]
    files = sorted((path, path.relative_to(root)) for root in roots for path in root.rglob("*.py")) or [(Path(str(found.origin)), Path(top))]
    for path, name in files:
        total.update(name.as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()
