"""Which tasks and agents a command line means: names, globs, a domain's suite, files."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arena.errors import ArenaError, unknown

if TYPE_CHECKING:
    from arena.registry import Candidate


@dataclass(frozen=True)
class Choice:
    """A task or agent by reference; `named` in full rather than caught by a pattern, so that whatever is wrong with it is an error."""

    reference: str
    named: bool


def is_glob(reference: str) -> bool:
    return any(sign in reference.split("(")[0] for sign in "*?[") and ".py" not in reference


def chosen_tasks(references: Sequence[str]) -> list[Choice]:
    """The tasks of `-t`: ids (`-vN` may be left out, parameters may follow), globs, and a domain's name for its suite, each once."""
    from arena import registry

    known, domains = registry.tasks(), registry.domains()
    found: dict[str, Choice] = {}
    for reference in references:
        if is_glob(reference):
            caught = fnmatch.filter(known, reference)
            if not caught:
                raise unknown("task", reference, known, "arena list tasks shows all")
            for name in caught:
                found.setdefault(name, Choice(name, False))
        elif reference in domains:
            suite = [f"{reference}/{name}" for name in domains[reference].suite]
            if not suite:
                raise ArenaError("unknown.suite", f"the domain {reference} has no suite", f"name its tasks: -t '{reference}/*'")
            for name in suite:
                found.setdefault(name, Choice(name, False))
        else:
            found[reference] = Choice(reference, True)
    return list(found.values())


def chosen_agents(references: Sequence[str]) -> list[tuple[Candidate, bool]]:
    """The agents of `-a`: references, globs and files, each once, with whether they were named."""
    from arena import registry

    known = registry.agents()
    found: dict[tuple[str, str], tuple[Candidate, bool]] = {}
    for reference in references:
        glob = is_glob(reference)
        names = fnmatch.filter(known, reference) if glob else [reference]
        if not names:
            raise unknown("agent", reference, known, "arena list agents shows all")
        for name in names:
            candidate = registry.candidate(name)
            key = (candidate.name, candidate.digest)
            if key not in found or not glob:
                found[key] = (candidate, not glob)
    return list(found.values())


def task_id(reference: str) -> str:
    """The full id of a task that may be named without its version, from what is listed; nothing is loaded."""
    from arena import registry

    name, known = registry.parse(reference)[0], registry.tasks()
    if name in known:
        return name
    versions = registry.versions_of(name, known)
    if not versions:
        raise unknown("task", name, known, "arena list tasks shows all")
    return versions[-1]
