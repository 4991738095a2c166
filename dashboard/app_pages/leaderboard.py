"""A board: table, forest plot, scores against speed and cost, all tasks of its domain side by side, what is not on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from arena.answers import UNRELIABLE
from arena.cli.board import read_board
from arena.cli.output import span
from arena.store import Store
from dashboard import costs, elements, style
from dashboard.reading import FRESH, nothing_yet, pick, reading, state

DRAWN = 40  # agents in a figure; the table has all
EVERY = "all domains"
FEW_SEEDS = 3


@st.cache_data(ttl=FRESH, max_entries=64, show_spinner=False)
def loaded(_store: Store, state: str, task_id: int) -> tuple[dict[str, Any], pd.DataFrame]:
    """A board and its table, best first. Scores are the task's own: 0 its textbook baseline, 1 its bound."""
    board = read_board(_store, task_id)
    levels = _store.levels(task_id)
    rows = []
    for line in board["lines"]:
        best, worst = line["rank_range"]
        gap = line["to_leader"]
        rows.append(
            {
                "rank": str(best) if best == worst else f"{best}-{worst}", "agent": line["label"], "score": line["score"], "lo": line["lo"],
                "hi": line["hi"], "nature": line["nature"], "kind": line["kind"], "IQM": line["iqm"], "worst 10 %": line["worst10"],
                "fail %": 100 * line["failed_rate"], "viol %": 100 * line["violated_rate"],
                "invalid %": 100 * (line["invalid_rate"] or 0.0), "ms": line["ms_per_decision"], "runs": line["runs"],
                "verified": "✓" if line["verified"] else "", "runs in": ", ".join(levels.get(line["agent_id"], [])),
                "to the leader, paired": span(gap["difference"], gap["lo"], gap["hi"], "+") if gap else "",
                "notes": ", ".join(notes(line)), "agent_id": line["agent_id"], "reference": f"{line['agent']}@{line['version']}",
            }
        )  # fmt: skip
    return board, pd.DataFrame(rows).astype({name: float for name in ("lo", "hi", "IQM", "worst 10 %", "ms")} if rows else {})


def notes(line: dict[str, Any]) -> list[str]:
    """What a reader must know beside the numbers."""
    found = [mark for mark in ("retired", "unreliable") if line[mark]]
    found += [f"{line['runs_unfinished']} unfinished"] if line["runs_unfinished"] else []
    found += ["few seeds"] if line["nature"] == "learned" and line["runs"] < FEW_SEEDS else []
    return found


@st.cache_data(ttl=FRESH, max_entries=16, show_spinner=False)
def side_by_side(_store: Store, state: str, domain: str) -> pd.DataFrame:
    """Scores of all agents on all tasks of a domain: one row per agent (its number), one column per task."""
    lines = pd.DataFrame(_store.matrix(domain))
    lines["tier"] = lines["tier"] == "suite"
    order = lines.drop_duplicates("task").sort_values(["tier", "task"], ascending=[False, True])["task"]
    return lines.pivot(index="agent_id", columns="task", values="headline")[list(order)]


def forest(frame: pd.DataFrame) -> go.Figure:
    """Score with 95 % interval of each agent, best on top; lines at 0 (textbook) and 1 (bound)."""
    figure = style.figure(height=150 + 26 * len(frame))
    place = np.arange(len(frame))
    for nature, rows in frame.assign(place=place).groupby("nature", sort=False):
        look = style.nature(str(nature))
        figure.add_trace(
            go.Scatter(
                x=rows["score"], y=rows["place"], name=str(nature), mode="markers", marker={"color": look.colour, "symbol": look.symbol, "size": 9},
                error_x={"type": "data", "array": rows["hi"] - rows["score"], "arrayminus": rows["score"] - rows["lo"], "thickness": 1.5},
                customdata=[(style.axis_label(name, 80), lo, hi) for name, lo, hi in zip(rows["agent"], rows["lo"], rows["hi"], strict=True)],
                hovertemplate="%{customdata[0]}<br>%{x:.4f} [%{customdata[1]:.4f}, %{customdata[2]:.4f}]<extra></extra>",
            )
        )  # fmt: skip
    style.line_at(figure, 0, "0: textbook")
    style.line_at(figure, 1, "1: bound")
    figure.update_xaxes(title="score (95 % interval)")
    names = [style.axis_label(name, 26) for name in frame["agent"]]
    figure.update_yaxes(tickvals=place, ticktext=names, range=[len(frame) - 0.4, -0.6], showgrid=False)
    return figure


def front(frame: pd.DataFrame) -> pd.DataFrame:
    """The agents that no other one beats in both score and time, fastest first."""
    timed = frame[frame["ms"] > 0].sort_values(["ms", "score"], ascending=[True, False])
    return timed[timed["score"] > timed["score"].cummax().shift(fill_value=-np.inf)]


