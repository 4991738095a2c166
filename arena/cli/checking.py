"""`arena verify` and `arena replay`: what a run stored, derived again from scenario and recorded actions alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arena import settings
from arena.cli.opening import Data, Device, RunId, device, part, store, task_of_run
from arena.cli.output import AsJson, Column, deliver, figure, literal, notice, table
from arena.errors import EXIT_MISMATCH, ArenaError

if TYPE_CHECKING:
    from arena.store import Store
    from arena.task import Task

SHOWN = 10  # mismatches that are printed


def verify(
    run_ids: Annotated[list[int], typer.Argument(metavar="RUN...", help="Runs.", show_default=False)],
    sample: Annotated[
        float, typer.Option("--sample", help="Share of the chunks to replay; only all of them make a run verified.", min=0.0, max=1.0)
    ] = 1.0,
    on: Device = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Derive stored results again from the recordings.

    Every metric and score is compared with what was stored. Exit code 5 where they differ.
    """
    from arena import integrity

    settings.override(data=data)
    place = device(on)
    found = []
    with store(read_only=False) as opened:
        for number in run_ids:
            run = opened.run_row(number)
            checked = integrity.verify(opened, number, task_of_run(opened, run), sample, place)
            found.append((opened.task(run.task_id).name, checked))
            if "origin" in run.config and not run.ranked and opened.run_row(number).verified:
                joined = opened.run_row(number).ranked
                notice(f"run {number}, imported, " + ("joins the board" if joined else f"stays unranked: arena status {number}"), as_json)
    runs = [
        {
            "run": v.run_id, "task": task, "ok": v.ok, "chunks": v.chunks, "scenarios": v.scenarios, "values": v.values,
            "mismatches": [asdict(m) for m in v.mismatches],
        }
        for task, v in found
    ]  # fmt: skip

    def text() -> None:
        for task, v in found:
            checked = f"run {v.run_id} ({task}): {v.values:,} values of {v.scenarios:,} scenarios derived again"
            if v.ok:
                print(f"{checked}: all as stored" + ("" if sample >= 1 else f" (a sample of {sample:g})"))
                continue
            first = min(v.mismatches, key=lambda m: (m.scenario, m.step))
            print(f"{checked}: {len(v.mismatches)} differ, first in scenario {first.scenario} at step {first.step}")
            for mismatch in v.mismatches[:SHOWN]:
                print(f"  scenario {mismatch.scenario}, step {mismatch.step}, chunk {mismatch.chunk}: {literal(mismatch.what)}")
            if len(v.mismatches) > SHOWN:
                print(f"  ... {len(v.mismatches) - SHOWN} more: --json lists all")

    ok = all(v.ok for _, v in found)
    deliver("arena.verification/1", {"ok": ok, "sample": sample, "runs": runs}, as_json, text)
    return 0 if ok else EXIT_MISMATCH


