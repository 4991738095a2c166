"""Games: agents against each other. Payoff matrix, means over the others, ratings; every cell leads to its runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from arena.cli.payoffs import read_payoffs
from arena.store import Store
from dashboard import elements, style
from dashboard.reading import FRESH, nothing_yet, pick, pick_many, reading

DRAWN = 30  # agents of a figure; the tables have all that are chosen
MOST = 100  # agents of a pool
WRITTEN = 14  # agents up to which every cell's score is written into it
COMMAND = "arena crossplay -t TASK -a AGENT -a AGENT"


@st.cache_data(ttl=FRESH, max_entries=32, show_spinner=False)
def loaded(_store: Store, state: str, task_id: int, agent_ids: tuple[int, ...]) -> dict[str, Any]:
    """The cross-play of a pool: agents, pairs, ratings (see `read_payoffs`)."""
    return read_payoffs(_store, task_id, agent_ids)


def square(found: dict[str, Any], key: str) -> np.ndarray:
    """A value of all pairs as [row, column], float64; NaN where there is none."""
    count = len(found["agents"])
    return np.array([np.nan if pair[key] is None else pair[key] for pair in found["pairs"]], float).reshape(count, count)


def heat(found: dict[str, Any]) -> go.Figure:
    """The payoff matrix, centred on the textbook's 0: blue is above it, red below, the diagonal is play against oneself."""
    count = min(len(found["agents"]), DRAWN)
    scores, low, high = (square(found, key)[:count, :count] for key in ("score", "lo", "hi"))
    names = [agent["label"] for agent in found["agents"][:count]]
    row, column = (style.axis_label(role) for role in found["roles"])
    most = float(np.nanmax(np.abs(scores))) if np.isfinite(scores).any() else 1.0
    words = np.array([["" if np.isnan(value) else f"{value:z.2f}" for value in line] for line in scores])
    told = [
        [
            f"{style.axis_label(names[i], 60)} as {row}<br>against {style.axis_label(names[j], 60)}<br>"
            + ("nothing yet" if np.isnan(scores[i, j]) else f"{scores[i, j]:+.4f} [{low[i, j]:+.4f}, {high[i, j]:+.4f}]")
            for j in range(count)
        ]
        for i in range(count)
    ]
    figure = style.figure(height=max(320, 170 + max(26, 44 - count) * count))
    place = np.arange(count)
    figure.add_trace(
        go.Heatmap(
            z=scores, x=place, y=place, zmin=-(most or 1.0), zmid=0, zmax=most or 1.0, colorscale=style.DIVERGING, xgap=1, ygap=1,
            hovertext=told, hoverinfo="text", hoverongaps=True,
            colorbar={"title": "score", "thickness": 12},
        )
    )  # fmt: skip
    if count <= WRITTEN:
        style.write(figure, words, -(most or 1.0), most or 1.0)
    labels = [style.axis_label(name, 16) for name in names]
    figure.update_xaxes(tickvals=place, ticktext=labels, side="top", showgrid=False, title=f"against this one as {column}", tickangle=-40)
    figure.update_yaxes(tickvals=place, ticktext=labels, range=[count - 0.5, -0.5], showgrid=False, title=f"this agent as {row}")
    figure.update_layout(margin={"t": 130, "b": 20})
    return figure


def forest(frame: pd.DataFrame, value: str, lo: str, hi: str, title: str, line: float, words: str) -> go.Figure:
    """A number of each agent with its 95 % interval, in the order of the frame."""
    figure = style.figure(height=150 + 26 * len(frame))
    place = np.arange(len(frame))
    for nature, rows in frame.assign(place=place).groupby("nature", sort=False):
        look = style.nature(str(nature))
        figure.add_trace(
            go.Scatter(
                x=rows[value], y=rows["place"], name=str(nature), mode="markers", marker={"color": look.colour, "symbol": look.symbol, "size": 9},
                error_x={"type": "data", "array": rows[hi] - rows[value], "arrayminus": rows[value] - rows[lo], "thickness": 1.5},
                customdata=[(style.axis_label(name, 80), a, b) for name, a, b in zip(rows["agent"], rows[lo], rows[hi], strict=True)],
                hovertemplate="%{customdata[0]}<br>%{x:.5g} [%{customdata[1]:.5g}, %{customdata[2]:.5g}]<extra></extra>",
            )
        )  # fmt: skip
    style.line_at(figure, line, words)
    figure.update_xaxes(title=title)
    names = [style.axis_label(name, 26) for name in frame["agent"]]
    figure.update_yaxes(tickvals=place, ticktext=names, range=[len(frame) - 0.4, -0.6], showgrid=False)
    if frame["nature"].nunique() < 2:
        figure.update_layout(margin={"b": 50})  # there is no legend
    return figure


