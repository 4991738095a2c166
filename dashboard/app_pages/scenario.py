"""One scenario: what every agent made of it, and on demand one recorded episode, derived again and drawn by its domain.

Only that replay imports PyTorch and the domain. It calls no agent: the actions come from the recording.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from arena.errors import ArenaError
from arena.store import Store, TaskRow
from dashboard import drawing, style
from dashboard.elements import ROWS, chart, link, name, table
from dashboard.reading import FRESH, nothing_yet, pick, reading, state
from dashboard.words import told, whole

Json = dict[str, Any]
DRAWN = 60  # agents in the figure; the table has all
STEPS = 200  # rows of the table of steps, from both ends


@st.cache_data(ttl=FRESH, max_entries=32, show_spinner=False)
def played(_store: Store, state: str, task_id: int, index: int) -> pd.DataFrame:
    """A row per agent version, best first: score, metrics (means over its runs), runs. Failed: in how many of them."""
    rows = _store.scenario(task_id, index)
    if not rows:
        return pd.DataFrame()
    spec = {m["name"]: m for m in _store.metrics(task_id)}
    primary = next((m for m, s in spec.items() if s["role"] == "primary"), None)
    long = pd.DataFrame(rows).assign(agent=lambda f: f["agent"] + "@" + f["version"].astype(str))
    wide = long.set_index(["agent_id", "agent", "run_id", "entry_id", "metric"])["value"].unstack("metric").reset_index()
    wide["failed"] = wide[primary].isna() if primary in wide else False
    by = wide.groupby(["agent_id", "agent"], sort=False)
    names = [m for m in spec if m in wide]
    frame = by[names].mean().join(by["failed"].sum()).join(by["run_id"].apply(list).rename("runs")).reset_index()
    first = [m for m in ("score", primary) if m in names]
    frame = frame[["agent", *first, "failed", *(m for m in names if m not in first), "runs", "agent_id"]]
    leading = first[0] if first else names[0]
    return frame.sort_values(leading, ascending=spec[leading]["direction"] < 0, kind="stable", ignore_index=True, na_position="last")


def choose(store: Store) -> tuple[TaskRow, int, int | None] | None:
    """The task, the scenario and the run that the address asks for; None where there is no task yet."""
    tasks = {task["name"]: task for task in store.tasks() if task["tier"] != "suite"}
    if not tasks:
        nothing_yet("No agent has played yet.")
        return None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        task_name = pick("Task", sorted(tasks), "task")
        run = asked_run(store, task_name)
        task = store.task(run["task_id"] if run is not None else tasks[task_name]["id"])
        last = task.n_scenarios - 1
        if whole("i", 0, last) is None and st.session_state.get("i", 0) > last:
            st.session_state["i"] = 0
        asked = st.number_input(f"Scenario, 0 to {last:,}", min_value=0, max_value=last, value=0, step=1, key="i", bind="query-params", width=240)
    return task, int(asked), None if run is None else run["id"]


def asked_run(store: Store, task_name: str) -> Json | None:
    """The run of `?run=`, whose episode is to be shown; it may be one of an older content of the task, or one that is on no board."""
    number = whole("run", 1)
    if number is None:
        return None
    try:
        run = store.run(number)
    except ArenaError:
        run = {"task": None}
    if run["task"] != task_name:
        st.query_params.pop("run")
        return None
    return run


def references(store: Store, task: TaskRow, index: int) -> tuple[dict[str, float], float]:
    """What is known of the scenario itself (its references, its group), and the score of its bound: 1, unless the task divides all scenarios
    by their mean gap; then an easy scenario's bound lies below 1 and a large one's above."""
    vectors = store.task_vectors(task.id)
    known = {what: float(values[index]) for what, values in vectors.items()}
    if task.normalise != "task" or not {"ref0", "ref1"} <= set(known):
        return known, 1.0
    return known, (known["ref1"] - known["ref0"]) / float((vectors["ref1"] - vectors["ref0"]).mean())


def facts(task: TaskRow, known: dict[str, float], bound: float, metrics: list[Json]) -> None:
    primary = next((m for m in metrics if m["role"] == "primary"), None)
    unit = f" {primary['unit']}" if primary is not None and primary["unit"] else ""
    groups = task.config.get("groups") or []
    with st.container(horizontal=True, gap="medium"):
        for what, value in known.items():
            if what == "group" and 0 <= value < len(groups):
                st.metric("group", str(groups[int(value)]), width="content")
            elif what in ("ref0", "ref1"):
                words = {"ref0": "textbook (score 0)", "ref1": f"bound (score {bound:.3g})"}[what]
                st.metric(words, f"{value:.4g}", width="content", help=f"{primary['name']}{unit}" if primary is not None else None)
            elif what != "cluster":
                st.metric(what, f"{value:.4g}", width="content")


def dots(frame: pd.DataFrame, what: str, known: dict[str, float], bound: float) -> go.Figure:
    """Each agent's score here, best on top; what failed is marked."""
    drawn = style.figure(140 + 24 * len(frame))
    labels = [style.axis_label(agent) for agent in frame["agent"]]
    for failed, words, colour, symbol in ((False, "played", style.BLUE, "circle"), (True, "failed", style.VERMILLION, "x")):
        here = ((frame["failed"] > 0) == failed).to_numpy()
        if here.any():
            drawn.add_scatter(
                x=frame[what][here], y=np.array(labels)[here], name=words, mode="markers", marker={"color": colour, "symbol": symbol, "size": 10},
                hovertemplate="%{y}: %{x:.4f}<extra></extra>",
            )  # fmt: skip
    lines = {0.0: "0: textbook", bound: f"{bound:.3g}: bound"} if what == "score" else {known[ref]: ref for ref in ("ref0", "ref1") if ref in known}
    for place, words in lines.items():
        style.line_at(drawn, place, words)
    drawn.update_xaxes(title=style.axis_label(what))
    drawn.update_yaxes(type="category", categoryorder="array", categoryarray=labels[::-1])
    drawn.update_layout(showlegend=bool((frame["failed"] > 0).any()), legend={"y": -0.02, "yanchor": "top", "yref": "container"})
    return drawn


