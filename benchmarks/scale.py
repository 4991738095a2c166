"""The store and the workers at scale: 10^5 runs of 500 agents on 40 tasks, with nothing to compute in between.

    OMP_NUM_THREADS=1 python -m benchmarks.scale --runs 1e5 [--workers 2] [--chaos] [--store postgresql | URL] [--home FOLDER] [--json]

Everything but the kernel is real: agents are registered, runs requested, leased by `arena.worker.Worker`, played by an engine that makes its
results up, committed chunk by chunk, finished with standings, draws and suites. What a scenario scores is a pure function of task, agent,
seed and scenario, so every board line is derived a second time and compared. With `--chaos` workers are killed (SIGKILL) all the while and
started again, and leases last seconds. Each check is a line of the report; the exit code is 1 where one fails.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from arena import evaluation, leases, registry
from arena.agent import Agent
from arena.domain import Domain, Metric, Mode, Record, Role
from arena.engines import Chunk, Played, Work
from arena.engines.inline import Done
from arena.rollout import Episode, Failure, Timing
from arena.scoring import standing as standing_of_scores
from arena.scoring import suite_standing
from arena.store import Store, open_store, schema
from arena.task import Task
from arena.worker import Worker
from benchmarks.store import database, size, writers

SCENARIOS, CHUNK, METRICS = 40, 20, 2  # of every task; scenarios of a chunk; stored values of a scenario (value and score)
CHUNKS = -(-SCENARIOS // CHUNK)  # of a run
PER_DOMAIN = 5  # tasks
FAILING = 0.002  # share of scenarios that fail
LEASE, RENEW, KILL_EVERY = 2.0, 0.4, 1.0  # seconds, with --chaos
SAMPLE = 50  # board lines whose draws are compared
TIMED = ("request_run", "next_queued", "commit_chunk", "finish")
LIMITS = {"board ms": 100.0, "growth MB": 10.0, "sqlite chunks/s": 500.0, "postgresql chunks/s": 1000.0}
BYTES = {"measurement": 11, "run": 700, "chunk": 160, "line": 9000}  # of a SQLite file, at most


# ---- a world where nothing happens --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Blank(Record):
    """Scenarios that differ in nothing but their number."""

    number: torch.Tensor


class Nothing(Domain):
    """Spaces and a metric; the engine makes the outcomes up."""

    horizon = 1
    metrics_spec = (Metric("value", "", 1, "primary"),)

    def __init__(self, name: str) -> None:
        self.name = name
        seen = spaces.Dict({"x": spaces.Box(0, 1, (), np.float32)})
        self.roles = (Role("player", (Mode("plain", seen, spaces.Box(0, 1, (), np.float32)),)),)


class Nobody(Agent):
    """Agent number k, who is never asked."""

    def __init__(self, k: int = 0) -> None:
        self.k = k

    def act(self, obs: Any) -> torch.Tensor:
        raise AssertionError("nobody asks")


def load(name: str) -> Task:
    """Task `tN-v1`."""
    number = int(name[1:].removesuffix("-v1"))
    domain = f"null{number // PER_DOMAIN}"
    return Task(
        f"{domain}/{name}", Nothing(domain), "standard", SCENARIOS, {},
        lambda task: {"ref0": np.zeros(SCENARIOS), "ref1": np.ones(SCENARIOS)},
        draw=lambda split, indices, seeds: Blank(torch.tensor(list(indices))), bounded=False, chunk=CHUNK,
    )  # fmt: skip


def settle_in(tasks: int) -> list[str]:
    """Make the registry know these tasks, domain by domain, and the agents; the ids of the tasks."""
    registry.agent("null", "reference", ("null*",))(Nobody)
    found: dict[str, registry.DomainSpec] = {}
    for first in range(0, tasks, PER_DOMAIN):
        names = tuple(f"t{k}-v1" for k in range(first, min(first + PER_DOMAIN, tasks)))
        listed = tuple(registry.TaskSpec(name, "standard", SCENARIOS, "") for name in names)
        name = f"null{first // PER_DOMAIN}"
        found[name] = registry.DomainSpec(name, "", listed, f"{__name__}:load", suite=names)
    registry.domains = lambda: found
    return list(registry.tasks())


def outcome(task: int, agent: int, seed: int, start: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(value, failed) [n] of scenarios start .. start + n - 1: a hash (splitmix64) of all four numbers, around the agent's skill."""
    with np.errstate(over="ignore"):
        x = np.arange(start, start + n, dtype=np.uint64) + np.uint64(((task * 4096 + agent) * 4096 + seed) * 4096)
        x = x * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    luck, misfortune = (x >> np.uint64(32)) / 2**32, (x & np.uint64(0xFFFFFFFF)) / 2**32
    return (agent * 37 % 101) / 101 + 0.4 * (luck - 0.5), misfortune < FAILING


