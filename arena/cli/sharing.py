"""`arena export`, `arena import`, `arena card`: results for others, and those of others."""

from __future__ import annotations

import fnmatch
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arena import settings
from arena.cli.opening import Data, Device, device, store, task_of_run
from arena.cli.output import AsJson, Column, deliver, literal, moment, notice, shown_path, size, table
from arena.errors import EXIT_MISMATCH, unknown

if TYPE_CHECKING:
    from arena.bundle import Imported
    from arena.integrity import Verification
    from arena.store import Store

Tasks = Annotated[list[str] | None, typer.Option("--task", "-t", help="All complete runs on this task; glob; may be repeated.", show_default=False)]


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: NAME.arena.zip, or NAME.parquet with --long.", show_default=False)],
    run_ids: Annotated[list[int] | None, typer.Argument(metavar="[RUN]...", help="Complete runs.", show_default=False)] = None,
    tasks: Tasks = None,
    every: Annotated[bool, typer.Option("--all", help="All complete runs.")] = False,
    long: Annotated[bool, typer.Option("--long", help="With -t: every single value as a row of a Parquet file, for SQL and pandas.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write complete runs into a bundle that others can check, import and verify.

    With --long: all values of the boards' runs as one table (task, agent, version, seed, scenario, metric, value).
    """
    from arena.bundle import export_runs, export_values

    if sum((bool(run_ids), bool(tasks), every)) != 1:
        raise typer.BadParameter("name runs, or tasks with -t, or --all")
    if long and not tasks:
        raise typer.BadParameter("--long needs -t TASK")
    with store() as opened:
        if long:
            rows = export_values(opened, _stored_tasks(opened, tasks or []), out)
            document: dict[str, Any] = {"kind": "values", "file": str(out), "bytes": out.stat().st_size, "values": rows}
            told = literal(f"{shown_path(out)}: {rows:,} values, {size(document['bytes'])}")
            return deliver("arena.exported/1", document, as_json, lambda: print(told))
        numbers = run_ids or _complete(opened, None if every else _stored_tasks(opened, tasks or []))
        made = export_runs(opened, numbers, out)
    document = {"kind": "bundle", "file": str(out), **{key: value for key, value in asdict(made).items() if key != "path"}}

    def text() -> None:
        parts = [_count(made.runs, "run"), _count(made.agents, "agent"), _count(made.tasks, "task"), _count(made.recordings, "recording")]
        print(literal(f"{shown_path(out)}: {', '.join(parts)}, {_count(made.lines, 'board line')}; {size(made.bytes)}"))
        print(f"sha256 {made.sha256}")

    deliver("arena.exported/1", document, as_json, text)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _stored_tasks(store: Store, patterns: list[str]) -> list[int]:
    """The tasks of the store that are meant: names, globs, names without their version (all versions)."""
    rows = [row for row in store.tasks() if row["tier"] != "suite"]
    found: dict[int, None] = {}
    for pattern in patterns:
        caught = [row["id"] for row in rows if fnmatch.fnmatch(row["name"], pattern) or fnmatch.fnmatch(row["name"], f"{pattern}-v*")]
        if not caught:
            raise unknown("task", pattern, {row["name"] for row in rows}, "only tasks that were played can be exported")
        found |= dict.fromkeys(caught)
    return list(found)


def _complete(store: Store, task_ids: list[int] | None) -> list[int]:
    found: list[int] = []
    for task_id in [None] if task_ids is None else task_ids:
        before: int | None = None
        while page := store.runs(before=before, limit=1000, status="complete", task_id=task_id):
            found += [row["id"] for row in page]
            before = page[-1]["id"]
    return found


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle that `arena export` wrote.", show_default=False)],
    verify: Annotated[bool, typer.Option("--verify", help="Replay all imported runs at once; those that agree join the boards.")] = False,
    on: Device = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Check a bundle and add its runs. Nothing of it is executed, nothing is kept where anything is wrong.

    Imported runs are on no board until `arena verify` has derived all their results again from the recordings.
    """
    from arena.bundle import import_bundle

    settings.override(data=data)
    place = device(on) if verify else "cpu"
    with store(read_only=False) as opened:
        found = import_bundle(opened, file)
        outcomes = _verified(opened, found, place) if verify else {}
        rows = [opened.run_row(run.run) for run in found.runs]
    runs = [
        {**asdict(run), "ranked": row.ranked, "verified": row.verified, "mismatches": len(v.mismatches) if (v := outcomes.get(run.run)) else None}
        for run, row in zip(found.runs, rows, strict=True)
    ]
    document = {
        "file": str(file), "sha256": found.sha256, "arena": found.arena, "as_of": moment(found.as_of), "runs": runs,
        "renamed": [{"there": there, "here": here} for there, here in found.renamed],
    }  # fmt: skip
    deliver("arena.imported/1", document, as_json, lambda: _print_imported(document, outcomes))
    return 0 if all(v.ok for v in outcomes.values()) else EXIT_MISMATCH


def _verified(store: Store, found: Imported, place: str) -> dict[int, Verification]:
    from arena import integrity

    outcomes = {}
    for run in found.runs:
        row = store.run_row(run.run)
        if not row.verified or not row.ranked:
            outcomes[run.run] = integrity.verify(store, run.run, task_of_run(store, row), device=place)
    return outcomes


def _print_imported(document: dict[str, Any], outcomes: dict[int, Verification]) -> None:
    runs = document["runs"]
    fresh = [run for run in runs if run["added"]]
    print(literal(f"{shown_path(document['file'])}: whole; written by arena {document['arena']}, newest result {document['as_of']}"))
    print(f"{_count(len(fresh), 'run')} added, {len(runs) - len(fresh)} here already")
    for pair in document["renamed"]:
        print(literal(f"  {pair['there']} of the bundle is {pair['here']} here"))
    columns = [Column("run", True), Column("task"), Column("agent", fold=True), Column("seed", True), Column(""), Column("board")]
    table(columns, [(str(r["run"]), r["task"], r["agent"], str(r["seed"]), "added" if r["added"] else "was here", _state(r)) for r in runs])
    for number, outcome in outcomes.items():
        if outcome.mismatches:
            first = outcome.mismatches[0]
            notice(f"run {number}: {len(outcome.mismatches)} values differ, first in scenario {first.scenario}: {first.what}")
    waiting = [str(run["run"]) for run in runs if run["verified"] is None and not run["ranked"]]
    if waiting:
        print("what is not verified is on no board yet; replay it with:")
        print(f"  arena verify {' '.join(waiting)}")


def _state(run: dict[str, Any]) -> str:
    if run["verified"] is None:
        return "yes" if run["ranked"] else "not verified"
    if not run["verified"]:
        return "no: DIFFERS"
    return "yes, verified" if run["ranked"] else "no: unranked there, or the same request is here"


def card(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Name, name@version or number in the store.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """An agent's card: Markdown with its results as YAML front matter, as the Hugging Face hub reads it."""
    from arena.cards import agent_card

    with store() as opened:
        row = opened.agent(int(agent) if agent.isdecimal() else agent)
        made = agent_card(opened, row)
    document = {"agent": row.name, "version": row.version, "metadata": made.front, "text": made.text}
    deliver("arena.card/1", document, as_json, lambda: print("\n".join(literal(line) for line in made.text.split("\n"))))
