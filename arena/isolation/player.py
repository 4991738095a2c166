"""The agent's own process: it makes the agent, then answers its host's requests, one after the other."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from arena import registry
from arena.agent import Agent, Brief
from arena.errors import ArenaError
from arena.isolation.wire import DTYPES, Broken, Channel, Odd
from arena.making import build

TRACE = 4096  # characters kept of a traceback
STARVED = ("can't allocate memory", "not enough memory", "out of memory", "Unable to allocate", "bad_alloc", "Cannot allocate memory")


def play(channel: Channel, source: Mapping[str, Any]) -> None:
    """Serve one agent until its host hangs up. Every request is answered by {"ok": ...} or {"error": ...}."""
    agent: Agent | None = None
    brief: Brief | None = None
    while True:
        try:
            request = channel.receive()
        except Broken:
            return
        answer: dict[str, Any]
        try:
            if request["do"] == "make":
                agent = build(source)
                answer = {"ok": {"mode": portable(agent.mode)}}
            elif agent is None:
                answer = {"error": {"code": "agent.incompatible", "message": "the agent was not made"}}
            elif request["do"] == "check":
                agent.check(registry.task(request["task"]).view)
                answer = {"ok": None}
            elif request["do"] == "begin":
                brief = _brief(request)
                agent.usage = {}
                agent.begin(brief)
                answer = {"ok": None}
            elif request["do"] == "act":
                assert brief is not None
                answer = {"ok": portable(agent.act({name: torch.from_numpy(column).to(brief.device) for name, column in request["obs"].items()}))}
            else:
                agent.end()
                answer = {"ok": {str(name): float(amount) for name, amount in agent.usage.items()}}
        except BaseException as error:  # whatever the agent's code does; this process is its own
            answer = {"error": _story(error)}
        sys.stdout.flush()
        answer["seq"] = request["seq"]  # an answer that is late, or given twice, is told by that
        try:
            channel.send(answer)
        except (TypeError, ValueError, RecursionError, OverflowError, Broken) as error:
            if isinstance(error, Broken) and error.eof:
                return
            story = {"code": "agent.crash", "message": f"the answer cannot be passed on: {error}", "trace": ""}
            channel.send({"error": story, "seq": request["seq"]})


def _brief(request: Mapping[str, Any]) -> Brief:
    view = registry.task(request["task"]).view
    device = torch.device(request["device"])
    mode = view.domain.role(request["role"]).mode(request["mode"])
    scenario = torch.from_numpy(request["scenario"]).to(device)
    return Brief(
        view, request["role"], mode.name, mode.observation_space, mode.action_space, request["horizon"], scenario, device,
        request["seed"], request["seat"],
    )  # fmt: skip


def _story(error: BaseException) -> dict[str, Any]:
    """What went wrong, in words; an agent can neither name another's fault nor a success."""
    told = {"trace": "".join(traceback.format_exception(error))[-TRACE:]}
    if isinstance(error, SystemExit):
        return told | {"code": "agent.died", "message": f"SystemExit: {error.code}: the agent left the process"}
    head = traceback.format_exception_only(error)[-1].strip()[:500]
    if isinstance(error, MemoryError) or any(words in head for words in STARVED):
        return told | {"code": "agent.memory", "message": head}
    if isinstance(error, ArenaError):
        return told | {"code": error.code, "message": error.message, "hint": error.hint}
    return told | {"code": "agent.crash", "message": head}


def portable(answer: Any, depth: int = 0) -> Any:
    """An agent's answer as arrays, numbers and lists; what is none of these as its kind and its text. Nothing is repaired on the way."""
    if isinstance(answer, torch.Tensor):
        if answer.layout != torch.strided or answer.is_quantized or answer.is_complex() or answer.is_meta:
            return Odd("Tensor", f"{answer.layout} {answer.dtype}".replace("torch.", ""))
        plain = answer.detach().cpu()
        answer = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    if isinstance(answer, np.ndarray | np.generic):
        array = np.asarray(answer)
        if array.dtype == object:
            return portable(array.tolist(), depth)
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return native if native.dtype.str in DTYPES else Odd(type(answer).__name__, repr(answer))
    if answer is None or isinstance(answer, bool | int | float | str):
        return answer if type(answer) in (type(None), bool, int, float, str) else Odd(type(answer).__name__, repr(answer))
    if isinstance(answer, list | tuple) and depth < 8:
        return [portable(value, depth + 1) for value in answer]
    if hasattr(answer, "__array__"):
        return portable(np.asarray(answer), depth + 1) if depth < 8 else Odd(type(answer).__name__, "nested too deeply")
    return Odd(type(answer).__name__, repr(answer))


def leave(code: int) -> None:
    """End this process without running what the nursery has registered for its own end."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