def of_agents(found: dict[str, Any]) -> pd.DataFrame:
    """The agents, highest mean first."""
    rows = [
        {
            "agent": a["label"], "nature": a["nature"], "mean": a["mean"], "lo": a["lo"], "hi": a["hi"], "against itself": a["self_play"],
            "rating": a["rating"], "rating lo": a["rating_lo"], "rating hi": a["rating_hi"], "matches": a["games"],
            "notes": "retired" if a["retired"] else "", "page": elements.href("agent", id=f"{a['agent']}@{a['version']}"),
        }
        for a in found["agents"]
    ]  # fmt: skip
    numbers = ("mean", "lo", "hi", "against itself", "rating", "rating lo", "rating hi")
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, float))


def of_pairs(found: dict[str, Any]) -> pd.DataFrame:
    """The ordered pairs, in the order of the matrix."""
    rows = [
        {
            "row": p["row"], "column": p["column"], "score": p["score"], "lo": p["lo"], "hi": p["hi"], "matches": p["matches"], "failed": p["failed"],
            "void": p["void"], "runs": len(p["runs"]) - p["unfinished"], "unfinished": p["unfinished"], "verified": "✓" if p["verified"] else "",
            "run": elements.href("run", id=p["runs"][-1]) if p["runs"] else None,
        }
        for p in found["pairs"]
    ]  # fmt: skip
    return pd.DataFrame(rows).astype(dict.fromkeys(("score", "lo", "hi"), float))


st.title("Games")
with reading() as store:
    tasks = {task["name"]: task for task in store.tasks() if task["config"].get("crossplay")}
    if not tasks:
        nothing_yet("No agents have met yet: there is no task of two roles here.", COMMAND)
        st.stop()
    order = sorted(tasks, key=lambda name: (tasks[name]["domain"], name))
    chosen = tasks[pick("Task", order, "task", {str(task["id"]): name for name, task in tasks.items()})]
    name, roles = chosen["name"], chosen["config"]["crossplay"]["roles"]
    matches = store.matches(chosen["id"], roles)
    met = store.agent_rows({m[key] for m in matches for key in ("row_id", "column_id")})
    if not met:
        nothing_yet("No agents have met on this task yet.", COMMAND.replace("TASK", name))
        st.stop()
    several = pd.Series([agent.name for agent in met.values()]).value_counts()
    named = {a.reference if several[a.name] > 1 or a.version > 1 else a.name: a.id for a in sorted(met.values(), key=lambda a: (a.name, a.version))}
    aliases = {str(number): shown for shown, number in named.items()} | {met[number].reference: shown for shown, number in named.items()}
    pool = pick_many("Agents", list(named), "a", list(named)[:MOST], MOST, aliases) or list(named)[:MOST]
    key = f"{store.url} {hash(tuple((m['run_id'], m['status'], m['verified']) for m in matches))}"
    found = loaded(store, key, chosen["id"], tuple(sorted(named[shown] for shown in pool)))

agents, pairs = of_agents(found), of_pairs(found)
row, column = roles
done = int(pairs["score"].notna().sum())
st.text(
    f"Every agent as {row} against every one as {column}, itself included, on the same {found['scenarios']:,} scenarios. Agents: {len(agents):,}. "
    f"Pairs played: {done:,} of {len(pairs):,}. None of it counts on a board."
)
with st.container(horizontal=True):
    elements.link("task", "What is played", ":material/flag:", id=name)
    elements.link("leaderboard", "Its board", ":material/leaderboard:", task=name)
if len(pool) < len(named):
    st.caption(f"{len(pool):,} of the {len(named):,} agents that have met. Means and ratings are over those chosen.")
if found["few"]:
    st.caption("Few scenarios: intervals are wide.")

