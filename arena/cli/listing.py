"""`arena list`: what is known. Domains, tasks and agents are listed from their metadata; nothing heavy is imported."""

from __future__ import annotations

import fnmatch
from typing import Annotated, Any

import typer

from arena.cli.output import AsCsv, AsJson, Column, deliver, literal, moment, notice, table

app = typer.Typer(help="What is known: domains, tasks, agents, runs.", no_args_is_help=True)


def _tell_broken() -> None:
    from arena import registry

    for plugin, reason in registry.broken.items():
        notice(f"broken plugin: {plugin}: {reason}")


@app.command("domains")
def domains(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Domains, their tasks and the suite whose mean is the domain's score."""
    from arena import registry

    rows = [
        {"name": d.name, "summary": d.summary, "tasks": len(d.tasks), "suite": list(d.suite)}
        for d in sorted(registry.domains().values(), key=lambda d: d.name)
    ]
    broken = [{"plugin": plugin, "reason": reason} for plugin, reason in registry.broken.items()]

    def text() -> None:
        columns = [Column("domain"), Column("tasks", right=True), Column("suite", fold=True), Column("", fold=True)]
        table(columns, [(str(r["name"]), str(r["tasks"]), ", ".join(r["suite"]), str(r["summary"])) for r in rows])  # type: ignore[arg-type]

    deliver("arena.domains/1", {"domains": rows, "broken": broken}, as_json, text, as_csv, rows)
    _tell_broken()


@app.command("tasks")
def tasks(
    domain: Annotated[str | None, typer.Option("--domain", "-d", help="Of one domain.", show_default=False)] = None,
    tier: Annotated[str | None, typer.Option("--tier", help="tiny, standard, large or real.", show_default=False)] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Tasks: how many scenarios, what data they need."""
    from arena import registry
    from arena.errors import unknown

    known = registry.domains()
    if domain is not None and domain not in known:
        raise unknown("domain", domain, known)
    rows: list[dict[str, Any]] = [
        {
            "task": name, "domain": name.split("/")[0], "tier": spec.tier, "scenarios": spec.n or None, "needs": spec.needs or None,
            "ranked": spec.ranked, "summary": spec.summary,
        }
        for name, spec in registry.tasks().items()
        if domain in (None, name.split("/")[0]) and tier in (None, spec.tier)
    ]  # fmt: skip
    if tier is not None and not rows:
        raise unknown("tier", tier, {spec.tier for spec in registry.tasks().values()})

    def text() -> None:
        columns = [Column("task"), Column("tier"), Column("n", right=True), Column("needs"), Column("", fold=True)]
        lines = [(r["task"], r["tier"], f"{r['scenarios'] or '?'}", r["needs"] or "", _summary(r)) for r in rows]
        table(columns, lines)

    deliver("arena.tasks/1", {"tasks": rows}, as_json, text, as_csv, rows)
    _tell_broken()


def _summary(row: dict[str, Any]) -> str:
    return str(row["summary"]) + ("" if row["ranked"] else " (not ranked)")


@app.command("agents")
def agents(
    task: Annotated[str | None, typer.Option("--task", "-t", help="Only those that play this task.", show_default=False)] = None,
    nature: Annotated[str | None, typer.Option("--nature", help="classical, learned, llm, reference or other.", show_default=False)] = None,
    stored: Annotated[bool, typer.Option("--stored", help="Those in the store: every version, agents from files, on how many boards.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Agents and what they play. A file is an agent too: path/to/file.py:Class."""
    from arena import registry
    from arena.cli.choosing import task_id

    wanted = task_id(task) if task else None
    if stored:
        rows = _stored_agents(nature)
    else:
        rows = [
            {
                "agent": spec.name, "version": spec.version, "nature": spec.nature, "kind": "builtin", "tasks": list(spec.tasks),
                "parameters": dict(spec.parameters), "trainable": spec.trainable, "boards": None, "summary": spec.summary,
            }
            for spec in registry.agents().values()
            if (wanted is None or spec.plays(wanted)) and nature in (None, spec.nature)
        ]  # fmt: skip

        rows += [row for row in _registered() if (wanted is None or _plays(row, wanted)) and nature in (None, row["nature"])]

    def text() -> None:
        columns = [Column("agent"), Column("version", right=True), Column("nature"), Column("plays", fold=True), Column("", fold=True)]
        lines = [(r["agent"], str(r["version"]), r["nature"], _played(r), r["summary"] + (" (trainable)" if r["trainable"] else "")) for r in rows]
        table(columns, lines)

    deliver("arena.agents/1", {"agents": rows}, as_json, text, as_csv, rows)
    _tell_broken()


def _played(row: dict[str, Any]) -> str:
    if row["boards"] is not None:
        return f"{row['boards']} boards"
    return ", ".join(row["tasks"])


def _plays(row: dict[str, Any], task: str) -> bool:
    return any(fnmatch.fnmatch(task, pattern) for pattern in row["tasks"])


def _registered() -> list[dict[str, Any]]:
    """Registered agents, the newest version of each that is not retired."""
    from arena.cli.opening import store_or_none
    from arena.registration import registered_rows

    opened = store_or_none()
    if opened is None:
        return []
    with opened:
        newest = {row["name"]: row for row in registered_rows(opened)}
    return [
        {
            "agent": row["name"], "version": row["version"], "nature": row["nature"], "kind": row["kind"], "tasks": row["spec"]["tasks"],
            "parameters": row["spec"]["parameters"], "trainable": False, "boards": None, "summary": row["card"].split("\n")[0],
        }
        for row in newest.values()
    ]  # fmt: skip


def _stored_agents(nature: str | None) -> list[dict[str, Any]]:
    from arena.cli.opening import store

    with store() as opened:
        found = opened.agents(retired=True)
    return [
        {
            "agent": row["name"], "version": row["version"], "nature": row["nature"], "kind": row["kind"], "tasks": [],
            "parameters": row["spec"].get("parameters") or {}, "trainable": False, "boards": row["tasks"],
            "summary": row["card"].split("\n")[0] + (" (retired)" if row["retired"] else ""),
        }
        for row in found
        if nature in (None, row["nature"])
    ]  # fmt: skip


@app.command("runs")
def runs(
    task: Annotated[str | None, typer.Option("--task", "-t", help="Glob of tasks.", show_default=False)] = None,
    agent: Annotated[str | None, typer.Option("--agent", "-a", help="Name or name@version.", show_default=False)] = None,
    status: Annotated[str | None, typer.Option("--status", help="queued, running, complete, failed or cancelled.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
    before: Annotated[int | None, typer.Option("--before", help="Older than this run: the next page.", show_default=False)] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Runs, newest first."""
    from arena.cli.opening import store
    from arena.errors import unknown

    states = ("queued", "running", "complete", "failed", "cancelled")
    if status is not None and status not in states:
        raise unknown("status", status, states)
    with store() as opened:
        agent_id = None if agent is None else opened.agent(agent).id
        stalled = {run.id for run in opened.stalled()}
        rows: list[dict[str, Any]] = []
        while len(rows) < limit:
            page = opened.runs(before=before, limit=max(50, limit), status=status, agent_id=agent_id)
            rows += [run_line(row, row["id"] in stalled) for row in page if task is None or fnmatch.fnmatch(row["task"], task)]
            if len(page) < max(50, limit):
                break
            before = page[-1]["id"]
    rows = rows[:limit]
    deliver("arena.runs/1", {"runs": rows}, as_json, lambda: run_table(rows), as_csv, rows)


def run_line(row: dict[str, Any], stalled: bool) -> dict[str, Any]:
    """A run as it is listed."""
    return {
        "run": row["id"], "task": row["task"], "agents": row["candidates"], "seed": row["seed"], "ranked": row["ranked"],
        "status": "stalled" if stalled else row["status"], "chunks_done": row["n_done"], "chunks": row["n_chunks"],
        "verified": row["verified"], "created": moment(row["created"]), "finished": moment(row["finished"]),
    }  # fmt: skip


def run_table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return print("no runs")
    columns = [
        Column("run", right=True), Column("status"), Column("done", right=True), Column("task"), Column("agent", fold=True),
        Column("seed", right=True), Column("verified"), Column("created"),
    ]  # fmt: skip
    verified = {True: "yes", False: "FAILED", None: ""}
    table(
        columns,
        [
            (
                str(r["run"]), r["status"] + ("" if r["ranked"] else ", unranked"), f"{r['chunks_done']}/{r['chunks']}", r["task"],
                literal(", ".join(r["agents"])), str(r["seed"]), verified[r["verified"]], str(r["created"])[:16].replace("T", " "),
            )
            for r in rows
        ],
    )  # fmt: skip
