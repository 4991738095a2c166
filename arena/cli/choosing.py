"""Which tasks and agents a command line means: names, globs, a domain's suite, files."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arena.cli.output import notice
from arena.errors import ArenaError, unknown

if TYPE_CHECKING:
    from arena.registry import Candidate


@dataclass(frozen=True)
class Choice:
    """A task or agent by reference; `named` in full rather than caught by a pattern, so that whatever is wrong with it is an error."""

    reference: str
    named: bool


SUITES = {
    "quick": "every domain's tiny tasks, seconds each",
    "standard": "the tasks whose mean is their domain's score",
    "all": "every task that can be loaded",
}


def suite(name: str) -> list[str]:
    """The tasks of one of `SUITES`."""
    from arena import registry

    if name == "standard":
        return [f"{domain.name}/{task}" for domain in registry.domains().values() for task in domain.suite]
    return [task for task, spec in registry.tasks().items() if name == "all" or spec.tier == "tiny"]


def is_glob(reference: str) -> bool:
    return any(sign in reference.split("(")[0] for sign in "*?[") and ".py" not in reference


def chosen_tasks(references: Sequence[str]) -> list[Choice]:
    """The tasks of `-t`: ids (`-vN` may be left out, parameters may follow), globs, a domain's name for its suite, a suite over all domains,
    each once."""
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
        elif reference in SUITES:
            for name in suite(reference):
                found.setdefault(name, Choice(name, False))
        elif reference in domains:
            own = [f"{reference}/{name}" for name in domains[reference].suite]
            if not own:
                raise ArenaError("unknown.suite", f"the domain {reference} has no suite", f"name its tasks: -t '{reference}/*'")
            for name in own:
                found.setdefault(name, Choice(name, False))
        else:
            found[reference] = Choice(reference, True)
    return list(found.values())


def chosen_agents(references: Sequence[str]) -> list[tuple[Candidate, bool]]:
    """The agents of `-a`: references, globs and files, each once, with whether they were named."""
    from arena import registry

    known = list(registry.agents())
    if any(is_glob(reference) for reference in references):
        known += registered_names()
    found: dict[tuple[str, str], tuple[Candidate, bool]] = {}
    for reference in references:
        glob = is_glob(reference)
        names = fnmatch.filter(known, reference) if glob else [reference]
        if not names:
            raise unknown("agent", reference, known, "arena list agents shows all")
        for name in names:
            try:
                candidate = registry.candidate(name)
            except ArenaError as error:
                if not glob or error.code not in ("agent.artifact", "agent.changed"):
                    raise
                notice(f"skipped {name}: {error.message}")
                continue
            key = (candidate.name, candidate.digest)
            if key not in found or not glob:
                found[key] = (candidate, not glob)
    return list(found.values())


def registered_names() -> list[str]:
    """Registered agents that are not retired."""
    from arena.cli.opening import store_or_none
    from arena.registration import registered_rows

    opened = store_or_none()
    if opened is None:
        return []
    with opened:
        return list(dict.fromkeys(row["name"] for row in registered_rows(opened)))


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