st.subheader("Payoff matrix")
more = f" The first {DRAWN} agents are drawn; the table has all." if len(agents) > DRAWN else ""
st.caption(f"Mean score of the row agent; 0 is the task's textbook, 1 its bound. The diagonal is play against oneself.{more}")
if done:
    best, worst = pairs.loc[pairs["score"].idxmax()], pairs.loc[pairs["score"].idxmin()]
    alt = f"Mean scores of {len(agents)} agents against each other, from {worst['score']:.2f} to {best['score']:.2f}"
    elements.chart(heat(found), alt, f"{name}-payoffs", "heat")
else:
    st.info("No match is complete yet: a worker plays them.", icon=":material/info:")
looks = {name_: style.score_column(label) for name_, label in (("score", None), ("lo", "lo 95 %"), ("hi", "hi 95 %"))}
looks["row"] = st.column_config.TextColumn(f"agent as {row}", pinned=True)
looks["column"] = st.column_config.TextColumn(f"against, as {column}")
looks["void"] = st.column_config.NumberColumn(help="Matches that the opponent failed: they say nothing of this agent and are left out")
looks["failed"] = st.column_config.NumberColumn(help="Matches that this agent failed; they score the floor")
looks["run"] = elements.link_column("newest run")
shown = [column_ for column_ in pairs.columns if column_ not in ("void", "failed", "unfinished", "verified") or pairs[column_].any()]
elements.table(pairs, f"{name}-pairs", "pairs", looks, shown, height=400)

st.subheader("Means over the others")
st.caption("Over all other agents of the pool, each counting the same, without play against oneself. Another pool gives other means.")
ranked = agents.dropna(subset="mean")
if len(ranked):
    top = ranked.head(DRAWN)
    alt = f"Mean scores of {len(top)} agents over the others with intervals; the first is {top['agent'].iloc[0]} at {top['mean'].iloc[0]:.3f}"
    drawn = forest(top, "mean", "lo", "hi", "mean score (95 % interval)", 0, "0: textbook")
    elements.chart(drawn, alt, f"{name}-means", "means")
rated = found["unrated"] is None
looks = {
    "agent": st.column_config.TextColumn(pinned=True), "lo": style.score_column("lo 95 %"), "hi": style.score_column("hi 95 %"),
    "mean": style.score_column(help="Empty where a pair is missing"), "against itself": style.score_column(), "page": elements.link_column(""),
    **{name_: st.column_config.NumberColumn(format="%.0f") for name_ in ("rating", "rating lo", "rating hi")},
    "matches": st.column_config.NumberColumn(help="Against others, in both roles"),
}  # fmt: skip
hidden = {"notes"} if not agents["notes"].any() else set()
hidden |= set() if rated else {"rating", "rating lo", "rating hi"}
elements.table(agents, f"{name}-agents", "agents", looks, [column_ for column_ in agents.columns if column_ not in hidden], height=400)

st.subheader("Ratings")
if rated:
    st.caption(
        f"Bradley-Terry on the Elo scale, from who wins a match ({elements.name(found['outcome'])}): {elements.name(found['reference'])} has 1000, "
        "400 points more are odds of 10 to 1. They depend on the pool; rock, paper and scissors are rated alike, which only the matrix tells apart."
    )
    if found["stale"]:
        st.info("Matches were completed since these ratings were made. To make them again:", icon=":material/info:")
        st.code(f"arena crossplay -t {name}", language="shell")
    by_rating = agents.sort_values("rating", ascending=False, kind="stable").head(DRAWN)
    alt = f"Ratings of {len(by_rating)} agents with intervals; the first is {by_rating['agent'].iloc[0]} at {by_rating['rating'].iloc[0]:.0f}"
    drawn = forest(by_rating, "rating", "rating lo", "rating hi", "rating (95 % interval)", 1000, "1000: the reference")
    elements.chart(drawn, alt, f"{name}-ratings", "ratings")
elif found["outcome"] is None:
    st.text(f"None: {found['unrated']}.")
elif len(agents) < 2:
    st.text("One agent alone is not rated.")
else:
    st.text("This pool has not been rated yet. In a terminal:")
    st.code(" ".join([f"arena crossplay -t {name}", *([] if len(pool) == len(named) else (f"-a '{agent}'" for agent in pool))]), language="shell")
