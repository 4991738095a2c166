"""An agent: what it is, where it stands, in which groups of scenarios it is strong, how it learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from arena.cli.comparing import pooled_scores
from arena.cli.listing import run_line
from arena.cli.output import moment, plain
from arena.scoring import interval
from arena.scoring.bootstrap import mean_draws
from arena.store import AgentRow, Store
from dashboard import drawing, elements, style, training
from dashboard.reading import FRESH, nothing_yet, pick, reading, state
from dashboard.words import signed, told

KEPT = 600  # seconds: it follows from complete runs, and another one changes the key
RUNS = 20


@st.cache_data(ttl=FRESH, max_entries=64, show_spinner=False)
def results(_store: Store, state: str, agent_id: int) -> pd.DataFrame:
    """The agent's board lines, by domain and task, a domain's suite first."""
    lines = _store.standings(agent_id)
    lines.sort(key=lambda line: (line["domain"], line["tier"] != "suite", line["task"], line["task_id"]))
    frame = pd.DataFrame(
        {
            "task_id": line["task_id"], "domain": line["domain"], "task": line["task"],
            "board": elements.href("leaderboard", task=line["task"]), "tier": line["tier"], "score": line["headline"], "lo": line["lo"],
            "hi": line["hi"], "IQM": line["iqm"], "worst 10 %": line["cvar10"], "failed": line["failed"], "ms": line["ms"], "runs": line["runs"],
            "unfinished": line["runs_unfinished"],
            "verified": "✓" if line["verified"] else "", "updated": pd.Timestamp(line["updated"], unit="us", tz="UTC"),
        }
        for line in lines
    )  # fmt: skip
    return frame.astype(dict.fromkeys(("lo", "hi", "IQM", "worst 10 %", "ms"), float)) if lines else frame


@st.cache_data(ttl=KEPT, max_entries=64, show_spinner=False)
def by_group(_store: Store, state: str, agent_id: int, task_id: int) -> pd.DataFrame:
    """The mean score in each group of a task's scenarios with its interval from the task's own draws; empty where it has no groups."""
    task, vectors = _store.task(task_id), _store.task_vectors(task_id)
    scores = pooled_scores(_store, task, [agent_id]).get(agent_id) if "group" in vectors else None
    if scores is None or not np.isfinite(scores).all():
        return pd.DataFrame()
    labels, place = np.unique(vectors["group"].astype(int), return_inverse=True)
    if len(labels) < 2:
        return pd.DataFrame()
    member = (place[:, None] == np.arange(len(labels))).astype(float)  # [n, group]
    both = np.concatenate([scores[:, :, None] * member, np.broadcast_to(member, (*scores.shape, len(labels)))], axis=2)
    drawn = mean_draws(both, task_digest=task.digest, clusters=vectors.get("cluster"))
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = drawn[:, : len(labels)] / drawn[:, len(labels) :]
    names = list(task.config.get("groups") or ())
    rows = []
    for k, group in enumerate(labels):
        lo, hi = interval(draws[np.isfinite(draws[:, k]), k])
        name = names[group] if 0 <= group < len(names) else str(group)
        rows.append({"group": name, "scenarios": int(member[:, k].sum()), "score": float(scores[:, place == k].mean()), "lo": lo, "hi": hi})
    return pd.DataFrame(rows)


@st.cache_data(ttl=KEPT, max_entries=16, show_spinner=False)
def learned(state: str, _agent: AgentRow, agent_id: int) -> pd.DataFrame:
    folder = training.folder_of(_agent)
    return pd.DataFrame() if folder is None else training.curves(folder)


def dots(frame: pd.DataFrame, names: list[str], colours: list[tuple[str, str]]) -> go.Figure:
    """One score with its interval per line; the textbook's 0 and the bound's 1."""
    figure = style.figure(height=130 + 26 * len(frame), margin={"b": 60})
    place = np.arange(len(frame))
    for colour, symbol in dict.fromkeys(colours):
        mine = np.array([c == (colour, symbol) for c in colours])
        rows = frame[mine]
        figure.add_trace(
            go.Scatter(
                x=rows["score"], y=place[mine], mode="markers", marker={"color": colour, "symbol": symbol, "size": 9}, showlegend=False,
                error_x={"type": "data", "array": rows["hi"] - rows["score"], "arrayminus": rows["score"] - rows["lo"], "thickness": 1.5},
                customdata=[(style.axis_label(names[i], 80), frame["lo"].iloc[i], frame["hi"].iloc[i]) for i in np.flatnonzero(mine)],
                hovertemplate="%{customdata[0]}<br>%{x:.4f} [%{customdata[1]:.4f}, %{customdata[2]:.4f}]<extra></extra>",
            )
        )  # fmt: skip
    style.line_at(figure, 0, "0: textbook")
    style.line_at(figure, 1, "1: bound")
    figure.update_xaxes(title="score (95 % interval)")
    figure.update_yaxes(tickvals=place, ticktext=[style.axis_label(name, 28) for name in names], range=[len(frame) - 0.4, -0.6], showgrid=False)
    return figure


def learning(frame: pd.DataFrame, column: str) -> go.Figure:
    """A logged figure over the steps of a training: colour and dash by part, symbol by seed."""
    figure = style.figure(height=420)
    seeds, parts = list(dict.fromkeys(frame["seed"])), list(dict.fromkeys(frame["part"]))
    for (seed, part), rows in frame.groupby(["seed", "part"], sort=False):
        look = style.look(parts.index(part) if len(parts) > 1 else seeds.index(seed))
        symbol = style.SYMBOLS[seeds.index(seed) % len(style.SYMBOLS)]
        every = max(1, len(rows) // 8)
        figure.add_trace(
            go.Scatter(
                x=rows["step"], y=rows[column], name=style.axis_label(f"{part} {seed}".strip()), mode="lines+markers",
                line={"color": look["colour"], "dash": look["dash"], "width": 1.5},
                marker={"symbol": symbol, "size": [7 if i % every == 0 else 0 for i in range(len(rows))], "color": look["colour"]},
            )
        )  # fmt: skip
    figure.update_xaxes(title="step of training")
    values = frame[column].dropna()
    wide = len(values) > 0 and values.min() > 0 and values.max() > 100 * values.min()
    figure.update_yaxes(title=style.axis_label(column), type="log" if wide else "linear")
    return figure


def facts(agent: AgentRow) -> pd.DataFrame:
    """What is stored of an agent."""
    rows: dict[str, Any] = {"number": agent.id, "since": moment(agent.created), "digest": agent.digest, "artifact": agent.artifact_digest}
    rows |= {"domain": agent.domain, "tags": ", ".join(map(str, agent.tags)), "retired": moment(agent.retired)}
    for key, value in agent.spec.items():
        rows |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return pd.DataFrame({"what": list(rows), "value": [told(plain(value)) for value in rows.values()]})[lambda f: ~f["value"].isin(["None", ""])]


st.title("Agent")
with reading() as store:
    every = store.agents(retired=True)
    if not every:
        nothing_yet("No agent has played yet.")
        st.stop()
    named = {f"{row['name']}@{row['version']}": row for row in every}
    aliases = {row["name"]: label for label, row in named.items()}  # the newest version: they come in order
    aliases |= {row["name"]: label for label, row in named.items() if row["retired"] is None}
    aliases |= {str(row["id"]): label for label, row in named.items()}
    listed = [label for label, row in named.items() if row["tasks"]] + [label for label, row in named.items() if not row["tasks"]]
    chosen = named[pick("Agent", listed, "id", aliases)]
    key = state(store)
    agent = store.agent_rows([chosen["id"]])[chosen["id"]]
    lines = results(store, key, agent.id)
    runs = store.runs(agent_id=agent.id, limit=RUNS)
    stalled = {row.id for row in store.stalled()} if any(row["status"] == "running" for row in runs) else set()

look = style.nature(agent.nature)
st.subheader(f"{elements.name(agent.name)} version {agent.version}")
with st.container(horizontal=True):
    st.badge(agent.nature if agent.nature in style.NATURES else "other", icon=look.icon, color=look.badge)  # type: ignore[arg-type]
    st.badge(agent.kind, icon=":material/deployed_code:", color="gray")
    if agent.retired is not None:
        st.badge("retired", icon=":material/archive:", color="gray")
if agent.card:
    st.text(told(agent.card))
with st.expander("Specification", icon=":material/settings:"):
    elements.table(facts(agent), f"{agent.name}-specification", "facts", {"value": st.column_config.TextColumn(width="large")})
versions = [row for row in every if row["name"] == agent.name]
if len(versions) > 1:
    st.subheader("Versions")
    st.caption("A changed agent is a new version; what an older one reached stays.")
    table = pd.DataFrame(
        {
            "version": elements.href("agent", id=f"{row['name']}@{row['version']}"), "number": row["version"], "boards": row["tasks"],
            "since": pd.Timestamp(row["created"], unit="us", tz="UTC"),
            "digest": row["digest"][:16], "retired": moment(row["retired"]) or "",
        }
        for row in reversed(versions)
    )  # fmt: skip
    looks = {"version": elements.link_column(""), "since": style.time_column("since")}
    elements.table(table, f"{agent.name}-versions", "versions", looks, height=250)

st.subheader("Where it stands")
if lines.empty:
    st.info("It stands on no board yet.", icon=":material/info:")
else:
    names = [f"{task} (suite)" if tier == "suite" else task for task, tier in zip(lines["task"], lines["tier"], strict=True)]
    colours = [(style.PURPLE, "star") if tier == "suite" else (look.colour, look.symbol) for tier in lines["tier"]]
    alt = f"Scores of {agent.name} on {len(lines)} boards, from {lines['score'].min():.3f} to {lines['score'].max():.3f}"
    elements.chart(dots(lines, names, colours), alt, f"{agent.name}-boards", "boards")
    columns = {
        "board": elements.link_column("board"), "task": st.column_config.TextColumn(pinned=True),
        **{name: style.score_column() for name in ("score", "lo", "hi", "IQM", "worst 10 %")}, "ms": style.figure_column("ms / decision"),
        "updated": style.time_column("updated"),
    }  # fmt: skip
    shown = ["task", "board", *(c for c in lines.columns[4:] if c != "unfinished" or lines["unfinished"].any())]
    elements.table(lines, f"{agent.name}-standings", "standings", columns, shown)

    grouped = {row.task: int(row.task_id) for row in lines.itertuples() if row.tier != "suite"}
    if grouped:
        st.subheader("Within a task, by group")
        task = pick("Task", list(grouped), "task")
        with reading() as store:
            parts = by_group(store, key, agent.id, grouped[task])
        if parts.empty:
            st.caption("The scenarios of this task form no groups, or have no score of their own.")
        else:
            best, worst = parts.loc[parts["score"].idxmax()], parts.loc[parts["score"].idxmin()]
            alt = f"Scores in {len(parts)} groups; lowest {worst['score']:.3f} in {worst['group']}, highest {best['score']:.3f} in {best['group']}"
            figure = dots(parts, list(parts["group"]), [(look.colour, look.symbol)] * len(parts))
            columns = {name: style.score_column() for name in ("score", "lo", "hi")}
            elements.chart(figure, alt, f"{agent.name}-{task}-groups", "groups", parts, columns)
        domain = next(line.domain for line in lines.itertuples() if line.task == task)
        if drawing.able(domain):
            drawing.section(key, grouped[task], ((agent.id, f"{agent.name}@{agent.version}"),), f"{agent.name}-{task}", alone=True)

log = learned(key, agent, agent.id)
if not log.empty:
    st.subheader("How it learned")
    figures = list(log.columns[3:])
    column = pick("Figure", figures, "figure")
    drawn = training.thinned(log[["seed", "part", "step", column]])
    if not drawn["part"].any():
        twin = drawn.drop(columns="part")
    else:
        twin = drawn
    alt = f"{column} over the training of {drawn['seed'].nunique()} seeds"
    elements.chart(learning(drawn, column), alt, f"{agent.name}-training", "training", twin, {column: style.figure_column()})

if runs:
    st.subheader("Its latest runs")
    told_runs = [run_line(row, row["id"] in stalled) for row in runs]
    frame = pd.DataFrame(
        {
            "run": elements.href("run", id=r["run"]), "status": signed(r["status"]), "task": r["task"], "seed": r["seed"],
            "ranked": "yes" if r["ranked"] else "no", "created": pd.Timestamp(r["created"]),
        }
        for r in told_runs
    )  # fmt: skip
    number = st.column_config.LinkColumn("run", display_text=r"id=(\d+)", width=70)
    looks = {"run": number, "created": style.time_column("created")}
    st.dataframe(frame, hide_index=True, column_config=looks, key="runs", height=elements.tall(len(frame), 300))
