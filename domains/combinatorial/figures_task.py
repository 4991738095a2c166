"""Several solvers on one task, drawn from their stored metrics: how far from the best known, how fast, and on which instances."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from arena.errors import ArenaError
from arena.task import Task
from domains.combinatorial.figures_episode import number, percent
from domains.combinatorial.figures_style import GREY, Floats, blank, look
from domains.combinatorial.kernel import Combinatorial

Agents = Mapping[str, Mapping[str, Floats]]
ROWS = 300  # instances in the table; of more, those with the largest gaps
COLUMNS = 6  # agents in the table


def draw_task(task: Task, agents: Agents) -> dict[str, go.Figure]:
    """Figures of several agents by name: `gap`, `instances`; `time` where their decision time is among the metrics.

    agents: name -> metric -> float64 [n]; NaN where the scenario failed. `seconds`, if there, is the decision time per instance.
    Raises ArenaError `figure.metrics` for other lengths.
    """
    for name, metrics in agents.items():
        for metric, vector in metrics.items():
            if np.shape(vector) != (task.n,):
                hint = f"{task.id} has {task.n} scenarios: give vectors of that length"
                raise ArenaError("figure.metrics", f"{name}: {metric} has shape {np.shape(vector)}", hint)
    figures = {"gap": gap(agents), "instances": table(task, agents)}
    timed = {name: metrics for name, metrics in agents.items() if "seconds" in metrics}
    return {**figures, "time": gap_over_time(timed)} if timed else figures


def gap(agents: Agents) -> go.Figure:
    """Boxes of every agent's gaps with their mean, best agent on top: the box holds half of the instances, the line in it is the median."""
    ordered = sorted(agents, key=lambda name: _mean(agents[name]["gap"]))
    said = [f"{name} {percent(_mean(agents[name]['gap']))}" for name in ordered]
    figure = blank(f"mean gap to the best solution known: {', '.join(said)}", height=130 + 46 * max(len(ordered), 2))
    for kind, name in enumerate(ordered):
        colour, symbol, _ = look(kind)
        failed = int(np.isnan(agents[name]["gap"]).sum())
        gaps = agents[name]["gap"][np.isfinite(agents[name]["gap"])]
        label = f"{name}<br>mean {percent(_mean(gaps))}" + (f", {failed} failed" if failed else "")
        figure.add_trace(go.Box(
            x=gaps, y=[label] * len(gaps), name=name, orientation="h", boxmean=True, boxpoints="outliers", showlegend=False,
            fillcolor="rgba(0, 0, 0, 0)", marker={"color": colour, "symbol": symbol, "size": 5}, line={"color": colour, "width": 1.5},
        ))  # fmt: skip
    figure.add_vline(0, line={"color": GREY, "dash": "dash"})
    figure.update_xaxes(title="gap (%)")
    figure.update_yaxes(title="agent", type="category", autorange="reversed", automargin=True)
    return figure


def gap_over_time(agents: Agents) -> go.Figure:
    """Each agent's mean gap over its mean decision time per instance, with the front of those that nobody beats in both."""
    points = {name: (_mean(metrics["seconds"]), _mean(metrics["gap"])) for name, metrics in agents.items()}
    points = {name: point for name, point in points.items() if np.isfinite(point).all() and point[0] > 0}
    front: list[tuple[float, float]] = []
    for point in sorted(points.values()):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    said = [f"{name} {percent(y)} in {x:.3g} s" for name, (x, y) in points.items()]
    figure = blank(f"mean gap over decision time per instance: {', '.join(said)}", height=460)
    if front:
        x, y = np.array(front).T
        figure.add_scatter(x=x, y=y, name="best for its time", mode="lines", line={"color": GREY, "dash": "dash", "width": 1.5, "shape": "hv"})
    for kind, (name, (x, y)) in enumerate(points.items()):
        colour, symbol, _ = look(kind)
        figure.add_scatter(
            x=[x], y=[y], name=name, mode="markers", marker={"color": colour, "symbol": symbol, "size": 11},
            hovertemplate=f"{name}: {percent(y)} in {x:.3g} s<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="decision time per instance (s)", type="log")
    figure.update_yaxes(title="mean gap (%)")
    figure.update_layout(margin={"b": 70 + 11 * len(points)})
    return figure


def table(task: Task, agents: Agents) -> go.Figure:
    """A row per instance: nodes, best known, and what each agent came to with its gap. Best agents first; those beyond `COLUMNS` left out."""
    domain = task.domain
    assert isinstance(domain, Combinatorial)
    shown = sorted(agents, key=lambda name: _mean(agents[name]["gap"]))[:COLUMNS]
    rows, figure_of = np.arange(task.n), "value" if domain.maximise else "cost"
    if task.n > ROWS:
        worst = np.nan_to_num(np.array([agents[name]["gap"] for name in shown]), nan=1e9).mean(0)
        rows = np.sort(np.argsort(-worst, kind="stable")[:ROWS])
    best = np.concatenate([part.best.numpy() for part in task.parts])  # type: ignore[attr-defined]
    size = np.concatenate([part.size.numpy() for part in task.parts])  # type: ignore[attr-defined]
    names = list(task.config.get("instances", range(task.n)))
    cells = [[str(names[row]) for row in rows], [f"{size[row]:,}" for row in rows], [number(best[row]) for row in rows]]
    for name in shown:
        metrics = agents[name]
        cells.append([_cell(metrics[figure_of][row], metrics["gap"][row]) for row in rows])
    left = f" the {ROWS} with the largest gaps of {task.n:,} instances;" if len(rows) < task.n else ""
    figure = blank(f"{figure_of} and gap of {', '.join(shown)} on each instance;{left} nodes and the best value known beside them", height=520)
    head = ["instance", "items" if domain.problem == "kp" else "nodes", "best known", *shown]
    style = {"fill_color": "rgba(0, 0, 0, 0)", "line_color": "rgba(128, 128, 128, 0.35)", "font": {"size": 11}}
    titles = [f"<b>{title.replace('(', '<br>(')}</b>" for title in head]
    sides = ["left", *["right"] * (len(head) - 1)]
    figure.add_table(header={"values": titles, "align": "left", **style}, cells={"values": cells, "height": 40, "align": sides, **style})
    figure.update_layout(margin={"l": 5, "r": 5, "t": 10, "b": 10})
    return figure


def _cell(cost: float, gap: float) -> str:
    return "failed" if not np.isfinite(cost) else f"{number(cost)}<br>{percent(gap)}"


def _mean(vector: Floats) -> float:
    """The mean of what was played; infinite where all failed, so that such an agent comes last."""
    played = vector[np.isfinite(vector)]
    return float(played.mean()) if len(played) else float("inf")
