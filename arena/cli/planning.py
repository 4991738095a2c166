"""What `arena run` and `arena crossplay` will do: which runs, how long they take, what they cost, whether the disk holds what they leave."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from arena.cli.choosing import chosen_agents, chosen_tasks
from arena.cli.output import Column, deliver, duration, literal, size, table
from arena.errors import ArenaError

if TYPE_CHECKING:
    from arena.registry import Candidate
    from arena.store import Store
    from arena.task import Task

RECENT = 20  # runs on a task that say how long one takes
RESERVE = 50_000_000  # bytes that stay free: the database's log, temporary files


@dataclass(frozen=True)
class Item:
    """One run to be: `reference` is the task as it was asked for, with its parameters."""

    task: Task
    reference: str
    candidate: Candidate
    seed: int
    optional: bool  # caught by a pattern: whatever is wrong with it is a notice
    opponent: Candidate | None = None  # of a match


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


def forecast(store: Store | None, item: Item, chunk: int | None = None) -> dict[str, Any]:
    """A run as planned: its state in the store, and the seconds it will take, going by runs of this agent (`estimate` "agent"), else of
    others on the same task ("task"); None where there is neither. `cost`: see there. chunk: scenarios per chunk of a new run, None: the task's."""
    planned = _new(item, chunk) | {"cost": cost(item.task, item.candidate, item.optional)}
    task_id = _stored(store, item.task)
    if store is None or task_id is None:
        return planned
    seconds = []
    for version in (row for row in store.agents(retired=True) if row["name"] == item.candidate.name):
        for run in store.runs(task_id=task_id, agent_id=version["id"]):
            if "opponent" in run["config"]:
                continue  # a match
            seconds += _whole(store, run["id"])
            if version["artifact_digest"] == item.candidate.digest and run["seed"] == item.seed:
                planned |= _state(run)
    others = [] if seconds else [s for run in store.runs(task_id=task_id, limit=RECENT) for s in _whole(store, run["id"])]
    return planned | _time(planned, seconds, others)


def forecast_matches(store: Store | None, items: Sequence[Item], roles: Sequence[str], chunk: int | None = None) -> list[dict[str, Any]]:
    """Matches of one task as planned, likewise; "agent" goes by matches of this pair. What they cost depends on all of them: not here."""
    planned = [_new(item, chunk) | {"opponent": item.opponent and item.opponent.name} for item in items]
    task_id = _stored(store, items[0].task)
    if store is None or task_id is None:
        return planned
    ids = {(row["name"], row["artifact_digest"]): row["id"] for row in store.agents(retired=True)}
    every = store.matches(task_id, roles)
    met: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for match in every:
        met.setdefault((match["row_id"], match["column_id"]), []).append(match)
    others = [s for match in every[-RECENT:] for s in _whole(store, match["run_id"])]
    for number, item in enumerate(items):
        pair = [ids.get((agent.name, agent.digest), -1) for agent in (item.candidate, item.opponent) if agent is not None]
        here = met.get((pair[0], pair[1]), [])
        for match in here:
            if match["seed"] == item.seed:
                planned[number] |= _state(store.run(match["run_id"]))
        left = planned[number]["chunks_done"] < planned[number]["chunks"]
        planned[number] |= _time(planned[number], [s for match in here for s in _whole(store, match["run_id"])] if left else [0.0], others)
    return planned


def _new(item: Item, chunk: int | None) -> dict[str, Any]:
    """A run that nothing is known of."""
    return {
        "task": item.task.id, "agent": item.candidate.name, "seed": item.seed, "scenarios": item.task.n, "chunks": len(item.task.chunks(chunk)),
        "chunks_done": 0, "run": None, "status": "new", "seconds": None, "estimate": None, "bytes": disk_needed(item.task), "cost": None,
    }  # fmt: skip


def _stored(store: Store | None, task: Task) -> int | None:
    """The row of a task, None where it is not stored yet."""
    rows = store.tasks(task.domain.name) if store is not None else []
    return next((row["id"] for row in rows if (row["name"], row["digest"]) == (task.id, task.digest)), None)


def _state(run: Mapping[str, Any]) -> dict[str, Any]:
    return {"run": run["id"], "status": run["status"], "chunks": run["n_chunks"], "chunks_done": run["n_done"]}


def _time(planned: Mapping[str, Any], seconds: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """What is left of the seconds that whole runs took: of the same agents, else of others."""
    if not seconds and not others:
        return {}
    left = 1 - planned["chunks_done"] / planned["chunks"]
    return {"seconds": median(seconds or others) * left, "estimate": "agent" if seconds else "task"}


def _whole(store: Store, run_id: int) -> list[float]:
    """The seconds a run takes from its first chunk to its last, by the chunks that are there."""
    run = store.run(run_id)
    return [run["seconds"] * run["n_chunks"] / run["n_done"]] if run["n_done"] else []


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


# ---- text ----------------------------------------------------------------------------------------------------------


def print_plan(planned: Sequence[dict[str, Any]], costs: Sequence[str], as_json: bool, as_csv: bool) -> None:
    """What a dry run prints. costs: lines, what models are asked at most."""
    known = [p["seconds"] for p in planned if p["seconds"] is not None]
    total = sum(known) if len(known) == len(planned) else None
    needed = sum(p["bytes"] for p in planned)
    noun, nouns = ("match", "matches") if "opponent" in planned[0] else ("run", "runs")

    def text() -> None:
        columns = [
            Column("task"),
            Column("agent", fold=True),
            Column("seed", True),
            Column("scenarios", True),
            Column("chunks", True),
            Column("state"),
        ]
        rows = []
        for p in planned:
            state = "new" if p["run"] is None else f"run {p['run']}, {p['status']}"
            chunks = f"{p['chunks_done']}/{p['chunks']}" if p["chunks_done"] else str(p["chunks"])
            rows.append(
                [
                    p["task"],
                    p["agent"] + (f" against {p['opponent']}" if "opponent" in p else ""),
                    str(p["seed"]),
                    f"{p['scenarios']:,}",
                    chunks,
                    state,
                    ("~" if p["estimate"] == "task" else "") + duration(p["seconds"]),
                ]
            )
        table([*columns, Column("time", True)], rows)
        for told in costs:
            print(literal(told))
        when = f"about {duration(total)}" if total is not None else f"time not known before a first {noun}"
        print(f"{len(planned)} {noun if len(planned) == 1 else nouns}, {when}, up to {size(needed)} on disk")

    document = {"runs": planned, "costs": costs, "seconds": total, "bytes": needed}
    deliver("arena.plan/1", document, as_json, text, as_csv, planned)
