"""One run, live while it is played: how far, what failed, how scores spread, how long decisions took. Without `?id=` the list of runs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from arena.answers import UNRELIABLE, invalid_share, unreliable
from arena.cli.listing import run_line
from arena.cli.output import duration, figure, moment, share, size
from arena.cli.showing import quantile
from arena.errors import ArenaError
from arena.store import Store
from dashboard import style, transcripts
from dashboard.elements import ROWS, badge, chart, link, name, table
from dashboard.reading import nothing_yet, reading
from dashboard.words import back, public, signed, told, whole

Json = dict[str, Any]
PAGE = 50
LOG = 200  # lines of the log that are kept
STATES = ("queued", "running", "complete", "failed", "cancelled")
UNITS = (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0))


# ---- the list ------------------------------------------------------------------------------------------------------


def listing() -> None:
    """The newest runs, 50 at a time."""
    st.title("Runs")
    if st.query_params.get("status", STATES[0]) not in STATES:
        st.query_params.pop("status")
        st.info("The address asks for a status that is not here; these are all runs.", icon=":material/info:")
    before = whole("before", 1)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.pills("Status", STATES, key="status", bind="query-params")
        number = st.number_input("Open a run by its number", min_value=1, value=None, step=1, width=220, placeholder="number")
    if number:
        st.switch_page("app_pages/run.py", query_params={"id": str(number)})
    with reading() as store:
        stalled = {row.id for row in store.stalled()}
        found = [run_line(row, row["id"] in stalled) for row in store.runs(before=before, limit=PAGE + 1, status=chosen)]
    if not found and not chosen and before is None:
        return nothing_yet("Nothing has been run yet.")
    if not found:
        st.info("No such runs.", icon=":material/info:")
    rows = found[:PAGE]
    if rows:
        picked = table(lines_of(rows), "runs", f"runs-{chosen}-{before}", COLUMNS, height=1900, on_select="rerun", selection_mode="single-cell")
        st.caption("Click a row to open the run. Times are UTC.")
        if picked.selection.cells:
            st.switch_page("app_pages/run.py", query_params={"id": str(rows[picked.selection.cells[0][0]]["run"])})
    kept = {"status": chosen} if chosen else {}
    with st.container(horizontal=True):
        if before is not None:
            link("run", "Newest", ":material/first_page:", **kept)
        if len(found) > PAGE:
            link("run", "Older", ":material/chevron_right:", **kept, before=rows[-1]["run"])


COLUMNS = {
    "run": st.column_config.NumberColumn(width="small", pinned=True),
    "done": st.column_config.ProgressColumn(format="percent", min_value=0.0, max_value=1.0, width="small"),
    "seed": st.column_config.NumberColumn(width="small"),
}


def lines_of(rows: list[Json]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": r["run"], "status": signed(r["status"]) + ("" if r["ranked"] else ", unranked"), "agents": ", ".join(r["agents"]),
            "task": r["task"], "done": r["chunks_done"] / max(r["chunks"], 1), "seed": r["seed"],
            "verified": {True: "yes", False: "NO", None: ""}[r["verified"]], "created": (r["created"] or "")[:16].replace("T", " "),
        }
        for r in rows
    )  # fmt: skip


# ---- one run: its state, drawn again while it is under way ---------------------------------------------------------


def read(store: Store, run_id: int) -> Json:
    """A run with `state`: its status, or that it stalls."""
    run = store.run(run_id)
    stalled = run["status"] == "running" and run_id in {row.id for row in store.stalled()}
    return {**run, "state": "stalled" if stalled else run["status"]}


def live(run_id: int) -> None:
    """State, progress and log. While the run is under way this alone is drawn every two seconds; when its state changes, the whole page."""
    with reading() as store:
        run = read(store, run_id)
        events = log_of(store, run_id)
    if st.session_state.setdefault(f"state-{run_id}", run["state"]) != run["state"]:
        st.rerun()
    failed = sum(entry["failures"] for entry in run["entries"])
    with st.container(horizontal=True, gap="medium"):
        st.metric("scenarios", f"{run['n_scenarios']:,}", width="content")
        st.metric("failed", f"{failed:,} ({share(failed / max(run['n_scenarios'], 1))})", width="content")
        st.metric("chunks", f"{run['n_done']} of {run['n_chunks']}", width="content")
        st.metric("computing time", duration(run["seconds"]), width="content")
        st.metric("verified", {True: "yes", False: "NO", None: "not yet"}[run["verified"]], width="content")
    if run["state"] != "complete":
        seconds = left(run)
        words = f"{run['n_done']} of {run['n_chunks']} chunks" + (f", about {duration(seconds)} left" if seconds is not None else "")
        st.progress(run["n_done"] / max(run["n_chunks"], 1), text=words)
    what_next(run)
    if events:
        with st.expander(f"Log, {len(events)} lines", expanded=run["state"] != "complete", icon=":material/list:"):
            log = pd.DataFrame(events)[["at", "level", "code", "message"]].iloc[::-1]
            log = log.assign(at=log["at"].map(lambda at: str(moment(at))[:19].replace("T", " ")), message=log["message"].map(told))
            wide = {"message": st.column_config.TextColumn(width="large")}
            st.dataframe(log, hide_index=True, height=min(38 + 35 * len(log), 300), column_config=wide)


def log_of(store: Store, run_id: int) -> list[Json]:
    """The last lines of the log; each visit reads only what came since the one before."""
    known: list[Json] = st.session_state.setdefault(f"log-{run_id}", [])
    while fresh := store.events(run_id, after=known[-1]["id"] if known else 0):
        known += fresh
        del known[:-LOG]
    return known


def left(run: Json) -> float | None:
    """Seconds that are left, by the pace so far: that of the clock, or of the chunks where the run lay idle in between."""
    if run["state"] != "running" or not run["n_done"] or not run["started"]:
        return None
    return float(min(time.time() - run["started"] / 1e6, run["seconds"]) / run["n_done"] * (run["n_chunks"] - run["n_done"]))


def what_next(run: Json) -> None:
    """What the state means, and the command that goes on from it."""
    number = run["id"]
    words, command = {
        "queued": ("It waits for a worker.", "arena worker"),
        "running": ("A worker plays it." if public() else f"Played by {run['owner']}.", f"arena status {number}"),
        "stalled": ("Its worker is gone; what was finished is kept. Go on with it, here or on the Queue page:", f"arena resume {number}"),
        "failed": ("It cannot go on by itself: the log says why. Once that is mended:", f"arena resume {number}"),
        "cancelled": ("It was cancelled; what was finished is kept.", f"arena resume {number}"),
        "complete": ("Every figure can be derived again from scenario and recorded actions alone:", f"arena verify {number}"),
    }[run["state"]]
    st.text(words)
    st.code(command + (f"\narena replay {number} --scenario 0" if run["state"] == "complete" else ""), language="shell")


# ---- what is drawn once --------------------------------------------------------------------------------------------


def detail(run_id: int) -> None:
    with reading() as store:
        try:
            run = read(store, run_id)
        except ArenaError:
            st.query_params.pop("id", None)
            st.info("The address asks for a run that is not here; these are all of them.", icon=":material/info:")
            return listing()
        timings, scores, failures = store.timings(run_id), scores_of(store, run), store.failures(run_id, limit=ROWS)
    st.session_state[f"state-{run_id}"] = run["state"]
    judged, *others = [entry for entry in run["entries"] if entry["candidate"]]
    match = "opponent" in run["config"]
    back("All runs", "id")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(f"Run {run_id}", width="content")
        badge(run["state"])
        if not run["ranked"]:
            st.badge("unranked", color="gray")
        if any(unreliable(invalid_share(timings[e["id"]])) for e in run["entries"] if e["id"] in timings):
            words = f"More than {100 * UNRELIABLE:g} % of the answers were invalid; chance played in their place"
            st.badge("unreliable", icon=":material/warning:", color="orange", help=words)
    against = f" as {judged['role']} against {others[0]['agent']}@{others[0]['version']} as {others[0]['role']}" if match else ""
    st.text(f"{judged['agent']}@{judged['version']}{against} on {run['task']}, seed {run['seed']}")
    with st.container(horizontal=True):
        link("agent", "Agent", ":material/smart_toy:", id=judged["agent_id"])
        link("task", "Task", ":material/flag:", id=run["task_id"])
        if match:
            link("agent", "Opponent", ":material/smart_toy:", id=others[0]["agent_id"])
            link("ratings", "All matches", ":material/grid_on:", task=run["task_id"])
        else:
            link("leaderboard", "Board", ":material/leaderboard:", task=run["task_id"])
    st.fragment(live, run_every="2s" if run["state"] in ("queued", "running") else None)(run_id)
    if failures:
        failures_of(run, failures)
    if scores is not None:
        spread(run, *scores)
    lineup(run, timings)
    decision_times(run, timings)
    transcripts.section(run)
    with st.expander("Environment", icon=":material/memory:"):
        environment_of(run)


def chosen_scenario(run: Json, frame: pd.DataFrame, file: str, columns: Json) -> int:
    """A table of which a click chooses a row (the first until then), and the way to that row's scenario."""
    picked = table(frame, f"run-{run['id']}-{file}", f"{file}-{run['id']}", columns, height=320, on_select="rerun", selection_mode="single-cell")
    row = picked.selection.cells[0][0] if picked.selection.cells else 0
    row = row if row < len(frame) else 0
    scenario = int(frame["scenario"].iloc[row])
    words = f"Scenario {scenario}: what happened, and all other agents on it"
    link("scenario", words, ":material/movie:", task=run["task"], i=scenario, run=run["id"])
    return row


