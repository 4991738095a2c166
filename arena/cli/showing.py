"""`arena show` and `arena status`: one agent, task or run; how far runs are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arena.answers import invalid_share, unreliable
from arena.cli.listing import run_line, run_table
from arena.cli.opening import RunId, store, store_or_none
from arena.cli.output import AsJson, Column, deliver, duration, figure, literal, moment, pairs, share, size, span, table
from arena.errors import unknown

if TYPE_CHECKING:
    from arena.registry import AgentSpec
    from arena.store import Store

app = typer.Typer(help="One agent, task or run in full.", no_args_is_help=True)
Json = dict[str, Any]


@app.command("agent")
def agent(
    reference: Annotated[str, typer.Argument(metavar="AGENT", help="Name, name@version or number.", show_default=False)], as_json: AsJson = False
) -> None:
    """An agent: what it is and plays, its versions, where it stands."""
    from arena import registry

    known = registry.agents()
    name = reference.partition("@")[0]
    spec = known.get(name)
    opened = store_or_none()
    versions: list[Json] = []
    if opened is not None:
        with opened:
            found = opened.agents(retired=True)
            if reference.isdecimal():
                name = opened.agent(int(reference)).name
                spec = known.get(name)
            versions = [
                _version(opened, row) for row in found if row["name"] == name and reference in (name, f"{name}@{row['version']}", str(row["id"]))
            ]
            known |= dict.fromkeys((row["name"] for row in found if row["name"] not in known), spec)
    if not versions and (spec is None or "@" in reference):
        raise unknown("agent", reference, known, "arena list agents shows all")
    document = {"agent": name, "listed": None if spec is None else _spec(spec), "versions": versions}
    deliver("arena.agent/1", document, as_json, lambda: _print_agent(document))


def _spec(spec: AgentSpec) -> Json:
    from arena import registry

    tasks = [task for task in registry.tasks() if spec.plays(task)]
    return {
        "version": spec.version, "nature": spec.nature, "summary": spec.summary, "target": spec.target, "plays": list(spec.tasks), "tasks": tasks,
        "parameters": dict(spec.parameters), "trainable": spec.trainable,
    }  # fmt: skip


def _version(store: Store, row: Json) -> Json:
    keys = ("task", "tier", "headline", "lo", "hi", "iqm", "failed", "n", "runs", "verified")
    standings = [{key: line[key] for key in keys} for line in store.standings(row["id"])]
    return {
        "id": row["id"], "uid": row["uid"], "version": row["version"], "nature": row["nature"], "kind": row["kind"], "spec": row["spec"],
        "digest": row["digest"], "artifact_digest": row["artifact_digest"], "card": row["card"], "tags": row["tags"],
        "created": moment(row["created"]), "retired": moment(row["retired"]), "standings": standings,
    }  # fmt: skip


def _print_agent(document: Json) -> None:
    spec = document["listed"]
    print(literal(document["agent"]))
    if spec is not None:
        parameters = ", ".join(f"{key}={value}" for key, value in spec["parameters"].items())
        rows = [("is", f"{spec['nature']}: {spec['summary']}"), ("plays", ", ".join(spec["plays"])), ("made by", spec["target"])]
        pairs(rows + ([("with", parameters)] if parameters else []) + ([("learns", "arena train")] if spec["trainable"] else []))
    for version in document["versions"]:
        print()
        retired = f", retired {version['retired']}" if version["retired"] else ""
        print(f"{literal(document['agent'])}@{version['version']} (number {version['id']}, {version['kind']}, since {version['created']}{retired})")
        lines = [(s["task"], span(s["headline"], s["lo"], s["hi"]), str(s["runs"]), "yes" if s["verified"] else "") for s in version["standings"]]
        if lines:
            table([Column("task"), Column("score (95 %)"), Column("runs", True), Column("verified")], lines)


@app.command("task")
def task(reference: Annotated[str, typer.Argument(metavar="TASK", show_default=False)], as_json: AsJson = False) -> None:
    """A task: its statement, its references, its configuration and digest."""
    from arena.cli.tasks import show_task

    show_task(reference, as_json)


@app.command("run")
def run(run_id: RunId, as_json: AsJson = False) -> None:
    """A run: its line-up, progress, failures, log and environment."""
    with store() as opened:
        document = read_run(opened, run_id)
    deliver("arena.run/1", document, as_json, lambda: _print_run(document, full=True))


def status(
    run_id: Annotated[int | None, typer.Argument(metavar="[RUN]", help="Number of a run; none: what is under way.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """How far runs are, which stall, what failed."""
    with store() as opened:
        if run_id is not None:
            document = read_run(opened, run_id)
            return deliver("arena.run/1", document, as_json, lambda: _print_run(document, full=False))
        counts = opened.overview()
        stalled = {row.id for row in opened.stalled()}
        rows = [run_line(row, row["id"] in stalled) for state in ("running", "queued", "failed") for row in opened.runs(status=state, limit=20)]

    def text() -> None:
        print(", ".join(f"{counts[state]} {state}" for state in ("running", "queued", "complete", "failed", "cancelled")))
        if rows:
            run_table(rows)
        if stalled:
            print(f"stalled, their workers are gone: {', '.join(map(str, sorted(stalled)))}; continue with: arena resume --stalled")

    deliver("arena.status/1", {"counts": counts, "runs": rows, "stalled": sorted(stalled)}, as_json, text)


def read_run(store: Store, run_id: int) -> Json:
    """Everything about a run that is worth reading."""
    row = store.run(run_id)
    failures = store.failures(run_id, limit=100)
    timings = store.timings(run_id)
    rates = {e["id"]: invalid_share(timings[e["id"]]) if e["id"] in timings else None for e in row["entries"]}
    stalled = run_id in {run.id for run in store.stalled()}
    candidates = [f"{e['agent']}@{e['version']}" for e in row["entries"] if e["candidate"]]
    total = sum(entry["failures"] for entry in row["entries"])
    left = None
    if row["status"] == "running" and row["n_done"] and row["started"]:
        left = (time.time() - row["started"] / 1e6) / row["n_done"] * (row["n_chunks"] - row["n_done"])
    return {
        **run_line({**row, "candidates": candidates}, stalled), "uid": row["uid"], "scenarios": row["n_scenarios"], "started": moment(row["started"]),
        "owner": row["owner"], "lease_until": moment(row["lease_until"]), "seconds": row["seconds"], "seconds_left": left,
        "entries": [
            {
                "entry": e["id"], "role": e["role"], "seat": e["seat"], "agent": e["agent"], "version": e["version"], "nature": e["nature"],
                "candidate": e["candidate"], "mode": e["mode"], "level": e["level"], "failures": e["failures"], "decisions": e["decisions"],
                "ms_per_decision": e["decision_ns_total"] / e["decisions"] / 1e6 if e["decisions"] else None,
                "ms_median": quantile(timings, e["id"], 0.5), "ms_p99": quantile(timings, e["id"], 0.99),
                "peak_memory": e["peak_rss"] or None, "usage": timings[e["id"]]["usage"] if e["id"] in timings else {},
                "invalid_rate": rates[e["id"]], "unreliable": unreliable(rates[e["id"]]),
            }
            for e in row["entries"]
        ],
        "failed": total, "failures": [{key: f[key] for key in ("role", "scenario", "step", "code", "detail")} for f in failures],
        "events": [
            {"at": moment(e["at"]), "level": e["level"], "code": e["code"], "message": e["message"], "data": e["data"]} for e in store.events(run_id)
        ],
        "config": row["config"], "environment": row["environment"],
    }  # fmt: skip


def quantile(timings: dict[int, Json], entry: int, share: float) -> float | None:
    """A quantile of the decision time in ms, to the factor 1.4 that bins of powers of two allow."""
    import numpy as np

    if entry not in timings or not timings[entry]["hist"].sum():
        return None
    reached = np.cumsum(timings[entry]["hist"]) >= share * timings[entry]["hist"].sum()
    return float(2.0 ** (int(np.argmax(reached)) + 0.5)) / 1e6


def _print_run(run: Json, full: bool) -> None:
    print(f"run {run['run']} ({run['uid'][:6]})  {run['task']}  {literal(', '.join(run['agents']))}  seed {run['seed']}")
    state = run["status"] + ("" if run["ranked"] else ", unranked") + (f", worked on by {run['owner']}" if run["owner"] else "")
    rows: list[tuple[str, object]] = [("status", state), ("chunks", f"{run['chunks_done']} of {run['chunks']}, {run['scenarios']:,} scenarios")]
    rows += [("time", duration(run["seconds"]) + (f", {duration(run['seconds_left'])} left" if run["seconds_left"] is not None else ""))]
    rows += [("failures", f"{run['failed']} ({share(run['failed'] / max(1, run['scenarios']))})")]
    rows += [("verified", {True: "yes", False: "FAILED: the recording does not give the stored metrics", None: "not yet"}[run["verified"]])]
    for e in run["entries"]:
        time_text = f"{figure(e['ms_per_decision'])} ms per decision (median about {figure(e['ms_median'], 2)}, p99 {figure(e['ms_p99'], 2)})"
        walls = "" if e["level"] == "inline" else f", {e['level']}" + (f", {size(e['peak_memory'])} at most" if e["peak_memory"] else "")
        rows += [(e["role"], f"{e['agent']}@{e['version']}{walls}" + (f", {time_text}" if e["decisions"] else ""))]
        rows += [("usage", ", ".join(f"{name} {figure(amount)}" for name, amount in e["usage"].items()))] if e["usage"] else []
        rows += [("", f"unreliable: {share(e['invalid_rate'])} of its answers were invalid")] if e["unreliable"] else []
    pairs(rows)
    shown = run["failures"] if full else run["failures"][:10]
    if shown:
        print()
        table(
            [Column("scenario", True), Column("step", True), Column("code"), Column("", fold=True)],
            [(str(f["scenario"]), str(f["step"]), f["code"], str(f["detail"]).split("\n")[0]) for f in shown],
        )
        if run["failed"] > len(shown):
            print(f"... {run['failed'] - len(shown)} more failures")
    for event in run["events"][-20 if full else -3 :]:
        print(literal(f"{event['at']} {event['level']} {event['code']}: {event['message']}"))
    for event in run["events"] if full else []:
        text = str((event["data"] or {}).get("output", "")).rstrip()
        if text:
            print(f"\nprinted ({event['code']}):\n" + "\n".join(f"  {literal(line)}" for line in text.splitlines()))
    if full:
        env = run["environment"]
        print()
        pairs([("python", env.get("python")), ("platform", env.get("platform")), ("processor", env.get("cpu")), ("packages", _packages(env))])
    hint = _next(run)
    if hint:
        print(hint)


def _packages(environment: Json) -> str:
    return ", ".join(f"{name} {version}" for name, version in (environment.get("packages") or {}).items() if version)


def _next(run: Json) -> str:
    if run["status"] in ("queued", "failed", "cancelled", "stalled"):
        return f"continue with: arena resume {run['run']}"
    if run["status"] == "complete" and run["verified"] is None:
        return f"check it with: arena verify {run['run']}"
    return ""
