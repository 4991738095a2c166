"""What `arena new` writes: an agent for a task, or a domain of one's own, as files that work and are tested as they are.

The templates beside this module are `string.Template` texts; what varies is filled in here.
"""

from __future__ import annotations

import importlib.util
import json
import keyword
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gymnasium import spaces

from arena import registry
from arena.errors import ArenaError

if TYPE_CHECKING:
    from arena.domain import Mode, Role
    from arena.task import Task

HERE = Path(__file__).parent
TAKEN = ("Agent", "Brief", "Observation", "Tensor")  # class names that an agent's file imports
DOMAIN_FILES = ("__init__.py", "kernel.py", "scenarios.py", "references.py", "tasks.py", "figures.py", "baseline.py")


@dataclass(frozen=True)
class Skeleton:
    """Files to be written, by relative path, and the commands that come next; `{at}` in them stands for the folder."""

    kind: Literal["agent", "domain"]
    name: str
    files: dict[str, str]
    steps: tuple[tuple[str, str], ...]

    def write(self, folder: Path) -> list[Path]:
        """The files written. Raises ArenaError `new.exists`, before any is written, where one of them is there already; `new.folder`."""
        paths = [folder / name for name in self.files]
        for path in paths:
            if path.exists():
                raise ArenaError("new.exists", f"{path} is there already, and nothing is overwritten", "take another name, or another folder: --dir")
        try:
            for path, text in zip(paths, self.files.values(), strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x", encoding="utf-8") as file:
                    file.write(text)
        except OSError as error:
            raise ArenaError("new.folder", f"{path} cannot be written: {error.strerror or error}", "name another folder: --dir") from error
        return paths

    def next(self, folder: str) -> list[tuple[str, str]]:
        """(command, what it does), as they are typed where the files were asked for."""
        at = "" if folder == "." else f"{folder}/"
        return [(command.replace("{at}", at), what) for command, what in self.steps]


def agent_skeleton(name: str, task_reference: str, batched: bool) -> Skeleton:
    """An agent for a task, and its test on the tiny task of that domain.

    Raises ArenaError `new.name`, `new.batched` where one-observation code cannot play the task, and what loading the task raises.
    """
    from arena.contract import tiny_task

    module = _module(name, "an agent")
    if name in registry.agents():
        raise ArenaError("new.name", f"an agent called {name!r} is known already", "arena list agents shows all names that are taken")
    task = registry.task(task_reference)
    roles = [task.domain.role(role) for role in task.candidates or (task.role,)]
    if not batched:
        _check_one_observation(task, roles)
    kind = "".join(part.capitalize() for part in module.split("_"))
    kind = f"My{kind}" if kind in TAKEN or keyword.iskeyword(kind) or not kind.isidentifier() else kind
    tiny = tiny_task([f"{task.domain.name}/*"])
    words = {
        "name": name, "file": f"{module}.py", "Class": kind, "task": task.id, "summary": task.summary or task.domain.name,
        "view": _view(roles, batched),
        "tiny": tiny if registry.tasks()[tiny].tier == "tiny" else task.id, "mode": json.dumps(_mode(roles[0]).name) if len(roles) == 1 else "None",
    }  # fmt: skip
    reference = f"{{at}}{module}.py:{kind}"
    template = "agent_batched.py.tmpl" if batched else "agent.py.tmpl"
    return Skeleton(
        "agent",
        name,
        {f"{module}.py": _filled(template, words), f"test_{module}.py": _filled("test_agent.py.tmpl", words)},
        (
            (f"arena check {reference}", "does it keep the contract?"),
            (f"python -m pytest {{at}}test_{module}.py", "its own test"),
            (f"arena run -t {task.id} -a {reference}", "play, and see the board"),
            (f"arena register {reference} --name {name} --task '{task.domain.name}/*'", "enter it under its name"),
        ),
    )


def domain_skeleton(name: str) -> Skeleton:
    """A small domain as an installable package, with a baseline agent and tests. Raises ArenaError `new.name`."""
    package = _module(name, "a domain")
    agent = f"{name}-baseline"
    if name in registry.domains() or agent in registry.agents():
        raise ArenaError("new.name", f"a domain called {name!r} is known already", "arena list domains shows all names that are taken")
    if not registry.NAME.fullmatch(agent):
        raise ArenaError("new.name", f"{name!r} is too long: its baseline would be called {agent!r}", "names have at most 64 characters")
    words = {"name": name, "package": package, "agent": agent}
    files = {f"{name}/{file}": _filled(f"domain/{file}.tmpl", words) for file in ("pyproject.toml", "README.md")}
    files |= {f"{name}/{package}/{file}": _filled(f"domain/{file}.tmpl", words) for file in DOMAIN_FILES}
    files |= {f"{name}/tests/test_{package}.py": _filled("domain/test_domain.py.tmpl", words)}
    return Skeleton(
        "domain",
        name,
        files,
        (
            (f"python -m pip install --no-deps -e {{at}}{name}", "make it known to Arena"),
            (f"python -m pytest {{at}}{name}", "its own tests"),
            (f"arena run -t {name}/tiny-v1 -a {agent} -a random", "play, and see the board"),
            (f"arena task freeze '{name}/*'", "once it is as you want it: fix its references and digest"),
        ),
    )


def _module(name: str, what: str) -> str:
    """The Python module of a name. Raises ArenaError `new.name` for a name that is none, or whose module would hide another one."""
    module = name.replace("-", "_").replace(".", "_")
    if not registry.NAME.fullmatch(name) or not module[0].isalpha() or not module[-1].isalnum():
        hint = "use up to 64 of a-z 0-9 _ . - that begin with a letter and end with a letter or digit"
        raise ArenaError("new.name", f"{name!r} is no name for {what}", hint)
    if keyword.iskeyword(module):
        raise ArenaError("new.name", f"{name!r} is a word of Python itself", "take another name")
    if importlib.util.find_spec(module) is not None:
        raise ArenaError("new.name", f"{name!r} would hide the Python module {module!r} that is installed", "take another name")
    return module


def _filled(template: str, words: dict[str, str]) -> str:
    return Template((HERE / template).read_text(encoding="utf-8")).substitute(words)


def _mode(role: Role) -> Mode:
    """The way of playing a skeleton chooses: the first one in which the space (and the mask) says all that is allowed."""
    return next((mode for mode in role.modes if mode.legal is None), role.modes[0])


def _check_one_observation(task: Task, roles: list[Role]) -> None:
    for role in roles:
        if role.seats != 1:
            reason = f"{task.id} has several seats of {role.name}"
        elif _mode(role).legal is not None:
            reason = f"in {task.id} the rules of mode {role.modes[0].name!r} ask for more than its action space says"
        else:
            continue
        raise ArenaError("new.batched", f"{reason}: code for one observation at a time cannot play it", "arena new agent ... --batched")


# ---- what an agent sees, in words ------------------------------------------------------------------------------------


def _view(roles: list[Role], batched: bool) -> str:
    """The observation entries and the action space of every mode, line by line."""
    lines = []
    for role in roles:
        lead = [] if not batched else ["B"] if role.seats == 1 else ["B", "S"]
        for number, mode in enumerate(role.modes):
            seen = mode.observation_space.spaces
            words = [f"role {role.name}", f"mode {mode.name}"]
            words += ["the kernel's own"] if number == 0 else []
            words += [f"an action is held for {mode.steps} steps"] if mode.steps > 1 else []
            lines += ["", ", ".join(words)]
            alone = len(seen) == 1 and not batched  # one-observation code gets the bare array
            rows = [("obs" if alone else f'obs["{name}"]', _space(space, lead)) for name, space in seen.items()]
            rows.append(("action", _space(mode.action_space, lead)))
            width = max(len(name) for name, _ in rows)
            lines += [f"    {name:{width}}  {told}" for name, told in rows]
            lines += ["    and what the rules of the mode ask for beyond that"] if mode.legal is not None else []
    return "\n".join(lines[1:])


def _space(space: spaces.Space[Any], lead: list[str]) -> str:
    """dtype, shape and limits of a space: `int64 [B], 0 .. 300`."""
    axes = [*lead, *map(str, space.shape or ())]
    shape = f" [{', '.join(axes)}]" if axes else ""
    if isinstance(space, spaces.Discrete):
        return f"{space.dtype}{shape}, {space.start} .. {space.start + space.n - 1}"
    if isinstance(space, spaces.MultiBinary):
        return f"{space.dtype}{shape}, 0 or 1"
    if isinstance(space, spaces.MultiDiscrete):
        low, high = space.start, space.start + space.nvec - 1
    else:
        assert isinstance(space, spaces.Box), f"no words for {space}"
        low, high = space.low, space.high
    return f"{space.dtype}{shape}, {_limit(low)} .. {_limit(high)}"


def _limit(bound: Any) -> str:
    least, most = float(np.min(bound)), float(np.max(bound))
    return f"{least:.10g}" if least == most else f"({least:.10g} to {most:.10g}, by component)"