def failures_of(run: Json, failures: list[Json]) -> None:
    st.subheader("Failures")
    total = sum(entry["failures"] for entry in run["entries"])
    kinds = pd.Series([f["code"] for f in failures]).value_counts()
    more = "" if total <= len(failures) else f"; the first {len(failures):,} of {total:,} are shown"
    st.text(", ".join(f"{n:,} {code}" for code, n in kinds.items()) + more + ". Click a row to choose it.")
    frame = pd.DataFrame(failures)[["scenario", "step", "role", "code", "detail"]]
    stories = frame["detail"].map(told)
    frame["detail"] = stories.str.split("\n").str[0]
    small = st.column_config.NumberColumn(width="small")
    shape = {"detail": st.column_config.TextColumn(width="large"), "scenario": small, "step": small}
    row = chosen_scenario(run, frame, "failures", shape)
    with st.expander(f"Scenario {frame['scenario'].iloc[row]}: the whole story", icon=":material/error:"):
        st.code(stories.iloc[row], language=None, wrap_lines=True)


def scores_of(store: Store, run: Json) -> tuple[pd.DataFrame, str] | None:
    """Scenarios with their score (for tasks scored as a whole: their primary metric), worst first; None before the first chunk."""
    entry = next(e for e in run["entries"] if e["candidate"])
    spec = {m["name"]: m for m in store.metrics(run["task_id"])}
    vectors = store.metric_vectors(entry["id"])
    primary = next((m["name"] for m in spec.values() if m["role"] == "primary"), "score")
    what = "score" if "score" in vectors else primary
    if what not in vectors:
        return None
    frame = pd.DataFrame({"scenario": np.arange(len(vectors[what])), what: vectors[what]})
    frame["failed"] = ~np.isfinite(vectors.get(primary, vectors[what]))
    frame = frame.assign(**{k: v for k, v in vectors.items() if k != what})
    played = np.isfinite(np.array(list(vectors.values()))).any(axis=0)  # nor are matches that the opponent failed
    if not played.any():
        return None
    return frame[played].sort_values(what, ascending=spec[what]["direction"] > 0, kind="stable", ignore_index=True), what


