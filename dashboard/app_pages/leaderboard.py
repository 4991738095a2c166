"""A task's board: table, forest plot, what is not on it."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from arena.cli.board import read_board
from dashboard.reading import nothing_yet, pick, reading

NATURES = {"classical": ("#0072B2", "circle"), "learned": ("#D55E00", "diamond"), "llm": ("#009E73", "square"), "reference": ("#CC79A7", "star")}
OTHER = ("#E69F00", "cross")
FOREST = 60  # agents drawn; the table has all


def lines_of(board: dict[str, Any]) -> pd.DataFrame:
    """The table as shown and as downloaded, best first. Scores are the task's own: 0 its textbook baseline, 1 its bound."""
    rows = []
    for line in board["lines"]:
        best, worst = line["rank_range"]
        rows.append(
            {
                "rank": str(best) if best == worst else f"{best}-{worst}", "agent": line["label"], "nature": line["nature"],
                "score": line["score"], "lo": line["lo"], "hi": line["hi"], "IQM": line["iqm"], "worst 10 %": line["worst10"],
                "fail %": 100 * line["failed_rate"], "viol %": 100 * line["violated_rate"], "ms": line["ms_per_decision"],
                "runs": line["runs"], "verified": bool(line["verified"]),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def forest(frame: pd.DataFrame) -> go.Figure:
    """Score with 95 % interval of each agent, best on top; lines at 0 (textbook) and 1 (bound). Names are shown as they are written."""
    figure = go.Figure()
    order = [escape(name) for name in frame["agent"]]
    for nature, part in frame.groupby("nature", sort=False):
        colour, symbol = NATURES.get(str(nature), OTHER)
        figure.add_trace(
            go.Scatter(
                x=part["score"], y=[escape(name) for name in part["agent"]], name=str(nature), mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 9},
                error_x={"type": "data", "array": part["hi"] - part["score"], "arrayminus": part["score"] - part["lo"]},
                hovertemplate="%{y}: %{x:.4f}<extra></extra>",
            )
        )  # fmt: skip
    for place, words in ((0, "textbook"), (1, "bound")):
        figure.add_vline(place, line={"color": "#808080", "dash": "dash"}, annotation={"text": f"{place}: {words}", "y": 1.0, "yanchor": "bottom"})
    figure.update_xaxes(title="score (mean, 95 % interval)", zeroline=False)
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=order[::-1], automargin=True)
    legend = {"orientation": "h", "yref": "container", "y": 0.0, "yanchor": "bottom"}
    figure.update_layout(height=200 + 26 * len(frame), margin={"l": 10, "r": 30, "t": 60, "b": 80}, legend=legend)
    return figure


st.title("Leaderboard")
with reading() as store:
    tasks = {task["name"]: task for task in store.tasks() if task["agents"]}  # of several contents of one name the newest
    if not tasks:
        nothing_yet("No agent has finished a task yet.")
        st.stop()
    chosen = tasks[pick("Task", sorted(tasks), "task")]
    board = read_board(store, chosen["id"])

frame = lines_of(board)
words = [f"mean of {len(board['members'])} tasks" if board["members"] else f"{board['scenarios']:,} scenarios"]
words += ["ranked by IQM"] if board["headline"] == "iqm" else []
words += ["few scenarios: wide intervals"] if board["few"] else []
words += [] if board["ranked"] else ["for tests, not ranked in the suite"]
st.caption(", ".join(words) + ". Score 0 is the task's textbook baseline, 1 its bound; [lo, hi] is the 95 % interval.")
numbers = {name: st.column_config.NumberColumn(format="%.3f") for name in ("score", "lo", "hi", "IQM", "worst 10 %")}
numbers |= {name: st.column_config.NumberColumn(format="%.1f") for name in ("fail %", "viol %")}
numbers["rank"] = st.column_config.TextColumn(help="95 % of the joint draws put the agent there", width="small")
numbers["agent"] = st.column_config.TextColumn(pinned=True)
numbers["ms"] = st.column_config.NumberColumn("ms / decision", format="%.3g")
shown = [name for name in frame.columns if name != "viol %" or frame["viol %"].any()]
st.dataframe(frame, hide_index=True, column_order=shown, column_config=numbers, height=min(38 + 35 * len(frame), 600))
name = chosen["name"].replace("/", "-")
st.download_button("Download CSV", lambda: frame.to_csv(index=False).encode(), f"{name}.csv", "text/csv", on_click="ignore")
if len(frame) > FOREST:
    st.caption(f"The first {FOREST} of {len(frame)} agents are drawn.")
top = frame.head(FOREST)
st.plotly_chart(forest(top), alt=f"Scores of {len(top)} agents with intervals; the first is {frame['agent'][0]} at {frame['score'][0]:.3f}")
if board["off_board"]:
    st.subheader("Not on the board")
    waiting = [
        {"run": r["run"], "agents": ", ".join(r["agents"]), "status": r["status"], "done": r["chunks_done"], "of": r["chunks"]}
        for r in board["off_board"]
    ]
    st.dataframe(pd.DataFrame(waiting), hide_index=True)
