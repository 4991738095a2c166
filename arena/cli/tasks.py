"""`arena task`: what a task states, how many scenarios a question needs, and freezing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from arena import settings
from arena.cli.opening import Data, store
from arena.cli.output import AsJson, Column, deliver, figure, literal, notice, pairs, shown_path, table
from arena.errors import ArenaError

if TYPE_CHECKING:
    from arena.task import Task

app = typer.Typer(help="Tasks: show one, its statistical power, freeze it.", no_args_is_help=True)
TaskName = Annotated[str, typer.Argument(metavar="TASK", help="Id; -vN may be left out.", show_default=False)]
Json = dict[str, Any]
WIDTHS = (0.01, 0.02, 0.05)
OF = "_of"  # ends the name of the metric that says how many there could have been: a rate is stored as two counts


@app.command("show")
def show(reference: TaskName, data: Data = None, as_json: AsJson = False) -> None:
    """Statement, references and how they are computed, configuration, digest, groups."""
    settings.override(data=data)
    show_task(reference, as_json)


def show_task(reference: str, as_json: bool) -> None:
    from arena import registry

    task = registry.task(reference)
    spec = registry.tasks()[task.id]
    domain = task.domain
    vectors = {
        name: {"mean": float(v.mean()), "min": float(v.min()), "max": float(v.max())}
        for name, v in task.vectors.items()
        if name not in ("group", "cluster")
    }
    document = {
        "task": task.id, "domain": domain.name, "tier": task.tier, "ranked": spec.ranked, "summary": task.summary,
        "statement": task.about["statement"], "references": task.about["references"], "digest": task.digest, "frozen": task.frozen is not None,
        "scenarios": task.n, "horizon": domain.horizon, "headline": task.headline, "normalise": task.normalise, "floor": task.floor,
        "bounded": task.bounded, "vectors": vectors, "groups": list(task.groups), "config": dict(task.config), "needs": spec.needs or None,
        "candidates": list(task.candidates or (task.role,)), "fill": dict(task.fill),
        "roles": [
            {
                "role": role.name, "seats": role.seats,
                "modes": [
                    {"mode": m.name, "observation": str(m.observation_space), "action": str(m.action_space), "steps": m.steps} for m in role.modes
                ],
            }
            for role in domain.roles
        ],
        "metrics": [
            {"name": m.name, "unit": m.unit, "direction": m.direction, "role": m.role, "threshold": m.threshold, "help": m.help}
            for m in domain.metrics_spec
        ],
    }  # fmt: skip
    frozen = {role: f"{name}, frozen (digest {task.description()['fill'][role][:12]})" for role, name in task.fill.items()}
    deliver("arena.task/1", document, as_json, lambda: _print_task(document, frozen, task.pair, task.outcome))


def _print_task(task: Json, frozen: dict[str, str], pair: tuple[str, str] | None, outcome: str) -> None:
    print(f"{task['task']}   {task['summary']}")
    better = {1: "more is better", -1: "less is better", 0: ""}
    rows: list[tuple[str, object]] = [
        ("statement", task["statement"]),
        ("scenarios", f"{task['scenarios']:,} of up to {task['horizon']:,} steps, tier {task['tier']}" + ("" if task["ranked"] else ", not ranked")),
        ("score", f"0 at ref0, 1 at ref1{' (a proven bound)' if task['bounded'] else ''}; headline {task['headline']}; floor {task['floor']:g}"),
        ("references", task["references"]),
    ]
    rows += [(name, f"mean {figure(v['mean'])}, {figure(v['min'])} .. {figure(v['max'])}") for name, v in task["vectors"].items()]
    known = {metric["name"] for metric in task["metrics"]}
    for metric in task["metrics"]:
        name = metric["name"]
        if name.endswith(OF) and name.removesuffix(OF) in known:
            continue  # one line for the two counts of a rate
        limit = "" if metric["threshold"] is None else f", limit {metric['threshold']:g}"
        unit = metric["unit"] + (f" out of {name}{OF}" if name + OF in known else "")
        words = [metric["role"], unit, better[metric["direction"]] + limit, metric["help"]]
        rows.append((name, ", ".join(word for word in words if word)))
    for role in task["roles"]:
        for mode in role["modes"]:
            seats = f" x {role['seats']}" if role["seats"] != 1 else ""
            rows.append((f"{role['role']}{seats}", f"mode {mode['mode']}: action {mode['action']}, sees {mode['observation']}"))
    rows += [("judged", "plays " + " and ".join(task["candidates"]))] if len(task["roles"]) > 1 else []
    rows += [(f"{role} is", who) for role, who in frozen.items()]
    if pair is not None:
        rows.append(("cross-play", f"{pair[0]} against {pair[1]}: " + (f"{outcome} says who wins" if outcome else "nobody wins or loses")))
    rows += [("groups", ", ".join(task["groups"]))] if task["groups"] else []
    rows += [("needs", task["needs"])] if task["needs"] else []
    rows += [(key, _short(value)) for key, value in task["config"].items()]
    pairs([*rows, ("digest", task["digest"] + ("" if task["frozen"] else " (not frozen: made of your files)"))])


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 160 else f"{text[:157]}..."


# ---- power ---------------------------------------------------------------------------------------------------------


@app.command("power")
def power(reference: TaskName, as_json: AsJson = False) -> None:
    """How many scenarios an interval of given width and a difference of given size need, from the runs in the store."""
    import numpy as np

    from arena.cli.choosing import task_id
    from arena.scoring import scenarios_for_difference, scenarios_for_interval

    with store() as opened:
        row = opened.task(reference if reference in {r["name"] for r in opened.tasks()} else task_id(reference))
        if row.tier == "suite" or row.headline == "of_means":
            raise ArenaError("power.whole_set", f"{row.name} has no score per scenario", "ask for a task whose headline is a mean or an IQM")
        lines = opened.board(row.id)
        first: dict[int, dict[int, int]] = {}
        for entry in opened.pooled_entries(row.id, [line["agent_id"] for line in lines]):
            first.setdefault(entry["agent_id"], {}).setdefault(entry["run_id"], entry["entry_id"])
        scores = [opened.scores(list(first[line["agent_id"]].values())).mean(axis=0) for line in lines]
    if not lines:
        raise ArenaError("unknown.standing", f"no agent has a complete run on {row.name}", f"arena run -t {row.name} -a AGENT -a AGENT")
    headline = "iqm" if row.headline == "iqm" else "mean"
    agents = [
        {
            "agent": line["agent"], "version": line["version"], "score": line["headline"], "sd": float(s.std(ddof=1)),
            "half_width": (line["hi"] - line["lo"]) / 2,
            "scenarios": {f"{h:g}": scenarios_for_interval(float(s.std(ddof=1)), h, headline) for h in WIDTHS},  # type: ignore[arg-type]
        }
        for line, s in zip(lines, scores, strict=True)
    ]  # fmt: skip
    neighbours = []
    for (a, x), (b, y) in zip(zip(lines, scores, strict=True), zip(lines[1:], scores[1:], strict=True), strict=False):
        gap = np.asarray(x - y)
        sd, difference = float(gap.std(ddof=1)), float(gap.mean())
        seen = None if abs(difference) < 1e-12 else scenarios_for_difference(sd, abs(difference))
        needed = {f"{delta:g}": scenarios_for_difference(sd, delta) for delta in WIDTHS}
        neighbours.append({"a": a["agent"], "b": b["agent"], "difference": difference, "sd": sd, "scenarios_for_it": seen, "scenarios": needed})

    def text() -> None:
        print(f"{row.name}   {row.n_scenarios:,} scenarios")
        print("\nscenarios for a 95 % interval of +- h around one score")
        columns = [Column("agent", fold=True), Column("score", True), Column("sd", True), Column("+- now", True)]
        columns += [Column(f"h = {h:g}", True) for h in WIDTHS]
        table(
            columns,
            [
                [a["agent"], figure(a["score"]), figure(a["sd"]), figure(a["half_width"]), *(f"{n:,}" for n in a["scenarios"].values())]
                for a in agents
            ],
        )
        if neighbours:
            print("\nscenarios to find a paired difference with 80 % power, neighbours on the board")
            columns = [Column("pair", fold=True), Column("difference", True), Column("sd", True), Column("for it", True)]
            columns += [Column(f"delta = {d:g}", True) for d in WIDTHS]
            rows = []
            for p in neighbours:
                it = "-" if p["scenarios_for_it"] is None else f"{p['scenarios_for_it']:,}"
                rows.append([f"{p['a']} - {p['b']}", f"{p['difference']:+.3g}", figure(p["sd"]), it, *(f"{n:,}" for n in p["scenarios"].values())])
            table(columns, rows)

    deliver("arena.power/1", {"task": row.name, "scenarios": row.n_scenarios, "agents": agents, "neighbours": neighbours}, as_json, text)


# ---- freeze --------------------------------------------------------------------------------------------------------


@app.command("freeze")
def freeze(
    references: Annotated[list[str], typer.Argument(metavar="TASK...", help="Tasks or globs.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Overwrite what was frozen with something else.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Compute a task's references anew and write them with its digest beside its domain. Commit what it writes."""
    from arena import registry
    from arena.cli.choosing import chosen_tasks

    settings.override(data=data)
    frozen = []
    for choice in chosen_tasks(references):
        try:
            frozen.append(_frozen(registry.task(choice.reference), force))
        except ArenaError as error:
            if choice.named:
                raise
            notice(f"skipped {choice.reference}: {error.message}")

    def text() -> None:
        for row in frozen:
            print(f"{row['task']}  {row['digest']}  {literal(shown_path(row['path']))}  {row['state']}")

    deliver("arena.frozen/1", {"tasks": frozen}, as_json, text)


def _frozen(task: Task, force: bool) -> Json:
    """Freeze one task. Raises ArenaError `task.changed` where other content was frozen under its name, unless forced."""
    import json
    from dataclasses import replace

    path = None if task.frozen is None else task.frozen.with_suffix(".json")
    if path is None or not path.exists():
        return {"task": task.id, "path": str(task.freeze()), "digest": task.digest, "state": "new"}
    was, now = json.loads(path.read_text())["digest"], replace(task, frozen=None).digest
    if was == now:
        return {"task": task.id, "path": str(path), "digest": now, "state": "unchanged"}
    if not force:
        raise ArenaError(
            "task.changed",
            f"{task.id} was frozen with digest {was[:12]} and now has {now[:12]}",
            "give the changed task a new version; --force overwrites, and no result on it counts any more",
            expected=was,
            found=now,
        )
    return {"task": task.id, "path": str(task.freeze()), "digest": now, "state": "overwritten"}
