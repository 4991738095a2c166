"""The stores that every page is tried on: empty, one failed run, one agent, many agents on many tasks, names with markup and emoji.

Boards are loaded in bulk, as no method of the store would, but are such as the platform writes them: every standing follows from the
scores of its runs by `arena.scoring`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select

from arena.scoring import cvar10, iqm, suite_standing
from arena.scoring.bootstrap import Standing, mean_draws
from arena.store import ChunkResult, EntryRequest, Failure, MetricRecord, RunRequest, Store, TaskRecord, Timing, schema
from arena.store.catalogue import pack, pack_histogram

NATURES = ("classical", "learned", "llm", "reference", "other")
METRICS = (
    MetricRecord("score", "", 1, "score"),
    MetricRecord("value", "EUR", 1, "primary"),
    MetricRecord("spend", "EUR", 0, "info"),
    MetricRecord("overrun", "EUR", -1, "constraint", 0.0, 1.0),
    MetricRecord("wins", "1", 0, "info"),
)
HISTOGRAM = np.bincount([12, 13, 13, 14, 17], minlength=64)  # decisions of 4 to 130 microseconds
HIST = pack_histogram(HISTOGRAM)
ODD_AGENTS = (
    "<b>bold</b> <script>alert(1)</script>",
    "[link](javascript:alert(1)) ![](http://127.0.0.1:9/x.png)",
    ":red[red] :tada: \N{PARTY POPPER} \N{WAVING BLACK FLAG}",
    "`tick` *star* _under_ ~~gone~~ $x^2$ # head",
    "long-" + "name-" * 25,
    "=1+1,'quote\"",
)
ODD_TASK = "odd/<i>task</i> *x* :smile:-v1"
ODD_DUEL = "odd/<i>duel</i> *x* :smile:-v1"
DUEL = "dom/duel-v1"
ODD_CARD = "# A card\n<img src=x onerror=alert(1)> [click](javascript:x) :red[x] $y$\n\n- **not bold**"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def empty(store: Store) -> None:
    """Nothing but the tables."""


def failed(store: Store) -> int:
    """One run that failed after its first chunk: a failed scenario, a log. Returns the run."""
    task = store.ensure_task(task_record("dom/task-v1", 10))
    who = store.ensure_agent("lin", "classical", "builtin", {"target": "x:y"}, card="bids in proportion")
    run = store.request_run(run_request(store, task, who.id, "one", n_chunks=2, chunk_size=5))
    assert store.acquire(run.id, "worker")
    entry = store.entries(run.id)[0].id
    measured = {(entry, m.name): np.where(np.arange(5) == 3, -1.0 if m.role == "score" else np.nan, 0.5) for m in METRICS}
    failure = Failure(entry, 3, 7, "agent.crash", "boom of lin")
    store.commit_chunk(run.id, ChunkResult(0, 0, 5, 1, 0.1, None, measured, [failure], {entry: Timing(HISTOGRAM, 10_000, 5)}))
    store.event(run.id, "error", "internal", "the kernel broke")
    store.release(run.id, "worker", "failed")
    return run.id


def single(store: Store) -> None:
    """One agent on one task, two seeds."""
    boards(store, ["lin"], ["dom/task-v1"], n=60, seeds=2)


def many(store: Store, agents: int = 500, domains: int = 8, tasks: int = 4, n: int = 1000, other: int = 40, measured: int = 200) -> None:
    """`agents` agents on `tasks` tasks and a suite in each of `domains` domains: 40 boards. The first task has `n` scenarios and all
    metrics of `measured` agents (10^6 measurements), the others have `other` scenarios and scores only.
    """
    names = [f"agent-{k:03d}" for k in range(agents)]
    first = "domain0/task0-v1"
    boards(store, names, [first], n=n, measured=measured)
    others = [f"domain{d}/task{t}-v1" for d in range(domains) for t in range(tasks)]
    boards(store, names, [task for task in others if task != first], n=other, measured=0)
    for d in range(domains):
        suite(store, f"domain{d}", [f"domain{d}/task{t}-v1" for t in range(tasks)])


def odd(store: Store) -> None:
    """Names, cards, messages and group labels that look like markup, code or emoji."""
    boards(store, list(ODD_AGENTS), [ODD_TASK], n=40, card=ODD_CARD, groups=("<u>group</u>", "*g* :tada:"))
    run = store.runs()[0]["id"]
    entry = store.entries(run)[0].id
    store.event(run, "warning", "agent.crash", "<b>message</b> [x](javascript:y) :tada:")
    row = {"entry_id": entry, "scenario": 0, "step": 1, "code": "agent.crash", "detail": "<b>detail</b>\n**two**"}
    store.write(lambda connection: connection.execute(schema.failures.insert(), [row]))


def duels(store: Store, agents: Sequence[str] = ("left", "right"), task: str = DUEL, n: int = 40, outcome: str | None = "won", seeds: int = 1) -> int:
    """Complete matches of all ordered pairs of agents on a task of `n` scenarios; agent k is better than agent k - 1. Returns the task."""
    record = task_record(task, n)
    config = {**record.config, "candidates": ["row"], "crossplay": {"roles": ["row", "column"], "outcome": outcome}}
    task_id = store.ensure_task(replace(record, config=config, metrics=(*METRICS[:2], MetricRecord("won", "", 0, "info"))))
    metric_ids = {m["name"]: m["id"] for m in store.metrics(task_id)}
    environment = store.ensure_environment({"python": "3.11", "cpu": "one", "packages": {"numpy": "2.1"}})
    numbers, now, rng = _agents(store, agents, ""), time.time_ns() // 1000, np.random.default_rng(n)
    skill = np.linspace(-0.3, 0.3, len(agents))

    def load(connection: Connection) -> None:
        run = connection.scalar(select(func.max(schema.runs.c.id))) or 0
        entry = connection.scalar(select(func.max(schema.entries.c.id))) or 0
        rows: dict[str, list[dict[str, Any]]] = {table: [] for table in ("runs", "entries", "chunks", "measurements")}
        for seed, a, b in np.ndindex(seeds, len(agents), len(agents)):
            run, entry = run + 1, entry + 2
            content = digest(f"match {run}")
            gap = skill[a] - skill[b] + (rng.normal(0, 0.3, n) if a != b else 0 * rng.normal(0, 0.3, n))
            config = {"task": task, "reference": agents[a], "opponent": agents[b]}
            rows["runs"].append(
                {
                    "id": run, "uid": content[:32], "task_id": task_id, "request_digest": content, "lineup_digest": content, "seed": seed,
                    "ranked": False, "status": "complete", "chunk_size": n, "n_chunks": 1, "n_done": 1, "environment_id": environment,
                    "config": config, "created": now, "started": now, "finished": now, "verified": None,
                }
            )  # fmt: skip
            rows["entries"] += [
                {
                    "id": entry - 1 + k, "run_id": run, "role": role, "seat": -1, "agent_id": numbers[agent], "candidate": True, "mode": "bid",
                    "level": "inline", "status": "complete", "failures": 0, "decision_ns_total": 10**6, "decisions": 10**3, "peak_rss": 10**8,
                }
                for k, (role, agent) in enumerate((("row", a), ("column", b)))
            ]  # fmt: skip
            rows["chunks"].append({"run_id": run, "chunk": 0, "start": 0, "n": n, "attempt": 1, "seconds": 1.5, "recording_digest": None})
            values = {"score": np.clip(gap, -1, 1), "value": 1 + gap, "won": (1 + np.sign(gap)) / 2}
            rows["measurements"] += [
                {"entry_id": entry - 1, "metric_id": metric_ids[name], "start": 0, "n": n, "vals": pack(vector)} for name, vector in values.items()
            ]
        _insert(connection, rows)

    store.write(load)
    return task_id


BUILDERS = {"empty": empty, "failed": failed, "single": single, "many": many, "odd": odd}


# ---- what they are built of ----------------------------------------------------------------------------------------


def task_record(name: str, n: int, groups: Sequence[str] = ("north", "south")) -> TaskRecord:
    domain = name.split("/")[0]
    vectors = {"ref0": np.linspace(1.0, 2.0, n), "ref1": np.linspace(1.0, 2.0, n) + np.linspace(0.5, 1.5, n), "group": np.arange(n) % len(groups)}
    vectors["group"] = vectors["group"].astype(float)
    config = {"groups": list(groups), "candidates": ["player"], "fill": {}, "auctions": 1000}
    return TaskRecord(name, domain, "standard", digest(name), config, n, metrics=METRICS, vectors=vectors)


def run_request(store: Store, task: int, agent: int, name: str, n_chunks: int, chunk_size: int) -> RunRequest:
    environment = store.ensure_environment({"python": "3.11", "cpu": "one", "packages": {"numpy": "2.1"}})
    return RunRequest(
        task_id=task, request_digest=digest(name), lineup_digest="", seed=0, ranked=True, chunk_size=chunk_size, n_chunks=n_chunks,
        environment_id=environment, config={"task": store.task(task).name}, entries=[EntryRequest("player", -1, agent)],
    )  # fmt: skip


def boards(
    store: Store, agents: Sequence[str], tasks: Sequence[str], n: int, seeds: int = 1, measured: int = 10**9, card: str = "",
    groups: Sequence[str] = ("north", "south"),
) -> None:  # fmt: skip
    """Complete ranked runs of all agents on all tasks of `n` scenarios, and the boards they make. Agent k is better than agent k - 1."""
    task_ids = [store.ensure_task(task_record(name, n, groups)) for name in tasks]
    metric_ids = [{m["name"]: m["id"] for m in store.metrics(task)} for task in task_ids]
    environment = store.ensure_environment({"python": "3.11", "cpu": "one", "packages": {"numpy": "2.1"}})
    agent_ids = _agents(store, agents, card)
    skill = np.linspace(-0.2, 0.9, len(agents)) if len(agents) > 1 else np.array([0.5])
    rng = np.random.default_rng(len(tasks))
    now = time.time_ns() // 1000

    def load(connection: Connection) -> None:
        run_id = connection.scalar(select(func.max(schema.runs.c.id))) or 0
        for task_id, name, metrics in zip(task_ids, tasks, metric_ids, strict=True):
            luck = rng.normal(0, 0.2, (1, 1, n))
            scores = np.clip(skill[:, None, None] + luck + rng.normal(0, 0.1, (len(agents), seeds, n)), -1.0, 1.2)
            draws = mean_draws(scores.mean(axis=1).T[None], task_digest=digest(name)).T.astype("<f4")  # [agent, draw]
            lo, hi = np.percentile(draws, [2.5, 97.5], axis=1).tolist()
            mean, middle, worst = (found.tolist() for found in (scores.mean((1, 2)), iqm(scores).mean(axis=1), cvar10(scores).mean(axis=1)))
            spread = scores.mean(axis=1).std(axis=1, ddof=1).tolist()
            tables = ("runs", "entries", "chunks", "measurements", "timings", "standings", "draws")
            rows: dict[str, list[dict[str, Any]]] = {table: [] for table in tables}
            for k, agent in enumerate(agent_ids):
                of_agent = []
                for seed in range(seeds):
                    run_id += 1
                    of_agent.append(run_id)
                    content = digest(f"run {run_id}")
                    rows["runs"].append(
                        {
                            "id": run_id, "uid": content[:32], "task_id": task_id, "request_digest": content, "lineup_digest": content, "seed": seed,
                            "ranked": True, "status": "complete", "chunk_size": n, "n_chunks": 1, "n_done": 1, "environment_id": environment,
                            "config": {"task": name}, "created": now, "started": now, "finished": now, "verified": True if k % 3 == 0 else None,
                        }
                    )  # fmt: skip
                    rows["entries"].append(
                        {
                            "id": run_id, "run_id": run_id, "role": "player", "seat": -1, "agent_id": agent, "candidate": True, "mode": "bid",
                            "level": "inline", "status": "complete", "failures": 0, "decision_ns_total": 10**6, "decisions": 10**3, "peak_rss": 10**8,
                        }
                    )  # fmt: skip
                    rows["chunks"].append({"run_id": run_id, "chunk": 0, "start": 0, "n": n, "attempt": 1, "seconds": 1.5, "recording_digest": None})
                    rows["timings"].append({"entry_id": run_id, "start": 0, "n": n, "hist": HIST, "usage": None})
                    for metric in METRICS if k < measured else METRICS[:1]:
                        values = scores[k, seed] if metric.role == "score" else np.zeros(n) if metric.role == "constraint" else 1 + scores[k, seed]
                        rows["measurements"].append(
                            {"entry_id": run_id, "metric_id": metrics[metric.name], "start": 0, "n": n, "vals": pack(values)}
                        )
                key = {"task_id": task_id, "role": "player", "agent_id": agent}
                rows["standings"].append(
                    {
                        **key, "headline": mean[k], "lo": lo[k], "hi": hi[k], "mean": mean[k], "iqm": middle[k], "cvar10": worst[k],
                        "sd": spread[k], "failed": 0, "violated": 0, "ms": 10.0 ** (-3 + 4 * (k * 7 % 11) / 10), "n": n, "runs": seeds,
                        "runs_unfinished": 0,
                        "verified": k % 3 == 0, "run_set": of_agent, "updated": now,
                    }
                )  # fmt: skip
                rows["draws"].append({**key, "draws": draws[k].tobytes()})
            _insert(connection, rows)

    store.write(load)


def suite(store: Store, domain: str, tasks: Sequence[str]) -> None:
    """The domain's own board: the mean over its tasks, as `arena.scoring` makes it."""
    task = store.ensure_task(
        TaskRecord(domain, domain, "suite", digest(domain), {"tasks": list(tasks)}, len(tasks), metrics=[MetricRecord("score", "", 1, "score")])
    )
    members: dict[int, dict[str, dict[str, Any]]] = {}
    for name in tasks:
        for line in store.board(name, with_draws=True):
            members.setdefault(line["agent_id"], {})[name] = line
    rows: dict[str, list[dict[str, Any]]] = {"standings": [], "draws": []}
    for agent, lines in members.items():
        numbers = ("headline", "lo", "hi", "mean", "iqm", "cvar10", "sd", "n", "runs", "draws")
        found = suite_standing({name: Standing(**{key: line[key] for key in numbers}, few=False) for name, line in lines.items()}, {domain: tasks})
        of_suite = found.domains[domain]
        key = {"task_id": task, "role": "", "agent_id": agent}
        every = list(lines.values())
        rows["standings"].append(
            {
                **key, "headline": of_suite.headline, "lo": of_suite.lo, "hi": of_suite.hi, "failed": 0, "violated": 0, "ms": every[0]["ms"],
                "n": of_suite.n, "runs": sum(line["runs"] for line in every), "runs_unfinished": 0,
                "run_set": [run for line in every for run in line["run_set"]],
                "verified": all(line["verified"] for line in every), "updated": max(line["updated"] for line in every),
            }
        )  # fmt: skip
        rows["draws"].append({**key, "draws": of_suite.draws.astype("<f4").tobytes()})
    store.write(lambda connection: _insert(connection, rows))


def _agents(store: Store, names: Sequence[str], card: str) -> list[int]:
    known = {row["name"]: row["id"] for row in store.agents(retired=True)}
    fresh = [name for name in names if name not in known]
    rows = [
        {
            "uid": digest(f"agent {name}")[:32], "name": name, "version": 1, "nature": NATURES[k % len(NATURES)], "kind": "builtin",
            "spec": {"reference": name, "target": "agents:Agent", "parameters": {"gain": k}}, "digest": digest(name), "artifact_digest": digest(name),
            "domain": None, "tags": [], "card": card or f"agent number {k}", "created": time.time_ns() // 1000,
        }
        for k, name in enumerate(fresh)
    ]  # fmt: skip
    if rows:
        store.write(lambda connection: connection.execute(schema.agents.insert(), rows))
        known = {row["name"]: row["id"] for row in store.agents(retired=True)}
    return [known[name] for name in names]


def _insert(connection: Connection, rows: dict[str, list[dict[str, Any]]]) -> None:
    for name, part in rows.items():
        if part:
            connection.execute((schema.standing_draws if name == "draws" else schema.metadata.tables[name]).insert(), part)