def results(store: Store, task: TaskRow, index: int) -> pd.DataFrame:
    metrics, (known, bound) = store.metrics(task.id), references(store, task, index)
    facts(task, known, bound, metrics)
    frame = played(store, state(store), task.id, index)
    if frame.empty:
        st.info("No complete ranked run has played it yet.", icon=":material/info:")
        return frame
    units = {m["name"]: m["unit"] for m in metrics}
    what = next(column for column in frame if column in units)
    count = "1 agent" if len(frame) == 1 else f"{len(frame):,} agents"
    st.subheader("All agents on it")
    st.text(f"{count}; an agent with several runs has the means of them" + (f"; the first {ROWS:,} are shown." if len(frame) > ROWS else "."))
    shown = frame.drop(columns="agent_id").head(ROWS).assign(runs=lambda f: f["runs"].map(lambda ids: ", ".join(map(str, ids))))
    shape: Json = {m: style.figure_column(m, units[m] or None) for m in units if m in shown}
    shape |= {"agent": st.column_config.TextColumn(pinned=True), "failed": st.column_config.NumberColumn(help="runs that failed here", width="small")}
    if "score" in shown:
        shape["score"] = style.score_column()
    if len(frame) > 1:
        top = frame.head(DRAWN)
        words = f"{what} of {len(top)} agents on scenario {index}: best {top['agent'][0]} with {top[what][0]:.3f}"
        chart(dots(top, what, known, bound), words, f"scenario-{index}", "dots")
    table(shown, f"scenario-{index}", "agents", shape, height=400)
    return frame


# ---- replay --------------------------------------------------------------------------------------------------------


