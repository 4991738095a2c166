"""`arena run`, `resume`, `status`, `cancel`: making runs, continuing them, looking at them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arena import settings
from arena.cli.board import TOP, print_board, read_board
from arena.cli.opening import Data, Device, device, store, store_or_none, task_of_run
from arena.cli.output import AsCsv, AsJson, Column, Quiet, deliver, notice, print_json, table
from arena.cli.registering import EngineName, Workers, chosen_engine
from arena.errors import EXIT_FAILURES, EXIT_INTERRUPTED, ArenaError

if TYPE_CHECKING:
    from arena.engines import Engine
    from arena.registry import Candidate
    from arena.store import RunRow, Store
    from arena.task import Task


PRINTED = 5  # lines of an agent's output that are shown after its run


@dataclass
class Job:
    """A run with what is needed to play it, and what became of it."""

    run: RunRow
    task: Task
    candidate: Candidate
    error: ArenaError | None = None
    opponent: Candidate | None = None  # of a match

    @property
    def name(self) -> str:
        return self.candidate.name if self.opponent is None else f"{self.candidate.name} against {self.opponent.name}"

    @property
    def title(self) -> str:
        return job_title(self.run, self.task, self.name)


def job_title(run: RunRow, task: Task, agent: str) -> str:
    """A run in one line."""
    chunks = "1 chunk" if run.n_chunks == 1 else f"{run.n_chunks} chunks"
    seed = f"  seed {run.seed}" if run.seed else ""
    return f"run {run.id} ({run.uid[:6]}) {task.id}  {agent}{seed}  {task.n:,} scenarios, {chunks}"


def run(
    tasks: Annotated[
        list[str],
        typer.Option("--task", "-t", help="Task, glob, domain or suite (quick, standard, all); may be repeated.", show_default=False),
    ],
    agents: Annotated[list[str], typer.Option("--agent", "-a", help="Agent, glob or file.py:Class; may be repeated.", show_default=False)],
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the agents' own luck.  [default: 0]", min=0, show_default=False)] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Run seeds 0 .. N-1.", min=1, metavar="N", show_default=False)] = None,
    chunk: Annotated[int | None, typer.Option("--chunk", help="Scenarios per chunk; results do not depend on it.", min=1, show_default=False)] = None,
    engine: EngineName = None,
    workers: Workers = None,
    queue: Annotated[bool, typer.Option("--queue", help="Leave the runs to `arena worker`.")] = False,
    on: Device = None,
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run and how long it takes; play nothing.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    quiet: Quiet = False,
) -> int:
    """Run agents on tasks and print the board.

    A run that was begun is continued, one that is complete is not played again. Ctrl-C leaves a run that `arena resume` finishes.
    """
    from arena.cli.planning import check_disk, cost, forecast, needed_for, plan, print_plan

    settings.override(data=data)
    if seed is not None and seeds is not None:
        raise typer.BadParameter("--seed and --seeds exclude each other")
    quiet = quiet or as_json
    items = plan(tasks, agents, range(seeds) if seeds else [seed or 0], lambda text: notice(text, quiet))
    needed = needed_for(items)
    if dry_run:
        opened = store_or_none()
        planned = [forecast(opened, item, chunk) for item in items]
        print_plan(planned, _lines((p["task"], p["agent"], p["cost"]) for p in planned), as_json, as_csv)
        return 0
    place = device(on)
    check_disk(needed, settings.home())
    costs = _lines((item.task.id, item.candidate.name, cost(item.task, item.candidate, item.optional)) for item in items)
    for told in costs:
        notice(told, quiet)
    from arena.evaluation import request

    with store(read_only=False) as opened:
        jobs, refused = [], []
        for item in items:
            try:
                with redirect_stdout(sys.stderr):  # results alone go to stdout, whatever an agent prints
                    row = request(opened, item.task, item.candidate, item.seed, chunk, item.reference)
                jobs.append(Job(row, item.task, item.candidate))
            except ArenaError as error:
                if item.optional:
                    notice(f"skipped {item.candidate.name} on {item.task.id}: {error.message}", quiet)
                elif len(items) > 1 and error.code.startswith("history."):  # this agent cannot do with what is known; others can
                    refused.append(error)
                    notice(f"error: {item.candidate.name} refuses {item.task.id}: {error}")
                else:
                    raise
        if refused and not jobs:
            raise refused[0]
        if queue:
            tell_queued(jobs, as_json, as_csv)
            return refused[0].exit_code if refused else 0
        code = _finish(opened, jobs, place, chosen_engine(engine, workers), quiet, as_json, as_csv)
        return refused[0].exit_code if refused and code in (0, EXIT_FAILURES) else code


def _lines(costs: Iterable[tuple[str, str, str | None]]) -> list[str]:
    """(task, agent, what it costs) as lines, each once."""
    return list(dict.fromkeys(f"{agent} on {task}: {told}" for task, agent, told in costs if told is not None))


def resume(
    run_ids: Annotated[list[int] | None, typer.Argument(metavar="[RUN]...", help="Runs; none: all that wait or stall.", show_default=False)] = None,
    stalled: Annotated[bool, typer.Option("--stalled", help="Only runs whose worker died.")] = False,
    engine: EngineName = None,
    workers: Workers = None,
    on: Device = None,
    data: Data = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    quiet: Quiet = False,
) -> int:
    """Continue runs that were interrupted, failed or cancelled. Nothing is played twice."""
    from arena.evaluation import stored_candidate, stored_opponent

    settings.override(data=data)
    quiet = quiet or as_json
    place = device(on)
    with store(read_only=False) as opened:
        waiting = opened.stalled() if stalled else _waiting(opened)
        rows = [opened.run_row(number) for number in run_ids] if run_ids else waiting
        if run_ids and stalled:
            rows = [row for row in rows if row.id in {run.id for run in waiting}]
        if not rows:
            notice("nothing to resume", quiet)
        jobs = [Job(row, task_of_run(opened, row), stored_candidate(opened, row.id), opponent=stored_opponent(opened, row)) for row in rows]
        return _finish(opened, jobs, place, chosen_engine(engine, workers), quiet, as_json, as_csv)


def _waiting(store: Store) -> list[RunRow]:
    """Queued and stalled runs, oldest first."""
    queued = [store.run_row(row["id"]) for row in store.runs(status="queued", limit=10_000)]
    return sorted([*queued, *store.stalled()], key=lambda row: row.id)


def tell_queued(jobs: Sequence[Job], as_json: bool, as_csv: bool) -> None:
    rows = [
        {"run": job.run.id, "task": job.task.id, "agent": job.name, "seed": job.run.seed, "status": job.run.status} for job in jobs
    ]

    def text() -> None:
        table(
            [Column("run", True), Column("status"), Column("task"), Column("agent", fold=True), Column("seed", True)],
            [(str(r["run"]), str(r["status"]), str(r["task"]), str(r["agent"]), str(r["seed"])) for r in rows],
        )
        print("they are played by: arena worker")

    deliver("arena.queued/1", {"runs": rows}, as_json, text, as_csv, rows)


def _finish(store: Store, jobs: list[Job], place: str, engine: Engine, quiet: bool, as_json: bool, as_csv: bool) -> int:
    """Play the jobs, print the boards of their tasks, and say how it went."""
    try:
        stopped = play(store, jobs, place, engine, quiet)
    finally:
        engine.close()
    if stopped is not None:
        return interrupted(store, stopped, jobs, as_json)
    boards = [read_board(store, number) for number in dict.fromkeys(job.run.task_id for job in jobs if job.opponent is None)]
    played = {next(e for e in store.entries(job.run.id) if e.candidate).agent_id for job in jobs if job.opponent is None}
    runs = [played_line(store, job) for job in jobs]

    def text() -> None:
        for number, board in enumerate(boards):
            if number:
                print()
            print_board(board, TOP, played)
        for task in dict.fromkeys(job.task.id for job in jobs if job.opponent is not None):
            print(f"the payoff matrix: arena crossplay -t {task}")
        tell_failures(store, jobs, quiet)

    rows = [{"task": board["task"], **line} for board in boards for line in board["lines"]]
    deliver("arena.played/1", {"runs": runs, "boards": boards}, as_json, text, as_csv, rows)
    return exit_code(jobs, runs)


def played_line(store: Store, job: Job) -> dict[str, Any]:
    """What became of a run. Failures are those of the judged agent, which its first entry has all of; in a match those of both agents."""
    failures: dict[int, int] = {}
    for entry in store.entries(job.run.id):
        if entry.candidate:
            failures.setdefault(entry.agent_id, entry.failures)
    return {
        "run": job.run.id, "uid": job.run.uid, "task": job.task.id, "agent": job.name, "seed": job.run.seed, "status": job.run.status,
        "scenarios": job.task.n, "failures": sum(failures.values()),
        "error": None if job.error is None else {"code": job.error.code, "message": job.error.message, "hint": job.error.hint},
    }  # fmt: skip


def exit_code(jobs: Sequence[Job], runs: Sequence[dict[str, Any]]) -> int:
    """That of the first error, else whether an agent failed."""
    errors = [job.error for job in jobs if job.error is not None]
    return errors[0].exit_code if errors else EXIT_FAILURES if any(run["failures"] for run in runs) else 0


def play(store: Store, jobs: Sequence[Job], place: str, engine: Engine, quiet: bool) -> Job | None:
    """Play the jobs one after the other; the one that was interrupted. An error of one of several jobs is told and kept with it."""
    from arena.cli.progress import Watcher
    from arena.evaluation import execute

    with terminable(), redirect_stdout(sys.stderr), Watcher(quiet, [job.run.id for job in jobs], sum(job.task.n for job in jobs)) as watcher:
        for job in jobs:
            watcher.begin(job.title, job.name, job.task.n)
            try:
                job.run = execute(store, job.run, job.task, job.candidate, watcher.report, place, engine, "", job.opponent)
            except KeyboardInterrupt:
                return job
            except Exception as error:
                if len(jobs) == 1:
                    raise
                job.error = error if isinstance(error, ArenaError) else ArenaError("internal", f"{type(error).__name__}: {error}")
                job.run = store.run_row(job.run.id)
                notice(f"error: {job.error}")
                continue
            watcher.end(job.run.status)
    return None


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM as Ctrl-C: the run is given back at once, not when its lease ends."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def interrupted(store: Store, job: Job, jobs: Sequence[Job], as_json: bool) -> int:
    row = store.run_row(job.run.id)
    rest = [other.run.id for other in jobs[jobs.index(job) :]]
    command = f"arena resume {' '.join(map(str, rest))}"
    message = f"interrupted: run {row.id} has {row.n_done} of {row.n_chunks} chunks"
    if as_json:
        print_json("arena.error/1", {"code": "interrupted", "message": message, "hint": command, "context": {"runs": rest}})
    else:
        notice(f"{message}, which are kept")
        notice(f"  continue with: {command}")
    return EXIT_INTERRUPTED


def tell_failures(store: Store, jobs: Sequence[Job], quiet: bool) -> None:
    for job in jobs:
        lost = store.failures(job.run.id, limit=3)
        if lost:
            first = lost[0]
            story, who = str(first["detail"]).split("\n")[0], _who(job, first["role"])
            notice(
                f"run {job.run.id}: {who} failed scenario {first['scenario']} at step {first['step']} ({first['code']}): {story}",
                quiet,
            )
            notice(f"  all of them: arena status {job.run.id}", quiet)
        for event in store.events(job.run.id):
            printed = str((event["data"] or {}).get("output", "")).strip().splitlines()
            if printed and event["code"] == "agent.output":
                who = _who(job, event["data"]["role"])
                notice(f"run {job.run.id}: {who} printed {len(printed)} lines (arena show run {job.run.id}), the last ones:", quiet)
                notice("\n".join(f"  {line}" for line in printed[-PRINTED:]), quiet)


def _who(job: Job, role: str) -> str:
    return job.candidate.name if job.opponent is None or role == job.task.role else job.opponent.name


def cancel(run_ids: Annotated[list[int], typer.Argument(metavar="RUN...", show_default=False)], as_json: AsJson = False) -> None:
    """Take runs off the queue or from their worker.

    The worker stops within seconds. What was played stays; `arena resume` takes it up again.
    """
    with store(read_only=False) as opened:
        found = []
        for number in run_ids:
            before = opened.run_row(number).status
            found.append({"run": number, "cancelled": opened.cancel(number), "before": before, "status": opened.run_row(number).status})

    def text() -> None:
        for row in found:
            what = f"cancelled (was {row['before']})" if row["cancelled"] else f"is {row['before']}, there is nothing to cancel"
            print(f"run {row['run']} {what}")

    deliver("arena.cancelled/1", {"runs": found}, as_json, text)
