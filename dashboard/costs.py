"""What agents tell of their cost (language models: tokens, money) beside their score, for the Leaderboard; nothing where no run tells any."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from arena.cli.output import figure as three_digits
from arena.store import Store
from dashboard import elements, style
from dashboard.reading import FRESH, pick

UNITS = {"money": "money per 1,000 decisions", "tokens": "tokens per decision"}
FREE = 20  # agents without cost that are drawn, the best ones
NAMED = 6  # agents with a cost up to which each is named in the legend; of more, the best for their cost


@st.cache_data(ttl=FRESH, max_entries=64, show_spinner=False)
def told(_store: Store, state: str, task_id: int, names: tuple[str, ...]) -> pd.DataFrame:
    """What agents of a board (of the tasks `names`) told of the runs behind it: `money` (of a price table) and `tokens` (in and out), as in UNITS.

    One row per agent that told of any usage, its number the index; NaN what it did not tell.
    """
    usages = _store.usages(names)
    behind = {(line["agent_id"], run) for line in (_store.board(task_id) if usages else ()) for run in line["run_set"]}
    spent: dict[int, dict[str, np.ndarray]] = {}  # agent -> unit -> amount, decisions
    for entry in usages:
        if (entry["agent_id"], entry["run_id"]) in behind and entry["decisions"]:
            mine = spent.setdefault(entry["agent_id"], {})
            for unit, amount in amounts(entry["usage"]).items():
                mine[unit] = mine.get(unit, np.zeros(2)) + (amount, entry["decisions"])
    per = {"money": 1000, "tokens": 1}
    rows = {agent: {unit: per[unit] * amount / decisions for unit, (amount, decisions) in units.items()} for agent, units in spent.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(UNITS), dtype=float)


def amounts(usage: dict[str, float]) -> dict[str, float]:
    """Money and tokens of an entry, as far as it tells them."""
    tokens = [usage[name] for name in ("input_tokens", "output_tokens") if name in usage]
    found = {"tokens": sum(tokens)} if tokens else {}
    if "money" in usage and not usage.get("unpriced"):  # else a part was paid before there was a price: how much it was is not known
        found["money"] = usage["money"]
    return found


def priced(board: pd.DataFrame, costs: pd.DataFrame, unit: str) -> pd.DataFrame:
    """The board's agents with `cost` in this unit, 0 for those that tell of no usage at all; without those that told of some, but not in it.
    `best`: no other agent has a score as high at a lower cost, nor a higher one at the same.
    """
    cost = board["agent_id"].map(costs[unit])
    frame = board.assign(cost=cost.mask(~board["agent_id"].isin(costs.index), 0.0)).dropna(subset="cost")
    cheapest = frame.sort_values(["cost", "score"], ascending=[True, False])
    before = cheapest["score"].cummax().shift(fill_value=-np.inf)
    return frame.assign(best=cheapest["score"] > before)


def figure(frame: pd.DataFrame, unit: str) -> go.Figure:
    """Score with its interval against cost (logarithmic), what costs nothing side by side at the left; the line joins the best for their cost.
    Agents with a cost and the best without one are in the legend by name, the others by their nature, hollow.

    frame: of `priced`, with a cost above 0 in it. Places are log10 of the cost, for a logarithmic axis has no 0.
    """
    paid, free = frame[frame["cost"] > 0], frame[frame["cost"] == 0].nlargest(FREE, "score")[::-1]
    ends = np.log10([paid["cost"].min(), paid["cost"].max()])
    wide = max(float(np.ptp(ends)), 0.5)
    low, high = ends.mean() - wide / 2, ends.mean() + wide / 2
    edge, left, right = low - 0.15 * wide, low - (0.6 if len(free) else 0.15) * wide, high + 0.15 * wide
    spread = left + (edge - left) * (np.arange(len(free)) + 0.5) / max(len(free), 1)
    shown = pd.concat([free.assign(place=spread), paid.assign(place=np.log10(paid["cost"]))])
    own = pd.concat([paid if len(paid) <= NAMED else paid[paid["best"]].head(NAMED), free.tail(1)])
    drawn = style.figure(height=440 + 20 * len(own))
    best = shown[shown["best"]].sort_values("place")
    drawn.add_trace(
        go.Scatter(
            x=[*best["place"], right], y=[*best["score"], best["score"].iloc[-1]], name="best for their cost", mode="lines", hoverinfo="skip",
            line={"color": style.GREY, "dash": "dash", "shape": "hv", "width": 1.5},
        )
    )  # fmt: skip
    others = shown[~shown["agent_id"].isin(own["agent_id"])]
    parts = [(str(nature), f"{style.nature(str(nature)).symbol}-open", rows) for nature, rows in others.groupby("nature", sort=False)]
    singles = [shown[shown["agent_id"] == agent] for agent in own["agent_id"]]
    symbols = [*style.SYMBOLS[1 : 1 + len(own) - len(free.tail(1))], style.SYMBOLS[-1]]
    parts += [(style.axis_label(rows["agent"].iloc[0], 24), symbol, rows) for symbol, rows in zip(symbols, singles, strict=False)]
    for name, symbol, rows in parts:
        words = ["none told" if cost == 0 else f"{three_digits(cost)} {UNITS[unit]}" for cost in rows["cost"]]
        names = [style.axis_label(agent, 80) for agent in rows["agent"]]
        drawn.add_trace(
            go.Scatter(
                x=rows["place"], y=rows["score"], name=name, mode="markers",
                marker={"color": style.nature(str(rows["nature"].iloc[0])).colour, "symbol": symbol, "size": 10},
                error_y={"type": "data", "array": rows["hi"] - rows["score"], "arrayminus": rows["score"] - rows["lo"], "thickness": 1.5, "width": 3},
                customdata=list(zip(names, rows["lo"], rows["hi"], words, strict=True)),
                hovertemplate="%{customdata[0]}<br>score %{y:.4f} [%{customdata[1]:.4f}, %{customdata[2]:.4f}]<br>%{customdata[3]}<extra></extra>",
            )
        )  # fmt: skip
    places = ticks(low - 0.1 * wide, high + 0.1 * wide)
    text = [three_digits(float(10**place)) for place in places]
    if len(free):
        drawn.add_vline(edge, line={"color": style.GREY, "width": 1})
        places, text = [(left + edge) / 2, *places], ["none told", *text]
    drawn.update_xaxes(title=UNITS[unit], tickvals=places, ticktext=text, range=[left, right])
    drawn.update_yaxes(title="score (95 % interval)")
    return drawn


def ticks(low: float, high: float) -> list[float]:
    """Places (log10) of round costs from `low` to `high`: the powers of ten, and the fewer they are, the more between them."""
    between = (1,) if high - low > 2.5 else (1, 2, 5) if high - low > 1 else (1, 1.5, 2, 3, 4, 5, 7)
    every = [decade + np.log10(step) for decade in range(int(np.floor(low)), int(np.ceil(high)) + 1) for step in between]
    return [float(place) for place in every if low <= place <= high]


def section(board: pd.DataFrame, costs: pd.DataFrame, file: str) -> None:
    """Score against cost, where some agent of the board told of a cost above 0. board: the table of the page, whole"""
    units = [unit for unit in UNITS if (costs[unit] > 0).any()]
    if not units:
        return
    st.subheader("Score against cost")
    units.sort(key=lambda unit: int(costs[unit].isna().sum()))  # first what more agents tell; money, where both are told
    unit = pick("Cost", units, "cost") if len(units) > 1 else units[0]
    frame = priced(board, costs, unit)
    lacking = board[~board["agent_id"].isin(frame["agent_id"])]
    free = int((frame["cost"] == 0).sum())
    words = ["What agents tell of the runs behind the board. The dashed line joins those that no other one beats in both."]
    words += [f"At the left {said(free)} of no usage."] if free else []
    words += ["Money by the price table of the run."] if unit == "money" else ["Tokens of questions and answers together."]
    st.caption(" ".join(words))
    if len(lacking):
        st.caption(f"Left out, for they told no {unit}: {', '.join(elements.name(style.short(name)) for name in lacking['agent'])}")
    names = ", ".join(frame.sort_values(["cost", "score"]).loc[lambda found: found["best"], "agent"].head(8))
    twin = frame.assign(best=np.where(frame["best"], "✓", "")).sort_values(["cost", "score"], ascending=[True, False])
    twin = twin[["agent", "nature", "cost", "score", "lo", "hi", "best"]]
    looks: dict[str, Any] = {"cost": style.figure_column(UNITS[unit]), "best": st.column_config.TextColumn("best for its cost")}
    looks |= {name: style.score_column() for name in ("score", "lo", "hi")}
    alt = f"Score against {UNITS[unit]} of {len(frame)} agents; best for their cost: {names}"
    elements.chart(figure(frame, unit), alt, f"{file}-cost", "costs", twin, looks)


def said(free: int) -> str:
    if free > FREE:
        return f"the best {FREE} of the {free} agents that tell"
    return "the agent that tells" if free == 1 else f"the {free} agents that tell"