def speed(frame: pd.DataFrame) -> go.Figure:
    """Score against time per decision (logarithmic); the line joins those that nobody beats in both."""
    figure = style.figure(height=430)
    best = front(frame)
    figure.add_trace(
        go.Scatter(
            x=best["ms"], y=best["score"], name="best for their time", mode="lines", hoverinfo="skip",
            line={"color": style.GREY, "dash": "dash", "shape": "hv", "width": 1.5},
        )
    )  # fmt: skip
    named, first = set(best["agent_id"]), best["agent_id"].iloc[0]
    for nature, rows in frame[frame["ms"] > 0].groupby("nature", sort=False):
        look = style.nature(str(nature))
        figure.add_trace(
            go.Scatter(
                x=rows["ms"], y=rows["score"], name=str(nature), mode="markers+text", cliponaxis=False,
                textposition=["top center" if k == first else "top left" for k in rows["agent_id"]],  # of the line, where nobody stands
                marker={"color": look.colour, "symbol": look.symbol, "size": 10},
                text=[style.axis_label(a, 18) if k in named else "" for a, k in zip(rows["agent"], rows["agent_id"], strict=True)],
                customdata=[style.axis_label(name, 80) for name in rows["agent"]],
                hovertemplate="%{customdata}<br>score %{y:.4f}, %{x:.3g} ms per decision<extra></extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(type="log", title="ms per decision", dtick=1, exponentformat="power")
    figure.update_yaxes(title="score")
    return figure


def heat(scores: pd.DataFrame, names: list[str]) -> go.Figure:
    """Agents by tasks: every score written in its cell, shaded from the textbook's 0 to the bound's 1."""
    figure = style.figure(height=130 + 26 * len(scores))
    words = scores.map(lambda value: "" if pd.isna(value) else f"{value:z.2f}")
    figure.add_trace(
        go.Heatmap(
            z=scores.to_numpy(), x=np.arange(scores.shape[1]), y=np.arange(len(scores)), zmin=0, zmax=1, colorscale="Cividis", xgap=1, ygap=1,
            hoverinfo="skip", colorbar={"title": "score", "thickness": 12},
        )
    )  # fmt: skip
    style.write(figure, words.to_numpy(), 0, 1)
    tasks = [style.axis_label(task.split("/", 1)[-1] if "/" in task else f"{task} (suite)", 22) for task in scores.columns]
    figure.update_xaxes(tickvals=np.arange(scores.shape[1]), ticktext=tasks, side="top", showgrid=False, tickangle=-30)
    agents = [style.axis_label(name, 26) for name in names]
    figure.update_yaxes(tickvals=np.arange(len(scores)), ticktext=agents, showgrid=False)
    figure.update_layout(margin={"t": 80, "b": 10})
    return figure


def columns(board: dict[str, Any]) -> dict[str, Any]:
    return {
        "rank": st.column_config.TextColumn(help="95 % of the joint draws put the agent there", width=58, pinned=True),
        "agent": st.column_config.TextColumn(pinned=True, width=125),
        "score": st.column_config.ProgressColumn(format="%.3f", min_value=0.0, max_value=1.0, width=150, help="Bar: from the textbook to the bound"),
        "lo": style.score_column("lo 95 %"), "hi": style.score_column("hi 95 %"),
        "IQM": style.score_column(help="Mean of the middle half of the scenarios"),
        "worst 10 %": style.score_column(help="Mean of the worst tenth of the scenarios"),
        "fail %": style.percent_column(help="Scenarios in which the agent crashed, timed out or broke a rule; they score the floor"),
        "viol %": style.percent_column(help="Scenarios in which a constraint was violated"),
        "invalid %": style.percent_column(help="Decisions for which the agent had no valid answer and chance played, in the worst of its runs"),
        "ms": style.figure_column("ms / decision"), "runs": st.column_config.NumberColumn(width=55),
        "verified": st.column_config.TextColumn(help="All its runs were derived again from their recordings", width=75),
        "runs in": st.column_config.TextColumn(help="How the agent's code was kept apart from the host"),
        "to the leader, paired": st.column_config.TextColumn(help="Difference to the first line on the same scenarios, with its 95 % interval"),
    }  # fmt: skip


def shown_columns(frame: pd.DataFrame) -> list[str]:
    """All columns but those that would say nothing."""
    empty = {"agent_id", "reference"} | {name for name in ("viol %", "invalid %", "notes") if not frame[name].any()}
    empty |= {name for name in ("IQM", "worst 10 %") if frame[name].isna().all()}
    empty |= {"runs in"} if set(frame["runs in"]) <= {"inline", ""} else set()
    return [name for name in frame.columns if name not in empty]


def chosen_links(frame: pd.DataFrame, task: str) -> None:
    """Where the ticked rows lead."""
    labels = list(frame["agent"])
    if len(labels) == 1:
        elements.link("agent", f"Look at {elements.name(style.short(labels[0]))}", ":material/smart_toy:", id=frame["reference"].iloc[0])
    elif 2 <= len(labels) <= 8:
        words = ", ".join(elements.name(style.short(name, 22)) for name in labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
        elements.link("compare", f"Compare {words}", ":material/compare_arrows:", task=task, a=labels[0], b=labels[1:])
    elif labels:
        st.caption("At most 8 agents can be compared.")
    else:
        st.caption("Tick one agent to look at it, or 2 to 8 to compare them.")


st.title("Leaderboard")
with reading() as store:
    tasks = {task["name"]: task for task in store.tasks() if task["agents"]}  # of several contents of one name the newest
    if not tasks:
        nothing_yet("No agent has finished a task yet.")
        st.stop()
    domains = sorted({task["domain"] for task in tasks.values()})
    with st.container(horizontal=True):
        domain = EVERY
        if len(domains) > 1:
            domain = pick("Domain", [EVERY, *domains], "domain")
        fitting = [task for task in tasks.values() if domain in (EVERY, task["domain"])]
        order = [task["name"] for task in sorted(fitting, key=lambda task: (task["domain"], task["tier"] != "suite", task["name"]))]
        numbers = {str(tasks[name]["id"]): name for name in order}
        chosen = tasks[pick("Board", order, "task", numbers, "The board of a domain is the mean of its suite")]
    key = state(store)
    board, frame = loaded(store, key, chosen["id"])
    scores = side_by_side(store, key, chosen["domain"])
    spent = costs.told(store, key, chosen["id"], tuple(board["members"] or (chosen["name"],)))

words = [f"mean of {len(board['members'])} tasks" if board["members"] else f"{board['scenarios']:,} scenarios", f"{len(frame)} agents"]
words += ["ranked by IQM"] if board["headline"] == "iqm" else []
words += ["few scenarios: wide intervals"] if board["few"] else []
words += [] if board["ranked"] else ["for tests, not ranked in the suite"]
st.caption(", ".join(words) + ". Score 0 is the textbook baseline, 1 the bound; lo and hi end the 95 % interval.")
if board["tier"] != "suite":
    elements.link("task", "What this task is", ":material/flag:", id=chosen["name"])

if any(line["unreliable"] for line in board["lines"]):
    st.caption(f"Unreliable: more than {100 * UNRELIABLE:g} % of the answers of a run were invalid, and chance played in their place.")
above = st.container()
event = elements.table(
    frame, f"{chosen['name']}-board", f"board-{chosen['id']}", columns(board), shown_columns(frame), on_select="rerun", selection_mode="multi-row"
)
with above:
    chosen_links(frame.iloc[event.selection.rows], chosen["name"])

top = frame.head(DRAWN)
more = f" The first {DRAWN} of {len(frame)} agents are drawn; the table above has all." if len(frame) > DRAWN else ""
st.subheader("How sure the order is")
st.caption(f"Intervals of one score each; whether two agents differ is a paired question (Compare).{more}")
leader = frame.iloc[0]
alt = f"Scores of {len(top)} agents with intervals; the first is {leader['agent']} at {leader['score']:.3f}"
elements.chart(forest(top), alt, f"{chosen['name']}-forest", "forest")
if (frame["ms"] > 0).any():
    st.subheader("Score against time")
    st.caption("The dashed line joins the agents that no other one beats in both.")
    best = front(frame)
    alt = f"Score against milliseconds per decision; best for their time: {', '.join(best['agent'][:8])}"
    elements.chart(speed(frame), alt, f"{chosen['name']}-speed", "speed")
costs.section(frame, spent, chosen["name"])
if scores.shape[1] > 1:
    st.subheader("All boards of the domain")
    on_board = frame.set_index("agent_id")["agent"]
    rows = scores.reindex(on_board.index)
    named = rows.set_axis(pd.Index(on_board, name="agent")).reset_index()
    part = rows.head(DRAWN)
    if len(rows) > DRAWN:
        st.caption(f"The first {DRAWN} of {len(rows)} agents are drawn; the table below the figure has all.")
    alt = f"Scores of {len(part)} agents on {scores.shape[1]} boards of {chosen['domain']}"
    twin = {name: style.score_column() for name in scores.columns}
    elements.chart(heat(part, list(on_board.head(DRAWN))), alt, f"{chosen['domain']}-boards", "heat", named, twin)
if board["off_board"]:
    st.subheader("Not on the board")
    waiting = [
        {
            "run": elements.href("run", id=r["run"]), "agents": ", ".join(r["agents"]), "status": r["status"] + ("" if r["ranked"] else ", unranked"),
            "done": r["chunks_done"], "of": r["chunks"], "created": r["created"],
        }
        for r in board["off_board"]
    ]  # fmt: skip
    number = st.column_config.LinkColumn("run", display_text=r"id=(\d+)", width="small")
    rest = pd.DataFrame(waiting)
    rest["created"] = pd.to_datetime(rest["created"])
    looks = {"run": number, "created": style.time_column("created")}
    st.dataframe(rest, hide_index=True, column_config=looks, height=elements.tall(len(waiting), 350))
