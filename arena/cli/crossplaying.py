"""`arena crossplay`: every agent against every other and itself, unranked; the payoff matrix and what follows from it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arena import settings
from arena.cli.opening import Data, Device, device, store, store_or_none
from arena.cli.output import AsCsv, AsJson, Quiet, deliver, notice
from arena.cli.payoffs import print_payoffs, rate_pool, read_payoffs
from arena.cli.registering import EngineName, Workers, chosen_engine
from arena.cli.running import Job, exit_code, interrupted, play, played_line, tell_failures, tell_queued
from arena.errors import ArenaError

if TYPE_CHECKING:
    from arena.cli.planning import Item
    from arena.registry import Candidate
    from arena.store import Store
    from arena.task import Task


def crossplay(
    reference: Annotated[str, typer.Option("--task", "-t", help="Task of two roles; -vN may be left out.", show_default=False)],
    agents: Annotated[
        list[str] | None,
        typer.Option("--agent", "-a", help="Agent, glob or file.py:Class; may be repeated. None: all that have met.", show_default=False),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the agents' own luck.  [default: 0]", min=0, show_default=False)] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Matches with seeds 0 .. N-1.", min=1, metavar="N", show_default=False)] = None,
    chunk: Annotated[int | None, typer.Option("--chunk", help="Scenarios per chunk; results do not depend on it.", min=1, show_default=False)] = None,
    engine: EngineName = None,
    workers: Workers = None,
    queue: Annotated[bool, typer.Option("--queue", help="Leave the matches to `arena worker`.")] = False,
    on: Device = None,
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be played and how long it takes; play nothing.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    quiet: Quiet = False,
) -> int:
    """Agents against each other: payoff matrix and ratings.

    All ordered pairs, self-play included; what was played before is not played again. No match counts on a board. Ratings (where the task says
    who wins a match) and means depend on the agents named.
    """
    settings.override(data=data)
    if seed is not None and seeds is not None:
        raise typer.BadParameter("--seed and --seeds exclude each other")
    if (queue or dry_run) and not agents:
        raise typer.BadParameter(f"{'--dry-run' if dry_run else '--queue'} wants agents: -a AGENT -a AGENT")
    quiet = quiet or as_json
    from arena import registry
    from arena.cli.planning import Item, check_disk, forecast_matches, needed_for, print_plan
    from arena.evaluation import check_pair, register_task

    task = registry.task(reference)
    roles = check_pair(task)
    pool = _pool(task, agents or [], quiet)
    chosen = range(seeds) if seeds else [seed or 0]
    items = [Item(task, reference, row, number, False, column) for number in chosen for row in pool for column in pool]
    if dry_run:
        planned = forecast_matches(store_or_none(), items, roles, chunk)
        left = [item for item, match in zip(items, planned, strict=True) if match["status"] != "complete"]
        print_plan(planned, _costs(task, roles, left), as_json, as_csv)
        return 0
    place = device(on)
    check_disk(needed_for(items), settings.home())
    with store(read_only=False) as opened:
        task_id = register_task(opened, task)
        jobs = _asked(opened, items, chunk)
        for told in _costs(task, roles, [item for item, job in zip(items, jobs, strict=True) if job.run.status != "complete"]):
            notice(told, quiet)
        if queue:
            tell_queued(jobs, as_json, as_csv)
            return 0
        seat = chosen_engine(engine, workers)
        try:
            stopped = play(opened, [job for job in jobs if job.run.status != "complete"], place, seat, quiet)
        finally:
            seat.close()
        if stopped is not None:
            return interrupted(opened, stopped, jobs, as_json)
        return _tell(opened, task_id, jobs, quiet, as_json, as_csv)


def _pool(task: Task, agents: Sequence[str], quiet: bool) -> list[Candidate]:
    """The agents named; of those that a pattern caught the ones that play the task. Raises ArenaError `agent.incompatible`."""
    from arena.cli.choosing import chosen_agents
    from arena.evaluation import check_plays

    found: list[Candidate] = []
    idle: list[Candidate] = []
    for candidate, named in chosen_agents(agents) if agents else ():
        if named:
            check_plays(candidate, task)
        (found if candidate.plays(task.id) else idle).append(candidate)
    if idle:
        notice(f"skipped on {task.id}: {', '.join(candidate.name for candidate in idle)} (they do not play it)", quiet)
    if agents and not found:
        raise ArenaError("agent.incompatible", f"none of the agents named plays {task.id}", f"arena list agents --task {task.id} shows who does")
    return found


def _asked(store: Store, items: Sequence[Item], chunk: int | None) -> list[Job]:
    from arena.evaluation import request

    with redirect_stdout(sys.stderr):  # results alone go to stdout, whatever an agent prints
        rows = [request(store, item.task, item.candidate, item.seed, chunk, item.reference, item.opponent) for item in items]
    return [Job(row, item.task, item.candidate, opponent=item.opponent) for row, item in zip(rows, items, strict=True)]


def _costs(task: Task, roles: tuple[str, str], left: Sequence[Item]) -> list[str]:
    """What models are asked at most in the matches that are yet to be played, a line for each of them."""
    from arena.cli.planning import cost

    lines = []
    both = [(match, zip(roles, (item.candidate, item.opponent), strict=True)) for match, item in enumerate(left)]
    seats = [(seat, role, match) for match, seated in both for role, seat in seated if seat is not None]
    for candidate in {seat.name: seat for seat, _, _ in seats}.values():
        mine = [(role, match) for seat, role, match in seats if seat.name == candidate.name]
        told = cost(task, candidate, optional=False, times=Counter(role for role, _ in mine))
        if told is not None:
            matches = len({match for _, match in mine})
            lines.append(f"{candidate.name} on {task.id}, {matches} {'match' if matches == 1 else 'matches'}: {told}")
    return lines


def _tell(store: Store, task_id: int, jobs: Sequence[Job], quiet: bool, as_json: bool, as_csv: bool) -> int:
    """The matrix of the agents that were named, or of all that have met; how their matches went."""
    agent_ids = {entry.agent_id for job in jobs for entry in store.entries(job.run.id) if entry.candidate} or None
    reason = rate_pool(store, task_id, agent_ids)
    found = read_payoffs(store, task_id, agent_ids)
    found["unrated"] = reason
    if not found["agents"]:
        hint = f"arena crossplay -t {found['task']} -a AGENT -a AGENT"
        raise ArenaError("unknown.crossplay", f"no agents have met on {found['task']} yet", hint)
    runs = [played_line(store, job) | {"agent": job.candidate.name, "opponent": job.opponent and job.opponent.name} for job in jobs]
    document: dict[str, Any] = {"runs": runs, **found}

    def text() -> None:
        print_payoffs(found)
        tell_failures(store, jobs, quiet)

    deliver("arena.crossplay/1", document, as_json, text, as_csv, found["pairs"])
    return exit_code(jobs, runs)