def spread(run: Json, scores: pd.DataFrame, what: str) -> None:
    st.subheader("Scenarios")
    values = scores[what].dropna()
    words = f"{what} of {len(scores):,} scenarios, worst first: from {values.min():.3f} to {values.max():.3f}, median {values.median():.3f}"
    chart(strip(scores, what), words, f"run-{run['id']}-scenarios", f"strip-{run['id']}")
    title = f"{len(scores):,} scenarios" if len(scores) <= ROWS else f"The worst {ROWS:,} of {len(scores):,} scenarios"
    with st.expander(f"{title} in numbers", icon=":material/table:"):
        shown = scores.head(ROWS)
        shape: Json = {column: style.figure_column() for column in shown if shown[column].dtype == float}
        shape |= {"scenario": st.column_config.NumberColumn(width="small", pinned=True)}
        chosen_scenario(run, shown, "scenarios", shape)


def strip(scores: pd.DataFrame, what: str) -> go.Figure:
    """Every scenario's score, the worst on the left; failed ones apart."""
    drawn = style.figure(360)
    place = 100 * (np.arange(len(scores)) + 0.5) / len(scores)
    scatter = go.Scattergl if len(scores) > 5000 else go.Scatter
    for failed, words, colour, symbol in ((False, "played", style.BLUE, "circle"), (True, "failed", style.VERMILLION, "x")):
        here = (scores["failed"] == failed).to_numpy()
        if here.any():
            drawn.add_trace(
                scatter(
                    x=place[here], y=scores[what][here], name=f"{words} ({here.sum():,})", mode="markers",
                    marker={"color": colour, "symbol": symbol, "size": 5}, customdata=scores["scenario"][here],
                    hovertemplate="scenario %{customdata}: %{y:.4f}<extra></extra>",
                )
            )  # fmt: skip
    if what == "score":
        style.line_at(drawn, 0, "0: textbook", "y")
        style.line_at(drawn, 1, "1: bound", "y")
        drawn.update_annotations(x=0, xanchor="left")  # the best scenarios are on the right
    drawn.update_xaxes(title="scenarios, worst first (%)", range=[-1, 101])
    drawn.update_yaxes(title=style.axis_label(what))
    drawn.update_layout(showlegend=True)
    return drawn


