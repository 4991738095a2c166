"""Several agents on one task, drawn from their stored metrics: scores by group, habits, what words change, people beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from arena.errors import ArenaError
from arena.scoring import mean_draws
from arena.settings import data_root
from arena.task import Task
from domains.repeated_games.figures_parts import Dots, bars, dots, said
from domains.repeated_games.figures_style import GREY, Floats, blank, look
from domains.repeated_games.games import FAMILIES
from domains.repeated_games.recorded_people import People, load_people

Agents = Mapping[str, Mapping[str, Floats]]
FINGERPRINT = {"P(C | CC)": "after_cc", "P(C | CD)": "after_cd", "P(C | DC)": "after_dc", "P(C | DD)": "after_dd"}
HABITS = {
    "cooperates": "cooperation",
    "opens with C": "first_move",
    "is not first to defect": "nice",
    "unforgiving to defect-once": "unforgiving",
    "alternates": "alternates",
}
# figures of a task by its name: what is drawn for every group of its scenarios
BY_GROUP = {
    "pd-unforgiving": {"wording": ("cooperation", "P(C) in this wording"), "defect-once": ("unforgiving", "P(D) after one defection, rounds 3 on")},
    "bos-alternation": {"alternation": ("alternates", "share of coordinated pairs of rounds that switch cell")},
}


def draw_task(task: Task, agents: Agents) -> dict[str, go.Figure]:
    """Figures of several agents by name: `groups`; `fingerprints` and `habits` where cooperation has a meaning; more in the tasks of BY_GROUP;
    `people` in replay-v1. agents: name -> metric -> float64 [n]; NaN where the scenario failed

    Raises ArenaError `figure.metrics` for other lengths, and for cross-play, whose matches the page of games shows.
    """
    if "return_row" in {m.name for m in task.domain.metrics_spec}:
        raise ArenaError("figure.metrics", f"{task.id} seats two agents", "its figures are the payoff matrix and the ratings: page Games")
    for name, metrics in agents.items():
        for metric, vector in metrics.items():
            if np.shape(vector) != (task.n,):
                hint = f"{task.id} has {task.n} scenarios: give vectors of that length"
                raise ArenaError("figure.metrics", f"{name}: {metric} has shape {np.shape(vector)}", hint)
    figures = {"groups": by_group(task, agents)}
    for title, rows, axis in (("fingerprints", FINGERPRINT, "P(C) after a round, own action first"), ("habits", HABITS, "rate")):
        drawn = rates(task, agents, rows, axis)
        figures |= {title: drawn} if drawn is not None else {}
    short = task.id.split("/")[-1].rpartition("-v")[0]
    for title, (metric, axis) in BY_GROUP.get(short, {}).items():
        figures[title] = grouped(task, agents, metric, axis)
    if short == "replay":
        figures["people"] = beside_people(task, agents, load_people(data_root()))
    return figures


def scores(task: Task, metrics: Mapping[str, Floats]) -> Floats:
    """[n] the scores as the task counts them, the floor where it failed."""
    if "score" in metrics:
        return metrics["score"]
    low, high = task.vectors["ref0"], task.vectors["ref1"]
    return np.nan_to_num((metrics["return"] - low) / (high - low), nan=task.floor)


def ratios(task: Task, counts: Sequence[tuple[Floats, Floats]]) -> Floats:
    """[K, 3] pooled ratios of counts (happened [n], of [n]) with the ends of their 95 % intervals by the task's own draws of its scenarios.

    What is NaN counts for nothing; the ratio of nothing is NaN.
    """
    columns = np.array([np.where(np.isfinite(a) & np.isfinite(b), (a, b), 0.0) for a, b in counts])  # [K, 2, n]
    n = columns.shape[2]
    drawn = mean_draws(columns.reshape(1, -1, n).transpose(0, 2, 1), task_digest=task.digest, clusters=task.vectors.get("cluster"))
    drawn = drawn.reshape(len(drawn), -1, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = columns[:, 0].sum(1) / columns[:, 1].sum(1)
        each = drawn[..., 0] / drawn[..., 1]
    found = np.full((len(value), 3), np.nan)
    for k in np.flatnonzero(np.isfinite(value)):
        draws = each[np.isfinite(each[:, k]), k]
        found[k] = value[k], *np.percentile(draws, [2.5, 97.5])
    return found


def _groups(task: Task) -> tuple[list[str], NDArray[np.intp]]:
    """Names of the groups of scenarios, families in their usual order, and the group [n] of each."""
    place = task.vectors["group"].astype(int)
    names = list(task.groups)
    order = sorted(range(len(names)), key=lambda k: FAMILIES.index(names[k]) if names[k] in FAMILIES else k)
    where = np.empty(len(names), int)
    where[order] = np.arange(len(names))
    return [names[k] for k in order], where[place]


def by_group(task: Task, agents: Agents) -> go.Figure:
    """Mean score of each agent in each group (family of games, wording, tremble) with its interval, as bars; all together on top."""
    names, place = _groups(task)
    parts = np.array([np.ones(task.n), *(place == k for k in range(len(names)))], np.float64)
    values = {name: ratios(task, [(scores(task, metrics) * part, part) for part in parts]) for name, metrics in agents.items()}
    rows = [f"all ({task.n:,})", *(f"{name} ({int((place == k).sum()):,})" for k, name in enumerate(names))]
    alt = f"mean score by group of matches; over all: {said({name: row[0, 0] for name, row in values.items()})}"
    lines = ((0.0, "0: random"), (1.0, "1: best reply"))
    return bars(Dots(rows, values, "score (95 % interval)", None, lines), alt)


def rates(task: Task, agents: Agents, rows: Mapping[str, str], axis: str) -> go.Figure | None:
    """Rates of behaviour (metrics.RATES) of each agent over all its matches; None where no match gave occasion."""
    values = {name: ratios(task, [_counts(metrics, rate) for rate in rows.values()]) for name, metrics in agents.items()}
    kept = [k for k in range(len(rows)) if any(np.isfinite(value[k, 0]) for value in values.values())]
    if not kept or not np.isfinite([value[0, 0] for value in values.values()]).any():
        return None
    names = [name for k, name in enumerate(rows) if k in kept]
    values = {name: value[kept] for name, value in values.items()}
    parts = [f"{name}: {said(dict(zip(names, value[:, 0], strict=True)))}" for name, value in values.items()]
    return dots(Dots(names, values, axis), f"{axis}; {'; '.join(parts)}")


def grouped(task: Task, agents: Agents, rate: str, axis: str) -> go.Figure:
    """One rate of behaviour in every group of scenarios."""
    names, place = _groups(task)
    members = [place == k for k in range(len(names))]
    values = {}
    for name, metrics in agents.items():
        happened, of = _counts(metrics, rate)
        values[name] = ratios(task, [(np.where(member, happened, 0.0), np.where(member, of, 0.0)) for member in members])
    parts = [f"{name}: {said(dict(zip(names, value[:, 0], strict=True)))}" for name, value in values.items()]
    return dots(Dots(names, values, axis), f"{axis}; {'; '.join(parts)}")


def _counts(metrics: Mapping[str, Floats], rate: str) -> tuple[Floats, Floats]:
    return metrics[rate], metrics[f"{rate}_of"]


# ---- people ---------------------------------------------------------------------------------------------------------------


def beside_people(task: Task, agents: Agents, people: People) -> go.Figure:
    """Points per round in the place of the people who played the same recorded GPT-4: their mean with its 95 % interval, their quartiles, the agents.

    The matches of replay-v1 are PD and BoS, each against base GPT-4 and against the one that predicts first.
    """
    cells = [("prisoner's dilemma", 0, False), ("prisoner's dilemma", 0, True), ("battle of the sexes", 1, False), ("battle of the sexes", 1, True)]
    rows = [f"{game}<br>against {'SCoT' if scot else 'base'} GPT-4" for game, _, scot in cells]
    figure = blank("", 470)
    spoken = []
    for k, (_, game, scot) in enumerate(cells):
        points = people.points[people.scot == scot, game].mean(1)
        mean, error = float(points.mean()), 1.96 * float(points.std(ddof=1) / np.sqrt(len(points)))
        low, middle, high = np.quantile(points, [0.25, 0.5, 0.75])
        shared = {"showlegend": k == 0, "y": [k], "hoverinfo": "text"}
        words = f"{len(points)} people: mean {mean:.3f} ± {error:.3f}, quartiles {low:.2f}, {middle:.2f}, {high:.2f}"
        figure.add_bar(
            x=[high - low], base=[low], name="middle half of the people", orientation="h", width=0.62, hovertext=words,
            marker={"color": "rgba(128, 128, 128, 0.25)"}, **shared,
        )  # fmt: skip
        figure.add_scatter(
            x=[mean], name="people: mean (95 %)", mode="markers", marker={"symbol": "line-ns-open", "size": 26, "color": GREY, "line": {"width": 3}},
            error_x={"type": "data", "array": [error], "thickness": 2, "width": 6}, hovertext=words, **shared,
        )  # fmt: skip
        spoken.append(f"{rows[k].replace('<br>', ' ')}: people {mean:.3f}")
    for kind, (name, metrics) in enumerate(agents.items()):
        style, each = look(kind), metrics["return"] / task.domain.horizon
        offset = 0.24 * (2 * kind / max(len(agents) - 1, 1) - 1) if len(agents) > 1 else 0.0
        figure.add_scatter(
            x=each, y=np.arange(len(cells)) + offset, name=name, mode="markers",
            marker={"color": style["colour"], "symbol": style["symbol"], "size": 10},
            hovertext=[f"{name}: {value:.2f} points per round" for value in each], hoverinfo="text",
        )  # fmt: skip
        spoken.append(f"{name} {', '.join(f'{value:.2f}' for value in each)}")
    figure.update_layout(barmode="overlay", meta={"alt": f"points per round; {'; '.join(spoken)}"}, margin={"b": 100})
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=rows, range=[len(rows) - 0.5, -0.5], showgrid=False)
    figure.update_xaxes(title="points per round")
    return figure
