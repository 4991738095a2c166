"""Runs, newest first; one of them with its progress, failures and log."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from arena.cli.listing import run_line
from arena.cli.output import moment
from dashboard.reading import nothing_yet, pick, reading

SHOWN = 200
NEXT = {
    "queued": ("It waits for a worker.", "arena worker"),
    "stalled": ("Its worker is gone; what was finished is kept.", "arena resume {}"),
    "failed": ("It cannot go on by itself.", "arena status {}"),
    "cancelled": ("It was cancelled.", "arena resume {}"),
    "complete": ("Every figure of it can be derived again from its recordings.", "arena verify {}"),
}


def detail(run_id: int) -> None:
    """Progress, failures and log of one run."""
    with reading() as store:
        run, failures, events = store.run(run_id), store.failures(run_id), store.events(run_id)
        stalled = run_id in {row.id for row in store.stalled()}
    status = "stalled" if stalled else run["status"]
    entries = [entry for entry in run["entries"] if entry["candidate"]]
    failed = sum(entry["failures"] for entry in entries)
    with st.container(horizontal=True, gap="medium"):
        st.metric("status", status, width="content")
        st.metric("chunks", f"{run['n_done']} of {run['n_chunks']}", width="content")
        st.metric("failed scenarios", f"{failed} of {run['n_scenarios']}", width="content")
        st.metric("verified", {True: "yes", False: "NO", None: "not yet"}[run["verified"]], width="content")
    st.progress(run["n_done"] / max(run["n_chunks"], 1))
    st.text(f"{run['task']}, seed {run['seed']}: " + ", ".join(f"{entry['agent']}@{entry['version']} as {entry['role']}" for entry in entries))
    if status in NEXT:
        words, command = NEXT[status]
        st.caption(words)
        st.code(command.format(run_id), language="shell")
    if failures:
        st.subheader("Failures")
        st.dataframe(pd.DataFrame(failures)[["scenario", "step", "role", "code", "detail"]], hide_index=True)
        if failed > len(failures):
            st.caption(f"The first {len(failures)} of {failed}.")
    if events:
        st.subheader("Log")
        log = pd.DataFrame(events)[["at", "level", "code", "message"]]
        st.dataframe(log.assign(at=log["at"].map(moment)), hide_index=True)


st.title("Runs")
with reading() as store:
    stalled = {row.id for row in store.stalled()}
    found = [run_line(row, row["id"] in stalled) for row in store.runs(limit=SHOWN)]
if not found:
    nothing_yet("Nothing has been run yet.")
    st.stop()
table = [
    {
        "run": r["run"], "status": r["status"] + ("" if r["ranked"] else ", unranked"), "done": r["chunks_done"] / max(r["chunks"], 1),
        "task": r["task"], "agents": ", ".join(r["agents"]), "seed": r["seed"], "created": r["created"],
    }
    for r in found
]  # fmt: skip
progress = st.column_config.ProgressColumn("done", format="percent", min_value=0.0, max_value=1.0)
st.dataframe(pd.DataFrame(table), hide_index=True, column_config={"done": progress}, height=min(38 + 35 * len(table), 350))
if len(found) == SHOWN:
    st.caption(f"The newest {SHOWN}; older ones: arena list runs --before {found[-1]['run']}")
chosen = int(pick("Run", [str(r["run"]) for r in found], "run"))
active = next(r["status"] for r in found if r["run"] == chosen) in ("queued", "running")
st.fragment(detail, run_every="2s" if active else None)(chosen)
