"""What `arena run` will do: the pairs of task and agent, how long they take, whether the disk holds what they leave."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from arena.cli.choosing import chosen_agents, chosen_tasks
from arena.cli.output import size
from arena.errors import ArenaError

if TYPE_CHECKING:
    from arena.registry import Candidate
    from arena.store import Store
    from arena.task import Task

RESERVE = 50_000_000  # bytes that stay free: the database's log, temporary files


@dataclass(frozen=True)
class Item:
    """One run to be: `reference` is the task as it was asked for, with its parameters."""

    task: Task
    reference: str
    candidate: Candidate
    seed: int
    optional: bool  # caught by a pattern: whatever is wrong with it is a notice


def plan(tasks: Sequence[str], agents: Sequence[str], seeds: Sequence[int], skip: Callable[[str], None]) -> list[Item]:
    """All runs of the agents on the tasks. What a pattern caught and cannot be played is told to `skip`; what was named raises."""
    from arena import registry
    from arena.evaluation import check_plays

    candidates = chosen_agents(agents)
    items: list[Item] = []
    skipped: list[str] = []
    played: set[str] = set()
    tried = 0
    for choice in chosen_tasks(tasks):
        try:
            task = registry.task(choice.reference)
        except ArenaError as error:
            if choice.named:
                raise
            skipped.append(f"skipped {choice.reference}: {error.message}")
            continue
        tried += 1
        idle = []
        for candidate, named in candidates:
            if candidate.plays(task.id):
                played.add(candidate.name)
                items += [Item(task, choice.reference, candidate, seed, not (named and choice.named)) for seed in seeds]
            elif named and choice.named:
                check_plays(candidate, task)
            else:
                idle.append(candidate.name)
        if idle:
            skipped.append(f"skipped on {task.id}: {', '.join(idle)} (they do not play it)")
    for line in skipped:
        skip(line)
    unused = [candidate.name for candidate, named in candidates if named and candidate.name not in played]
    if tried and unused:
        hint = "arena list agents --task TASK shows who plays a task"
        raise ArenaError("agent.incompatible", f"{', '.join(unused)} plays none of the tasks asked for", hint, skipped=skipped)
    if not items:
        hint = skipped[0] if skipped else "name other tasks or agents"
        raise ArenaError("run.nothing", "none of the tasks asked for can be run", hint, skipped=skipped)
    return items


# ---- disk ----------------------------------------------------------------------------------------------------------


def disk_needed(task: Task) -> int:
    """Bytes a run leaves at most: actions before compression, one float64 per metric and scenario."""
    import numpy as np

    moves = 0
    for role in task.domain.roles:
        space = role.modes[0].action_space
        width = int(np.prod(space.shape or (), dtype=int)) * max(1, role.seats)
        item = np.min_scalar_type(-max(1, int(space.n))).itemsize if hasattr(space, "n") and not space.shape else np.dtype(space.dtype).itemsize
        moves += width * item
    return task.n * (task.domain.horizon * moves + 8 * (len(task.domain.metrics_spec) + 4))


def check_disk(needed: int, home: Path) -> None:
    """Raises ArenaError `store.full` before anything is played."""
    place = home.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed + RESERVE:
        raise ArenaError(
            "store.full",
            f"the runs need up to {size(needed + RESERVE)} below {home}, which has {size(free)} free",
            "free some space, or name another folder: ARENA_HOME",
            needs=needed + RESERVE,
            has=free,
        )


# ---- time ----------------------------------------------------------------------------------------------------------


def forecast(store: Store | None, item: Item) -> dict[str, Any]:
    """A run as planned: its state in the store, and the seconds it will take, going by runs of this agent (`estimate` "agent"), else of
    others on the same task ("task"); None where there is neither. `cost`: see there."""
    task, candidate = item.task, item.candidate
    planned: dict[str, Any] = {
        "task": task.id, "agent": candidate.name, "seed": item.seed, "scenarios": task.n, "chunks": len(task.chunks()), "chunks_done": 0,
        "run": None, "status": "new", "seconds": None, "estimate": None, "bytes": disk_needed(task),
        "cost": cost(task, candidate, item.optional),
    }  # fmt: skip
    if store is None:
        return planned
    task_id = next((row["id"] for row in store.tasks(task.domain.name) if (row["name"], row["digest"]) == (task.id, task.digest)), None)
    if task_id is None:
        return planned
    seconds = []
    for version in (row for row in store.agents(retired=True) if row["name"] == candidate.name):
        for run in store.runs(task_id=task_id, agent_id=version["id"]):
            seconds += _whole(store, run)
            if version["artifact_digest"] == candidate.digest and run["seed"] == item.seed:
                planned |= {"run": run["id"], "status": run["status"], "chunks": run["n_chunks"], "chunks_done": run["n_done"]}
    others = [] if seconds else [s for run in store.runs(task_id=task_id, limit=20) for s in _whole(store, run)]
    if seconds or others:
        left = 1 - planned["chunks_done"] / planned["chunks"]
        planned |= {"seconds": median(seconds or others) * left, "estimate": "agent" if seconds else "task"}
    return planned


def _whole(store: Store, run: Mapping[str, Any]) -> list[float]:
    """The seconds a run takes from its first chunk to its last, by the chunks that are there."""
    return [store.run(run["id"])["seconds"] * run["n_chunks"] / run["n_done"]] if run["n_done"] else []


# ---- money ---------------------------------------------------------------------------------------------------------


def cost(task: Task, candidate: Candidate, optional: bool, times: Mapping[str, int] | None = None) -> str | None:
    """What the agent says playing the task takes beside time (calls, tokens, money), in a line, where it has `estimate(task, times)`; else
    None. times: role -> how often it plays it; None: one run.

    Only models that are asked for money are made to be asked this. Raises ArenaError where such an agent was named (not `optional`) and
    cannot be made.
    """
    if candidate.nature != "llm" or candidate.level != "inline":
        return None
    try:
        agent: Any = candidate.make()
        told: str | None = agent.estimate(task, times) if hasattr(agent, "estimate") else None
    except ArenaError:
        if optional:
            return None
        raise
    return told


def needed_for(items: Sequence[Item]) -> int:
    return sum(disk_needed(item.task) for item in items)