class Null:
    """The engine that plays nothing."""

    name, capacity = "null", 1

    def submit(self, work: Work, chunk: Chunk, watch: Callable[[int], None]) -> Done:
        number, agent = int(work.task.id.split("/t")[1].removesuffix("-v1")), int(work.candidate.spec["parameters"]["k"])
        value, failed = outcome(number, agent, work.seed, chunk.start, chunk.n)
        failures = [Failure("player", int(row), 0, "agent.illegal", "made up") for row in np.flatnonzero(failed)]
        hist = np.zeros(64, np.int64)
        hist[9] = chunk.n
        return Done(Played(Episode({"value": value}, {}, failures, {"player": Timing(hist, 1000 * chunk.n, chunk.n)}, {}, {}), 0.0))

    def drop(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing was opened."""


# ---- the population -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """Who plays what: run r is agent r mod agents, then the next task, then the next seed. With few agents two workers often finish runs of
    the same one at the same time, with many hardly ever."""

    runs: int
    agents: int
    tasks: int

    def of(self, run: int) -> tuple[int, int, int]:
        """(task, agent, seed)"""
        return run // self.agents % self.tasks, run % self.agents, run // (self.tasks * self.agents)

    def seeds(self, task: int, agent: int) -> int:
        """How many runs an agent has on a task."""
        return len(range(task * self.agents + agent, self.runs, self.tasks * self.agents))

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(task, agent) for task in range(self.tasks) for agent in range(self.agents) if self.seeds(task, agent)]


@dataclass(frozen=True)
class Place:
    url: str | None
    home: Path


FORK = multiprocessing.get_context("fork")  # all is imported; no connection is open when a process is forked


def rss() -> int:
    """Bytes this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(seconds: dict[str, array[float]]) -> None:
    """Note how long the calls in `TIMED` take in this process."""
    for name in TIMED:
        seconds[name] = array("f")
        setattr(Store, name, _timed(getattr(Store, name), seconds[name]))


def _timed(plain: Callable[..., Any], notes: array[float]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        try:
            return plain(*args, **kwargs)
        finally:
            notes.append(time.perf_counter() - begun)

    return call


@contextmanager
def child(place: Place) -> Iterator[tuple[Store, list[int]]]:
    """What every process does around its work: open the store, write down times and memory at the end."""
    seconds: dict[str, array[float]] = {}
    timed(seconds)
    memory: list[int] = []
    with open_store(place.url, place.home) as store:
        yield store, memory
    notes = {"memory": memory, "seconds": {name: list(values) for name, values in seconds.items()}}
    (place.home / f"notes-{os.getpid()}.json").write_text(json.dumps(notes))


def ask(place: Place, plan: Plan, part: int, parts: int) -> None:
    """Request every `parts`-th run."""
    tasks = settle_in(plan.tasks)
    with child(place) as (store, memory):
        for run in range(part, plan.runs, parts):
            task, agent, seed = plan.of(run)
            evaluation.request(store, registry.task(tasks[task]), registry.candidate(f"null(k={agent})"), seed)
            if run // parts % 100 == 0:
                memory.append(rss())


def work(place: Place, plan: Plan, chaos: bool) -> None:
    """A worker that goes on until every run is complete."""
    settle_in(plan.tasks)
    if chaos:
        leases.RENEW = RENEW
        for name in ("acquire", "renew", "next_queued"):
            setattr(Store, name, partialmethod(getattr(Store, name), lease=LEASE))
    with child(place) as (store, memory):
        count = 0

        def tell(_: str) -> None:
            nonlocal count
            count += 1
            if count % 100 == 0:
                memory.append(rss())

        worker = Worker(store, Null(), tell=tell)
        while worker.run(once=True) and (store.runs(status="queued", limit=1) or store.runs(status="running", limit=1)):
            time.sleep(0.1)


def together(tasks: Sequence[tuple[Callable[..., None], tuple[Any, ...]]], chaos: random.Random | None = None) -> tuple[float, int]:
    """Run them in processes of their own; with `chaos`, kill one now and then and start it again. (seconds, how many were killed)"""
    begun, killed = time.perf_counter(), 0
    running = [(FORK.Process(target=function, args=arguments), function, arguments) for function, arguments in tasks]
    for process, *_ in running:
        process.start()
    while any(process.is_alive() for process, *_ in running):
        time.sleep(min(0.1, KILL_EVERY) if chaos is None else chaos.expovariate(1 / KILL_EVERY))
        alive = [slot for slot, (process, *_) in enumerate(running) if process.is_alive()]
        if chaos is not None and alive:
            slot = chaos.choice(alive)
            process, function, arguments = running[slot]
            process.kill()
            process.join()
            if process.exitcode != 0:
                killed += 1
                running[slot] = (FORK.Process(target=function, args=arguments), function, arguments)
                running[slot][0].start()
    for process, *_ in running:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"a process ended with {process.exitcode}")
    return time.perf_counter() - begun, killed


def notes(place: Place) -> list[dict[str, Any]]:
    """What the processes wrote down, and away with it."""
    found = []
    for path in sorted(place.home.glob("notes-*.json")):
        found.append(json.loads(path.read_text()))
        path.unlink()
    return found


# ---- what must hold -----------------------------------------------------------------------------------------------------------


class Report:
    """Checks and figures, in their order."""

    def __init__(self) -> None:
        self.checks: list[tuple[str, bool, str]] = []
        self.figures: dict[str, float] = {}

    def check(self, name: str, ok: bool, detail: str = "") -> None:
        self.checks.append((name, bool(ok), detail))

    def equal(self, name: str, found: object, expected: object) -> None:
        self.check(name, found == expected, f"{found}" if found == expected else f"{found}, expected {expected}")


def derived(plan: Plan, digests: Sequence[str], task: int, agent: int) -> tuple[Any, int]:
    """(standing, failed scenarios) of an agent on a task, from the made-up outcomes alone."""
    outcomes = [outcome(task, agent, seed, 0, SCENARIOS) for seed in range(plan.seeds(task, agent))]
    scores = np.array([np.where(failed, -1.0, np.maximum(value, -1.0)) for value, failed in outcomes])
    return standing_of_scores(scores, task_digest=digests[task]), int(sum(failed.sum() for _, failed in outcomes))


def check_counts(store: Store, plan: Plan, report: Report) -> None:
    failures = sum(int(outcome(*plan.of(run), 0, SCENARIOS)[1].sum()) for run in range(plan.runs))
    report.equal("runs complete", store.overview()["complete"], plan.runs)
    with store.reading() as connection:
        for table, each in ((schema.chunks, CHUNKS), (schema.measurements, CHUNKS * METRICS), (schema.timings, CHUNKS)):
            report.equal(table.name, connection.scalar(select(func.count()).select_from(table)), plan.runs * each)
        report.equal("failures", connection.scalar(select(func.count()).select_from(schema.failures)), failures)
        entries = schema.entries.c
        total = connection.execute(select(func.sum(entries.decisions), func.sum(entries.decision_ns_total), func.sum(entries.failures))).one()
        report.equal("entries: sums", [int(n) for n in total], [plan.runs * SCENARIOS, plan.runs * SCENARIOS * 1000, failures])
    report.equal("store.check()", store.check(), [])


def check_boards(store: Store, plan: Plan, tasks: Sequence[str], report: Report) -> None:
    """Every line against the outcomes it must follow from: numbers of all, draws of a sample, suites of some agents."""
    digests, rng = [registry.task(name).digest for name in tasks], random.Random(0)
    sample = set(rng.sample(plan.pairs, min(SAMPLE, len(plan.pairs))))
    wrong: list[str] = []
    lines = compared = 0
    for task, name in enumerate(tasks):
        board = store.board(name, with_draws=True)
        lines += len(board)
        if {line["agent"] for line in board} != {f"null(k={agent})" for pair, agent in plan.pairs if pair == task}:
            wrong.append(f"{name}: the wrong agents")
        for line in board:
            agent, seeds = int(line["agent"][7:-1]), line["runs"]
            outcomes = [outcome(task, agent, seed, 0, SCENARIOS) for seed in range(plan.seeds(task, agent))]
            scores = np.array([np.where(failed, -1.0, value) for value, failed in outcomes])
            expected = (float(scores.mean()), sum(int(f.sum()) for _, f in outcomes), plan.seeds(task, agent), 0)
            if (line["headline"], line["failed"], seeds, line["runs_unfinished"]) != expected or len(set(line["run_set"])) != seeds:
                wrong.append(f"{name}, {line['agent']}: {line['headline']} of {seeds} runs, expected {expected}")
            if (task, agent) in sample:
                found, _ = derived(plan, digests, task, agent)
                compared += 1
                if line["draws"].tobytes() != found.draws.tobytes() or (line["lo"], line["hi"], line["iqm"]) != (found.lo, found.hi, found.iqm):
                    wrong.append(f"{name}, {line['agent']}: other draws")
    report.check(f"{lines} board lines as derived, {compared} of them with their draws", not wrong and compared == len(sample), "; ".join(wrong[:3]))
    check_suites(store, plan, tasks, digests, rng, report)


def check_suites(store: Store, plan: Plan, tasks: Sequence[str], digests: Sequence[str], rng: random.Random, report: Report) -> None:
    wanted: dict[str, list[str]] = {}
    for name in tasks:
        wanted.setdefault(name.split("/")[0], []).append(name)
    complete = [agent for agent in range(plan.agents) if plan.seeds(len(tasks) - 1, agent)]
    chosen = rng.sample(complete, min(5, len(complete)))
    stored = {name: {line["agent"]: line for line in store.board(name, with_draws=True)} for name in (*wanted, "standard")} if chosen else {}
    wrong = 0
    for agent in chosen:
        found = suite_standing({name: derived(plan, digests, k, agent)[0] for k, name in enumerate(tasks)}, wanted)
        assert found.overall is not None
        for name, line in [*found.domains.items(), *([("standard", found.overall)] if len(wanted) > 1 else [])]:
            kept = stored[name][f"null(k={agent})"]
            wrong += kept["draws"].tobytes() != line.draws.tobytes() or kept["headline"] != line.headline
    report.check(f"suites of {len(chosen)} agents as derived, with their draws", not wrong and bool(chosen))


def measure_reads(store: Store, plan: Plan, tasks: Sequence[str], report: Report) -> None:
    """Median milliseconds of what pages, commands and idle workers ask of the full store."""
    middle, agent = plan.runs // 2, store.agent("null(k=0)").id
    task = store.task(tasks[0]).id
    reads: dict[str, Callable[[], object]] = {
        "board with draws": lambda: store.board(task, with_draws=True),
        "board": lambda: store.board(task),
        "overview: counts": store.overview,
        "overview: leaders": store.leaders,
        "runs, newest 50": store.runs,
        "runs, a late page": lambda: store.runs(before=middle),
        "runs, queued": lambda: store.runs(status="queued"),
        "runs, running": lambda: store.runs(status="running"),
        "runs, complete, a late page": lambda: store.runs(status="complete", before=middle),
        "runs of a task": lambda: store.runs(task_id=task),
        "runs of an agent": lambda: store.runs(agent_id=agent),
        "run": lambda: store.run(middle),
        "agent's lines": lambda: store.standings(agent),
        "isolation levels of a board": lambda: store.levels(task),
        "one scenario, all agents": lambda: store.scenario(task, 7),
        "stalled": store.stalled,
        "next_queued, nothing there": lambda: store.next_queued("nobody"),
        "next_job, nothing there": lambda: store.next_job("nobody"),
    }
    for name, read in reads.items():
        seconds = []
        for _ in range(8):  # the first warms the caches
            begun = time.perf_counter()
            read()
            seconds.append(time.perf_counter() - begun)
        report.figures[f"{name}, ms"] = 1e3 * float(np.median(seconds[1:]))
    slowest = report.figures["board with draws, ms"]
    report.check(f"board with draws under {LIMITS['board ms']:.0f} ms", slowest < LIMITS["board ms"], f"{slowest:.1f} ms")


def check_size(store: Store, plan: Plan, before: int, report: Report) -> None:
    added, measurements = size(store) - before, plan.runs * SCENARIOS * METRICS
    with store.reading() as connection:
        lines = int(connection.scalar(select(func.count()).select_from(schema.standings)) or 0)
    report.figures |= {"MB of the database": added / 1e6, "board lines": float(lines)}
    if store.is_postgres:
        return
    counts = {"measurement": measurements, "run": plan.runs, "chunk": plan.runs * CHUNKS, "line": lines}
    bound = sum(BYTES[what] * number for what, number in counts.items())
    words = f"{added / 1e6:.1f} of {bound / 1e6:.1f} MB: " + " + ".join(f"{size} B/{what}" for what, size in BYTES.items())
    report.check("size of the file", added <= bound, words)


def check_memory(kept: Sequence[dict[str, Any]], what: str, report: Report) -> None:
    """No process grows over the second half of its life; of killed ones nothing is known."""
    series = [note["memory"] for note in kept if len(note["memory"]) >= 4]
    if not series:
        return
    growth = max(memory[-1] - memory[len(memory) // 2] for memory in series) / 1e6
    words = f"{growth:.1f} MB, ends at {max(memory[-1] for memory in series) / 1e6:.0f} MB"
    report.check(f"memory of the {what} over their second half grows < {LIMITS['growth MB']:.0f} MB", growth < LIMITS["growth MB"], words)


def note_seconds(kept: Sequence[dict[str, Any]], report: Report) -> None:
    """Milliseconds of a call, early and late: what grows with the store shows."""
    for name in TIMED:
        series = [np.array(note["seconds"][name]) for note in kept if note["seconds"][name]]
        if series:
            tenths = [(s[: max(1, len(s) // 10)], s[-max(1, len(s) // 10) :]) for s in series]
            for when, part in (("first tenth", 0), ("last tenth", 1)):
                values = 1e3 * np.concatenate([pair[part] for pair in tenths])
                report.figures[f"{name}, {when}, ms p50"] = float(np.median(values))
                report.figures[f"{name}, {when}, ms p99"] = float(np.quantile(values, 0.99))


# ---- the whole ----------------------------------------------------------------------------------------------------------------


def simulate(place: Place, plan: Plan, workers: int, chaos: bool, rates: int) -> Report:
    report = Report()
    tasks = settle_in(plan.tasks)
    for name in tasks:
        assert len(registry.task(name).digest) == 64  # worked out before anything is forked
    with open_store(place.url, place.home) as store:
        before = size(store)
    seconds, _ = together([(ask, (place, plan, part, workers)) for part in range(workers)])
    asked = notes(place)
    report.figures |= {"requests/s": plan.runs / seconds}
    seconds, killed = together([(work, (place, plan, chaos))] * workers, random.Random(1) if chaos else None)
    worked = notes(place)
    report.figures |= {"runs/s": plan.runs / seconds, "chunks/s, all included": plan.runs * CHUNKS / seconds, "seconds of playing": seconds}
    if chaos:
        report.figures["workers killed"] = killed
        report.check("workers were killed", killed > 0, str(killed))
    note_seconds(asked, report)
    note_seconds(worked, report)
    with open_store(place.url, place.home) as store:
        check_size(store, plan, before, report)
        check_counts(store, plan, report)
        check_boards(store, plan, tasks, report)
        measure_reads(store, plan, tasks, report)
    if not chaos:
        check_memory(asked, "requesters", report)
        check_memory(worked, "workers", report)
    if rates:
        check_rates(place, workers, rates, report)
    return report


def check_rates(place: Place, workers: int, chunks: int, report: Report) -> None:
    """Chunk commits through the store, into the full database; of chunks of 100 scenarios and 5 metrics."""
    with open_store(place.url, place.home) as store:
        kind = "postgresql" if store.is_postgres else "sqlite"
        rates = {number: writers(store, place.url, number, chunks) for number in sorted({1, max(2, workers)})}
    report.figures |= {f"chunk commits/s, {number} writers": rate for number, rate in rates.items()}
    limit = LIMITS[f"{kind} chunks/s"]
    report.check(f"chunk commits/s above {limit:.0f}", max(rates.values()) >= limit, f"{max(rates.values()):.0f}")


def show(report: Report, title: str) -> None:
    console = Console(width=150)
    figures = Table("figure", "", title=title)
    for name, value in report.figures.items():
        figures.add_row(name, f"{value:,.2f}")
    console.print(figures)
    for name, ok, detail in report.checks:
        console.print(f"{'ok    ' if ok else 'FAILED'} {name}{f': {detail}' if detail else ''}", markup=False, highlight=False)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} over the last five minutes")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=lambda text: int(float(text)), default=100_000)
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chaos", action="store_true", help="kill workers all the while")
    parser.add_argument("--store", help="`postgresql`: a server from the wheel; or the URL of an empty store (default: SQLite)")
    parser.add_argument("--home", type=Path, help="a new folder that is kept (default: one that is removed)")
    parser.add_argument("--rates", type=int, default=2000, help="chunks each writer commits at the end to see how fast it is; 0: none")
    parser.add_argument("--json", action="store_true", help="one document on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.home or Path(tempfile.mkdtemp(prefix="arena-scale-"))
    try:
        with database("postgresql" if options.store == "postgresql" else "sqlite", folder) as served:
            url = served if options.store in (None, "postgresql") else options.store
            plan = Plan(options.runs, options.agents, options.tasks)
            report = simulate(Place(url, folder / "home"), plan, options.workers, options.chaos, options.rates)
    finally:
        if options.home is None:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        checks = [{"check": name, "ok": ok, "detail": detail} for name, ok, detail in report.checks]
        print(json.dumps({"schema": "arena.bench.scale/1", "checks": checks, "figures": report.figures}))
    else:
        kind = {None: "SQLite", "postgresql": "PostgreSQL"}.get(options.store, options.store)
        words = f"{plan.runs:,} runs, {plan.agents} agents, {plan.tasks} tasks, {options.workers} workers, {kind}{', chaos' if options.chaos else ''}"
        show(report, words)
    return int(not all(ok for _, ok, _ in report.checks))


if __name__ == "__main__":
    sys.exit(main())