def replay(
    run_id: RunId,
    scenario: Annotated[int, typer.Option("--scenario", "-s", help="Index of the scenario.", min=0, show_default=False)],
    rows: Annotated[int, typer.Option("--rows", help="Steps to print, from both ends; 0: all.", min=0)] = 20,
    figure_file: Annotated[
        Path | None, typer.Option("--figure", help="Write the domain's figures of the episode to this HTML file.", show_default=False)
    ] = None,
    on: Device = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """One episode from its recording, step by step."""
    settings.override(data=data)
    place = device(on)
    with store() as opened:
        run = opened.run_row(run_id)
        task = task_of_run(opened, run)
        entry = next(e for e in opened.entries(run_id) if e.candidate)
        actions = recorded_actions(opened, task, run_id, scenario)
        stored = {name: float(values[scenario]) for name, values in opened.metric_vectors(entry.id).items()}
        failure = next((f for f in opened.failures(run_id, limit=10**9) if f["scenario"] == scenario), None)
    steps, derived = derive(task, scenario, actions, place)
    kept = _ends(steps, rows)
    document = {
        "run": run_id, "task": task.id, "scenario": scenario, "steps_total": len(steps), "steps": kept,
        "metrics": [{"name": name, "derived": value, "stored": stored.get(name)} for name, value in derived.items()],
        "score": stored.get("score"), "failure": None if failure is None else {key: failure[key] for key in ("role", "step", "code", "detail")},
        "figure": None if figure_file is None else str(figure_file),
    }  # fmt: skip
    if figure_file is not None:
        _draw(task, scenario, actions, figure_file)
    deliver("arena.episode/1", document, as_json, lambda: _print_episode(document, kept))


def recorded_actions(store: Store, task: Task, run_id: int, scenario: int) -> dict[str, Any]:
    """The recorded actions of one scenario by role, [T, 1, ...]."""
    from arena.store import read_recording

    if scenario >= task.n:
        raise ArenaError("task.index", f"{task.id} has scenarios 0..{task.n - 1}; asked for {scenario}")
    chunk = next((c for c in store.chunks(run_id) if c["start"] <= scenario < c["start"] + c["n"]), None)
    if chunk is None:
        raise ArenaError("verify.empty", f"scenario {scenario} of run {run_id} has not been played yet", f"arena resume {run_id}")
    if chunk["recording_digest"] is None:
        raise ArenaError("verify.empty", f"scenario {scenario} of run {run_id} was not played: the agent had given up", f"arena status {run_id}")
    tensors = read_recording(store.home, chunk["recording_digest"])
    row = scenario - chunk["start"]
    return {role.name: tensors[role.name][:, row : row + 1] for role in task.domain.roles if role.name in tensors}


def derive(task: Task, scenario: int, actions: dict[str, Any], place: str) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Every step (the actions taken, what the domain shows of the state they led to) and the metrics of one episode."""
    from arena.rollout import states

    world = task.rows(scenario, 1).to(place)
    steps: list[dict[str, Any]] = []
    state: Any = None
    for step, state in states(task.domain, world, actions, place):
        if step:
            # with roles that act at different steps the k-th action is not that of step k
            moves = {role: moves[step - 1, 0].tolist() for role, moves in actions.items() if len(moves) == task.domain.horizon or task.domain.single}
            steps.append({"step": step - 1, "actions": moves, "state": task.domain.shown(world, state)})
    metrics = {name: float(value.double().mean()) for name, value in task.domain.metrics(world, state).items()}
    return steps, metrics


def _ends(steps: list[dict[str, Any]], rows: int) -> list[dict[str, Any]]:
    if rows == 0 or len(steps) <= rows:
        return steps
    return steps[: (rows + 1) // 2] + steps[len(steps) - rows // 2 :]


def _print_episode(episode: dict[str, Any], kept: list[dict[str, Any]]) -> None:
    print(f"run {episode['run']}  {episode['task']}  scenario {episode['scenario']}  {episode['steps_total']} steps")
    if kept:
        roles, names = list(kept[0]["actions"]), list(kept[0]["state"])
        columns = [Column("step", True), *(Column(role, True) for role in roles), *(Column(name, True) for name in names)]
        rows: list[list[str]] = []
        for before, step in zip([None, *kept], kept, strict=False):
            if before is not None and step["step"] != before["step"] + 1:
                rows.append(["..."] + [""] * (len(columns) - 1))
            rows.append([str(step["step"]), *(_cell(step["actions"].get(role)) for role in roles), *(_cell(step["state"].get(n)) for n in names)])
        table(columns, rows)
    print()
    metrics = [(m["name"], _exact(m["derived"]), _exact(m["stored"])) for m in episode["metrics"]]
    table([Column("metric"), Column("derived", True), Column("stored", True)], metrics)
    print(f"score {_exact(episode['score'])}")
    if episode["failure"] is not None:
        f = episode["failure"]
        print(literal(f"failed at step {f['step']} ({f['code']}): {str(f['detail']).split(chr(10))[0]}"))
    if episode["figure"] is not None:
        notice(f"figures written to {episode['figure']}")


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_cell(item) for item in value[:4]) + (", ..." if len(value) > 4 else "") + "]"
    return figure(value, 4) if isinstance(value, float) else str(value) if value is not None else ""


def _exact(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.9g}"


def _draw(task: Task, scenario: int, actions: dict[str, Any], path: Path) -> None:
    """The domain's figures of the episode as one HTML file that needs no network."""
    from arena import registry

    moves = {role: tensor[:, 0] for role, tensor in actions.items()}
    figures = part(registry.domain_of(task.id), "figures").draw(task, scenario, moves)
    write_page(f"{task.id}, scenario {scenario}", figures, path)


def write_page(title: str, figures: Mapping[str, Any], path: Path) -> None:
    """Plotly figures as one HTML file that needs no network. Raises ArenaError `output.file`."""
    pieces = [drawn.to_html(full_html=False, include_plotlyjs=index == 0) for index, drawn in enumerate(figures.values())]
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{escape(title)}</title>"
    page = f"<!DOCTYPE html><html><head>{head}</head><body>{''.join(pieces)}</body></html>"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ArenaError("output.file", f"{path} cannot be written: {error.strerror}", "name another file") from error