def replay(store: Store, task: TaskRow, index: int, frame: pd.DataFrame, asked: int | None) -> None:
    """One recorded episode, chosen among the runs of the table and the one that the address names."""
    st.subheader("Replay of one episode")
    options = {int(run): f"{row.agent}, run {run}" for row in frame.itertuples() for run in row.runs} if not frame.empty else {}
    if asked is not None and asked not in options:
        entry = next(e for e in store.run(asked)["entries"] if e["candidate"])
        options = {asked: f"{entry['agent']}@{entry['version']}, run {asked}"} | options
    if not options:
        return st.text("There is no recording of it yet.")
    st.text("From the recorded actions alone the domain derives every step again, here and now. No agent is asked.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        numbers = list(options)
        place = numbers.index(asked) if asked in numbers else 0
        chosen = st.selectbox("Whose episode", numbers, place, format_func=options.__getitem__, key=f"whose-{task.id}-{index}")
        wanted = st.toggle("Replay", key="replay", bind="query-params", help="Takes a few seconds the first time: the domain is loaded.")
    if chosen != asked and (asked is not None or chosen != numbers[0]):
        st.query_params["run"] = str(chosen)
    link("run", f"Run {chosen}", ":material/play_circle:", id=chosen)
    if not wanted:
        return None
    try:
        with st.spinner("Deriving the episode from its recording ..."):
            episode = derived(store, store.url, int(chosen), index)
    except ArenaError as error:
        st.warning("It cannot be replayed here.", icon=":material/warning:")
        st.text(told(str(error)))
        return None
    show(episode, index)


@st.cache_data(max_entries=8, show_spinner=False)
def derived(_store: Store, url: str, run_id: int, index: int) -> Json:
    """Steps, metrics (derived and stored) and figures of an episode. Recordings never change, so neither does this."""
    from arena import registry
    from arena.cli.checking import derive, recorded_actions
    from arena.cli.opening import part, task_of_run

    run = _store.run_row(run_id)
    task = task_of_run(_store, run)
    actions = recorded_actions(_store, task, run_id, index)
    entry = next(e for e in _store.entries(run_id) if e.candidate)
    stored = {m: float(values[index]) for m, values in _store.metric_vectors(entry.id).items()}
    failure = next((f for f in _store.failures(run_id, limit=10**9) if f["scenario"] == index), None)
    steps, metrics = derive(task, index, actions, "cpu")
    figures: dict[str, go.Figure] = {}
    silent = ""
    try:
        drawing = part(registry.domain_of(task.id), "figures")
        figures = drawing.draw(task, index, {role: moves[:, 0] for role, moves in actions.items()})
    except Exception as error:  # a domain without figures, an episode that ended early, a fault of a plugin
        silent = error.message if isinstance(error, ArenaError) else f"{type(error).__name__}: {error}"
    return {"steps": steps, "metrics": metrics, "stored": stored, "failure": failure, "figures": figures, "silent": silent}


def show(episode: Json, index: int) -> None:
    failure, stored = episode["failure"], episode["stored"]
    if failure is not None:
        st.error(f"It failed at step {failure['step']}: {name(failure['code'])}", icon=":material/error:")
        st.code(told(failure["detail"]), language=None, wrap_lines=True)
    if episode["silent"]:
        st.info("There are no figures of it.", icon=":material/info:")
        st.text(told(episode["silent"]))
    drawing.show(episode["figures"], f"scenario-{index}")
    rows = [{"metric": m, "derived now": value, "stored": stored.get(m)} for m, value in episode["metrics"].items()]
    if rows:
        st.markdown("**Metrics, derived now and stored**")
        exact = st.column_config.NumberColumn(format="%.9g")
        table(pd.DataFrame(rows), f"scenario-{index}-metrics", "metrics", {"derived now": exact, "stored": exact})
    steps = episode["steps"]
    kept = steps if len(steps) <= STEPS else steps[: STEPS // 2] + steps[-STEPS // 2 :]
    with st.expander(f"{len(steps):,} steps" + (f", the first and last {STEPS // 2}" if len(kept) < len(steps) else ""), icon=":material/table:"):
        flat = pd.DataFrame({"step": s["step"], **{r: cell(a) for r, a in s["actions"].items()}, **s["state"]} for s in kept)
        table(flat, f"scenario-{index}-steps", "steps", height=400)


def cell(action: Any) -> Any:
    return " ".join(f"{part:.4g}" for part in action) if isinstance(action, list) else action


st.title("Scenario")
with reading() as opened:
    found = choose(opened)
    if found is not None:
        chosen_task, scenario, run_id = found
        replay(opened, chosen_task, scenario, results(opened, chosen_task, scenario), run_id)