def lineup(run: Json, timings: dict[int, Json]) -> None:
    """Who plays what, how isolated, how fast, with how much memory and money."""
    st.subheader("Line-up")
    rows = []
    for e in run["entries"]:
        spent, decided = e["decision_ns_total"], e["decisions"]
        rows.append(
            {
                "role": e["role"], "agent": f"{e['agent']}@{e['version']}", "judged": "yes" if e["candidate"] else "", "mode": e["mode"] or "",
                "isolation": e["level"], "failed": e["failures"], "decisions": decided, "ms / decision": spent / decided / 1e6 if decided else None,
                "median ms": quantile(timings, e["id"], 0.5), "p99 ms": quantile(timings, e["id"], 0.99),
                "peak memory": size(e["peak_rss"]) if e["peak_rss"] else "-",
            }
        )  # fmt: skip
    shape = {column: style.figure_column() for column in ("ms / decision", "median ms", "p99 ms")}
    shape["isolation"] = st.column_config.TextColumn(help="inline: our own code; process: in a process of its own, with limits; remote: over HTTP")
    table(pd.DataFrame(rows), f"run-{run['id']}-lineup", f"lineup-{run['id']}", shape)
    used = [
        {"agent": f"{e['agent']}@{e['version']}", "what": what, "amount": amount, "per scenario": amount / max(1, run["n_scenarios"])}
        for e in run["entries"]
        for what, amount in timings.get(e["id"], {}).get("usage", {}).items()
    ]  # fmt: skip
    for e in run["entries"]:
        invalid = invalid_share(timings[e["id"]]) if e["id"] in timings else None
        if invalid is not None:
            used.append({"agent": f"{e['agent']}@{e['version']}", "what": "invalid answers, % of decisions", "amount": 100 * invalid})
    if used:
        st.subheader("Usage")
        table(pd.DataFrame(used), f"run-{run['id']}-usage", f"usage-{run['id']}", {"per scenario": style.figure_column()})


