"""How an agent is made from what names it: a target in a module, a Python file, a converted or exported network. Runs where the agent
runs: in this process, or in one of its own.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from arena.errors import ArenaError, unknown

if TYPE_CHECKING:
    from arena.agent import Agent


def build(source: Mapping[str, Any]) -> Agent:
    """The agent that a source describes: {"kind", "label", "parameters"} and, by kind,

    target: "target" `module:attribute`, "path": a folder to look in before all others, or ""
    file: "path" of a Python file, "attribute" in it, or ""; "folder": where its own modules lie, or ""
    onnx: "path" of the file; sb3: "path" of the folder that `arena convert` wrote; http: "url"
    Raises ArenaError agent.incompatible, agent.parameters, unknown.attribute.
    """
    kind, label, parameters = source["kind"], source["label"], dict(source["parameters"])
    if kind == "onnx":
        from arena.adapters.onnx import OnnxAgent

        return built(OnnxAgent, {"path": source["path"], **parameters}, label)
    if kind == "sb3":
        from arena.adapters.sb3 import Sb3Agent

        return built(Sb3Agent, {"folder": source["path"], **parameters}, label)
    if kind == "http":
        from arena.adapters.http import HttpAgent

        return built(HttpAgent, {"url": source["url"], **parameters}, label)
    if kind == "file":
        return built(attribute_of(Path(source["path"]), source["attribute"], source["folder"]), parameters, label)
    return built(target_of(source["target"], source["path"]), parameters, label)


def target_of(target: str, folder: str = "") -> Any:
    """The object behind `module:attribute`. Raises ArenaError `agent.incompatible` where it cannot be imported."""
    module, _, attribute = target.partition(":")
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        reason = f"{module} cannot be imported: {type(error).__name__}: {error}"
        raise ArenaError("agent.incompatible", reason, "import it in Python to see why") from error
    if not hasattr(loaded, attribute):
        there = [name for name, value in vars(loaded).items() if callable(value) and not name.startswith("_")]
        raise unknown("attribute", target, [f"{module}:{name}" for name in there])
    return getattr(loaded, attribute)


def attribute_of(path: Path, attribute: str, folder: str = "") -> Any:
    """What `file.py:attribute` names; without an attribute, the only class or function the file defines.

    Raises ArenaError agent.incompatible, unknown.attribute.
    """
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    label = f"arena_file_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(label, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[label] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        reason = f"{path} cannot be imported: {type(error).__name__}: {error}"
        hint = "run it with python to see why"
        if isinstance(error, ModuleNotFoundError) and (path.parent / f"{error.name}.py").exists():
            hint = f"a file of your own beside it comes along by: arena register {path.name}{attribute and ':' + attribute} --with {error.name}.py"
        raise ArenaError("agent.incompatible", reason, hint) from error
    own = {n: v for n, v in vars(module).items() if getattr(v, "__module__", None) == label and callable(v) and not n.startswith("_")}
    if not attribute:
        if len(own) == 1:
            return next(iter(own.values()))
        raise ArenaError("agent.incompatible", f"{path} defines {', '.join(own) or 'nothing callable'}", f"say which: {path}:NAME")
    if not hasattr(module, attribute):
        raise unknown("attribute", f"{path.name}:{attribute}", [f"{path.name}:{n}" for n in own])
    return getattr(module, attribute)


def built(factory: Any, parameters: Mapping[str, Any], label: str) -> Agent:
    """The agent itself: batched classes as they are, everything else through the one-observation adapter.

    Raises ArenaError agent.incompatible, agent.parameters.
    """
    checked = validated(factory, parameters, label) if inspect.isclass(factory) else dict(parameters)
    try:
        return _made(factory, checked, label)
    except (ArenaError, MemoryError):
        raise
    except Exception as error:
        reason = f"{label} cannot be made: {type(error).__name__}: {error}"
        raise ArenaError("agent.incompatible", reason, "call its constructor in Python to see why") from error


def _made(factory: Any, checked: dict[str, Any], label: str) -> Agent:
    from arena.agent import Agent, Vectorised

    if inspect.isclass(factory) and issubclass(factory, Agent):
        return factory(**checked)
    if inspect.isclass(factory) and getattr(factory, "batched", False):  # says it is one: what it leaves out it inherits
        return cast("Agent", type(factory.__name__, (factory, Agent), {})(**checked))
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
