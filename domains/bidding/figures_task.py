"""Several bidders on one task, drawn from their stored metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from arena.errors import ArenaError
from arena.scoring import interval, mean_draws
from arena.task import Task
from domains.bidding.figures_style import GREY, line, look, marks, panels, thinned
from domains.bidding.history import Floats
from domains.bidding.kernel import Auctions, Bidding

MOST_LEVELS = 8  # budget levels shown one by one; a task with more is cut into four classes of equal size
Agents = Mapping[str, Mapping[str, Floats]]


def draw_task(task: Task, agents: Agents) -> dict[str, go.Figure]:
    """Figures of several agents by name: `value`, `panels`, `differences` (two agents and more), `early_stop`.

    agents: name -> metric -> float64 [n]; NaN where the scenario failed. Raises ArenaError `figure.metrics` for other lengths.
    """
    for name, metrics in agents.items():
        for metric, vector in metrics.items():
            if np.shape(vector) != (task.n,):
                hint = f"{task.id} has {task.n} scenarios: give vectors of that length"
                raise ArenaError("figure.metrics", f"{name}: {metric} has shape {np.shape(vector)}", hint)
    figures = {"value": value(task, agents), "panels": four_panels(task, agents), "early_stop": early_stop(agents)}
    if len(agents) > 1:
        figures["differences"] = differences(task, agents)
    return figures


def budget_levels(task: Task) -> tuple[list[str], NDArray[np.intp]]:
    """Labels of the budget levels from low to high, and the level [n] of each scenario."""
    scenario = task.scenarios
    assert isinstance(scenario, Auctions)
    c0 = scenario.c0.numpy()
    found, level = np.unique(c0, return_inverse=True)
    if len(found) <= MOST_LEVELS:
        return [f"1/{1 / share:g}" if share < 1 else f"{share:g}" for share in found], level
    edges = np.quantile(c0, [0, 0.25, 0.5, 0.75, 1])
    labels = [f"{low:.2g} to {high:.2g}" for low, high in zip(edges, edges[1:], strict=False)]
    return labels, np.searchsorted(edges[1:-1], c0, side="right")


def _by_level(vector: Floats, level: NDArray[np.intp], count: int) -> Iterator[Floats]:
    for which in range(count):
        rows = vector[level == which]
        yield rows[np.isfinite(rows)]


def _ratio(task: Task, metrics: Mapping[str, Floats]) -> Floats:
    """[n] value won / clairvoyant bound."""
    scenario = task.scenarios
    assert isinstance(scenario, Auctions)
    return metrics["ratio"] if "ratio" in metrics else metrics["value"] / scenario.bound.numpy()


def _name(name: str, vector: Floats) -> str:
    failed = int(np.isnan(vector).sum())
    return f"{name} ({failed} failed, left out)" if failed else name


def value(task: Task, agents: Agents) -> go.Figure:
    """Mean value ratio of each agent at each budget level with 1.96 standard errors, below the bound and the stochastic optimum."""
    labels, level = budget_levels(task)
    figure = panels(("",), alt=f"value won over the clairvoyant bound of {len(agents)} agents at budget levels {', '.join(labels)}")
    above = {"clairvoyant bound": ([1.0] * len(labels), "dash")}
    if "stochastic" in task.vectors:
        expected = [float(rows.mean()) for rows in _by_level(task.vectors["stochastic"], level, len(labels))]
        above["best without foresight (joint DP)"] = (expected, "dot")
    for name, (curve, dash) in above.items():
        figure.add_trace(line(labels, curve, name, GREY, dash, offsetgroup="0"))
        if len(labels) == 1:  # no line joins one point
            figure.add_hline(curve[0], line={"color": GREY, "dash": dash, "width": 2})
    for kind, (name, metrics) in enumerate(agents.items()):
        ratio, style = _ratio(task, metrics), look(kind)
        groups = list(_by_level(ratio, level, len(labels)))
        mean = [float(rows.mean()) if len(rows) else np.nan for rows in groups]
        error = [1.96 * float(rows.std(ddof=1)) / len(rows) ** 0.5 if len(rows) > 1 else np.nan for rows in groups]
        figure.add_trace(go.Scatter(
            x=labels, y=mean, name=_name(name, ratio), mode="lines+markers", error_y={"array": error, "thickness": 1}, offsetgroup=str(kind),
            line={"color": style["colour"], "dash": style["dash"]}, marker={"symbol": style["symbol"], "size": 8},
        ))  # fmt: skip
    figure.update_xaxes(title="budget level c0<br>(share of the cost of winning everything)", type="category")
    figure.update_yaxes(title="value / bound (mean, 95 %)", rangemode="tozero")
    figure.update_layout(height=480, scattermode="group", scattergap=0.4)  # side by side, where a level is
    return figure


def four_panels(task: Task, agents: Agents) -> go.Figure:
    """Clicks, win rate, CPM and eCPC over the budget level, as the RLB paper shows them: ratios of sums, not means of ratios."""
    labels, level = budget_levels(task)
    titles = ("clicks", "win rate", "CPM", "eCPC")
    alt = f"clicks, win rate, CPM and eCPC of {len(agents)} agents at budget levels {', '.join(labels)}"
    figure = panels(titles, 2, alt, vertical_spacing=0.16, horizontal_spacing=0.26)
    for kind, (name, metrics) in enumerate(agents.items()):
        style = look(kind)
        curves = level_totals(task, metrics, level, len(labels))
        for place, title in enumerate(titles):
            figure.add_trace(go.Scatter(
                x=labels, y=curves[title], name=name, legendgroup=name, showlegend=place == 0, mode="lines+markers",
                line={"color": style["colour"], "dash": style["dash"]}, marker={"symbol": style["symbol"], "size": 7},
            ), place // 2 + 1, place % 2 + 1)  # fmt: skip
    for place, unit in enumerate(("clicks", "share of auctions", "CPM units", "currency per click")):
        figure.update_yaxes(title=unit, rangemode="tozero", row=place // 2 + 1, col=place % 2 + 1)
        figure.update_xaxes(title="c0" if place > 1 else None, type="category", row=place // 2 + 1, col=place % 2 + 1)
    return figure.update_layout(scattermode="group", scattergap=0.4)


def level_totals(task: Task, metrics: Mapping[str, Floats], level: NDArray[np.intp], count: int) -> dict[str, Floats]:
    """Per budget level [count]: clicks, wins / auctions, money / wins in CPM units, money / 1000 / clicks; NaN where nothing was won or clicked."""
    scenario = task.scenarios
    assert isinstance(scenario, Auctions) and isinstance(task.domain, Bidding)
    auctions = scenario.size.sum(1).double().numpy()
    played = np.isfinite(metrics["clicks"])

    def total(vector: Floats) -> Floats:
        return np.bincount(level[played], weights=vector[played], minlength=count)

    clicks, wins = total(metrics["clicks"]), total(metrics["win_rate"] * auctions)
    money = total(metrics["spend_ratio"] * scenario.budget.numpy())
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {"clicks": clicks, "win rate": wins / total(auctions), "CPM": money / wins, "eCPC": money / 1000 / clicks}
    return {name: np.where(np.isfinite(curve), curve, np.nan) for name, curve in found.items()}


def differences(task: Task, agents: Agents) -> go.Figure:
    """The leader against every other agent, scenario by scenario: sorted differences of the value ratio, and their mean with its interval.

    A scenario that one of the two failed is left out of the pair. Intervals are the platform's bootstrap, same draws for all pairs.
    """
    ratio = {name: _ratio(task, metrics) for name, metrics in agents.items()}
    leader = max(ratio, key=lambda name: float(np.nan_to_num(ratio[name]).mean()))
    others = [name for name in ratio if name != leader]
    titles = (f"{leader} minus another, per scenario", "mean and 95 % interval")
    figure = panels(titles, 2, f"{leader} compared with {len(others)} agents", vertical_spacing=0.2)
    clusters = task.vectors.get("cluster")
    for kind, name in enumerate(others):
        style, gap = look(kind), ratio[leader] - ratio[name]
        both = np.isfinite(gap)
        if not both.any():
            continue
        ordered = np.sort(gap[both])
        shown = thinned(len(ordered), 500)
        figure.add_trace(line(shown / max(len(ordered) - 1, 1), ordered[shown], name, style["colour"], style["dash"], legendgroup=name), 1, 1)
        mean, lo, hi = paired_interval(gap[both], task.digest, None if clusters is None else clusters[both])
        error = {"type": "data", "array": [hi - mean], "arrayminus": [mean - lo]}
        figure.add_trace(marks([mean], [name], name, style["colour"], style["symbol"], 9, error_x=error, legendgroup=name, showlegend=False), 2, 1)
    figure.add_hline(0, line={"color": GREY, "dash": "dash"}, row=1, col=1)
    figure.add_vline(0, line={"color": GREY, "dash": "dash"}, row=2, col=1)
    figure.update_xaxes(title="share of scenarios", row=1, col=1)
    figure.update_yaxes(title="difference of value / bound", row=1, col=1)
    figure.update_xaxes(title="mean difference of value / bound", row=2, col=1)
    figure.update_yaxes(type="category", autorange="reversed", automargin=True, row=2, col=1)
    figure.update_layout(height=560 + 24 * len(others))
    return figure


def paired_interval(gap: Floats, task_digest: str, clusters: Floats | None = None) -> tuple[float, float, float]:
    """Mean of differences [n] with its 95 % bootstrap interval."""
    draws = mean_draws(gap[None, :, None], task_digest=task_digest, clusters=clusters)[:, 0]
    return float(gap.mean()), *interval(draws)


def early_stop(agents: Agents) -> go.Figure:
    """How long the agents stood without money: share of scenarios by the share of the episode held below the 5 % price quantile."""
    edges = np.linspace(0, 1, 21)
    figure = panels(("",), alt=f"share of the episode without money, {len(agents)} agents")
    for kind, (name, metrics) in enumerate(agents.items()):
        style, share = look(kind), metrics["early_stop"][np.isfinite(metrics["early_stop"])]
        height = np.histogram(share, edges)[0] / max(len(share), 1)
        label = f"{name} (mean {share.mean():.2f})" if len(share) else f"{name} (all failed)"
        figure.add_trace(line(edges, np.r_[height, height[-1]], label, style["colour"], style["dash"], line_shape="hv"))
    figure.update_xaxes(title="share of the episode held without money", range=[0, 1])
    figure.update_yaxes(title="share of scenarios", rangemode="tozero")
    return figure


def value_heatmap(values: Floats, most: int = 250) -> go.Figure:
    """The value table V(t, b) [N+1, B+1] and D(t, b) = V(t, b+1) - V(t, b), at most `most` lines and columns of each.

    t auctions left, b CPM units of budget left; V in expected clicks. Raises ArenaError `figure.table` for anything but a table.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ArenaError("figure.table", f"a value table of shape {table.shape}", "expected [N+1, B+1] with N and B at least 1")
    t, b = thinned(table.shape[0], most), thinned(table.shape[1] - 1, most)
    titles = ("V(t, b): expected clicks", "D(t, b): worth of one more unit of budget")
    figure = panels(titles, 1, "value table over auctions and budget left", horizontal_spacing=0.22)
    for column, (name, z) in enumerate((("V", table[np.ix_(t, b)]), ("D", table[np.ix_(t, b + 1)] - table[np.ix_(t, b)])), 1):
        bar = {"title": "clicks" if name == "V" else "clicks per unit", "x": 0.4 if column == 1 else 1.01, "exponentformat": "power"}
        figure.add_trace(go.Heatmap(x=b, y=t, z=z, name=name, colorscale="Cividis", colorbar=bar), 1, column)
        figure.update_xaxes(title="budget left b (CPM units)", row=1, col=column)
        figure.update_yaxes(title="auctions left t" if column == 1 else None, row=1, col=column)
    figure.update_layout(showlegend=False)
    return figure