def decision_times(run: Json, timings: dict[int, Json]) -> None:
    """Decisions per doubling of time, of every role; median and p99 of the judged one."""
    shown = [(e, timings[e["id"]]["hist"]) for e in run["entries"] if e["id"] in timings and timings[e["id"]]["hist"].sum()]
    if not shown:
        return
    st.subheader("Decision times")
    drawn, twin = style.figure(320, barmode="overlay", showlegend=len(shown) > 1), []
    used = np.flatnonzero(sum(counts for _, counts in shown))
    first, last = used[0] - 2, used[-1] + 3
    for index, (e, counts) in enumerate(shown):
        bins = np.flatnonzero(counts)
        text = [f"{span_of(b)}: {counts[b]:,}" for b in bins]
        who = f"{e['role']}: {e['agent']}@{e['version']}"
        pattern = {"shape": ("", "/", "\\", "x")[index % 4]}
        drawn.add_bar(
            x=bins + 0.5, y=counts[bins], name=style.axis_label(who), width=0.94, opacity=0.8, hovertext=text, hoverinfo="text",
            marker={"color": style.PALETTE[index % 6], "pattern": pattern},
        )  # fmt: skip
        twin += [{"who": who, "time per decision": span_of(b), "decisions": int(counts[b])} for b in bins]
    judged = next((e["id"] for e, _ in shown if e["candidate"]), None)
    words = ""
    if judged is not None:
        marks = {part: nanoseconds * 1e6 for part in (0.5, 0.99) if (nanoseconds := quantile(timings, judged, part)) is not None}
        words = f"median about {time_of(marks[0.5])}, p99 about {time_of(marks[0.99])}"
        for place, label in {marks[0.5]: "median", marks[0.99]: "p99"}.items() if marks[0.5] != marks[0.99] else [(marks[0.5], "median and p99")]:
            style.line_at(drawn, float(np.log2(place)), f"{label} {time_of(place)}")
        st.text(f"{words[0].upper()}{words[1:]} (bins double, so both are right to a factor of 1.4).")
    step = max(1, -(-(last - first) // 12))
    ticks = np.arange(first, last + 1, step)
    drawn.update_xaxes(title="time per decision (log)", tickvals=ticks, ticktext=[time_of(2.0**t) for t in ticks], range=[first, last])
    drawn.update_yaxes(title="decisions")
    chart(drawn, f"Decision times: {words}", f"run-{run['id']}-times", f"times-{run['id']}", pd.DataFrame(twin))


def span_of(exponent: int) -> str:
    return f"{time_of(2.0**exponent)} to {time_of(2.0 ** (exponent + 1))}"


def time_of(nanoseconds: float) -> str:
    unit, factor = next(((u, f) for u, f in UNITS if nanoseconds >= f), UNITS[-1])
    return f"{figure(nanoseconds / factor, 2 if nanoseconds < 100 * factor else 3)} {unit}"


def environment_of(run: Json) -> None:
    env = run["environment"]
    git, gpu = env.get("git") or {}, env.get("gpu") or {}
    rows = {
        "python": env.get("python"), "platform": env.get("platform"), "processor": env.get("cpu"), "cores": env.get("cores"),
        "threads": env.get("threads"), "GPU": gpu.get("name"),
        "commit": git["commit"][:12] + (", with changes" if git.get("dirty") else "") if git.get("commit") else None,
        **(env.get("packages") or {}),
    }  # fmt: skip
    frame = pd.DataFrame([(what, str(value)) for what, value in rows.items() if value is not None], columns=["what", "value"])
    st.dataframe(frame, hide_index=True, height=min(38 + 35 * len(frame), 400))
    ends = f"asked for {moment(run['created'])}, begun {moment(run['started']) or '-'}, ended {moment(run['finished']) or '-'}"
    st.caption(f"Run {name(run['uid'])}, {run['chunk_size']} scenarios per chunk; {ends}")


asked = whole("id", 1)
if asked is None:
    listing()
else:
    detail(asked)
