"""What waits, what is under way and what stopped; who works on it. Cancelling and putting back in the queue, unless strangers look."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from arena.cli.output import duration, moment
from arena.store import Store
from dashboard.asking import ask
from dashboard.elements import badge, link, table
from dashboard.reading import nothing_yet, reading
from dashboard.words import public, signed, told

Json = dict[str, Any]
PAGE = 50  # lines of each part
LEASE = 60  # seconds after which a silent worker is held for dead


def read() -> Json | None:
    """All that the page shows; None where nothing was ever asked for."""
    with reading() as store:
        counts, stalled = store.overview(), {row.id for row in store.stalled()}
        runs = {status: store.runs(status=status, limit=PAGE) for status in ("running", "queued", "failed", "cancelled")}
        jobs = {status: store.jobs(status=status, limit=PAGE) for status in ("running", "queued", "failed", "done")}
        for row in runs["running"]:
            row["stalled"] = row["id"] in stalled
        if not any(runs.values()) and not any(jobs.values()) and not counts["complete"]:
            return None
        return {"counts": counts, "stalled": stalled, "runs": runs, "jobs": jobs}


def busy(found: Json | None) -> bool:
    """Whether anything can change by itself."""
    return found is not None and any(found[kind][status] for kind in ("runs", "jobs") for status in ("queued", "running"))


def content(looking: bool) -> None:
    """The page; drawn every two seconds where it is `looking`."""
    found = read()
    if busy(found) != looking:
        st.rerun()
    if found is None:
        return nothing_yet("Nothing has been asked for yet.")
    runs, jobs = found["runs"], found["jobs"]
    at_work = workers(runs["running"], jobs["running"])
    waiting = found["counts"]["queued"] + len(jobs["queued"])
    with st.container(horizontal=True, gap="medium"):
        st.metric("waiting", waiting, width="content")
        st.metric("under way", found["counts"]["running"] - len(found["stalled"]) + sum(not j["stalled"] for j in jobs["running"]), width="content")
        st.metric("stalled", len(found["stalled"]) + sum(j["stalled"] for j in jobs["running"]), width="content")
        st.metric("workers", int((at_work["state"] == "at work").sum()) if len(at_work) else 0, width="content")
    if waiting and not (len(at_work) and (at_work["state"] == "at work").any()):
        st.warning("Nobody is at work on what waits. Start a worker in a terminal:", icon=":material/warning:")
        st.code("arena worker", language="shell")
    st.subheader("Under way")
    if not runs["running"] and not jobs["running"]:
        st.text("Nothing.")
    for job in jobs["running"]:
        job_line(job)
    for run in runs["running"]:
        run_line(run)
    if len(at_work):
        st.subheader("Workers")
        table(at_work, "workers", "workers")
        st.caption(f"Workers renew their leases all the time. One that was silent for {LEASE} s is held for dead, and its work is open to others.")
    waiting_lines(runs["queued"], jobs["queued"], found["counts"]["queued"])
    stopped(runs["failed"] + runs["cancelled"], found["counts"]["failed"] + found["counts"]["cancelled"])
    ended(sorted(jobs["failed"] + jobs["done"], key=lambda job: -job["id"])[:PAGE])


def job_words(job: Json) -> str:
    spec = job["spec"]
    if job["kind"] == "register":
        return f"register {spec.get('name')} ({spec.get('kind')})"
    return f"run {spec.get('agent')} on {spec.get('task')}" + (f", seed {spec['seed']}" if spec.get("seed") else "")


def button(label: str, key: str, work: Callable[[Store], object], icon: str) -> None:
    """An action, where actions are allowed. What it changed is seen at once."""
    if not public() and st.button(label, key=key, icon=icon) and ask(work) is not None:
        st.rerun()


def run_line(run: Json) -> None:
    """A run under way: its progress and what can be done."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            link("run", f"Run {run['id']}", ":material/play_circle:", id=run["id"])
            badge("stalled" if run["stalled"] else "running")
            st.text(f"{', '.join(run['candidates'])} on {run['task']}, seed {run['seed']}")
        words = f"{run['n_done']} of {run['n_chunks']} chunks"
        if run["n_done"] and run["started"] and not run["stalled"]:
            pace = (time.time() - run["started"] / 1e6) / run["n_done"]
            words += f", about {duration(pace * (run['n_chunks'] - run['n_done']))} left"
        st.progress(run["n_done"] / max(run["n_chunks"], 1), text=words)
        with st.container(horizontal=True):
            if run["stalled"]:
                button("Put back in the queue", f"requeue-{run['id']}", lambda store: store.requeue(run["id"]), ":material/restart_alt:")
            button("Cancel", f"cancel-{run['id']}", lambda store: store.cancel(run["id"]), ":material/cancel:")


def job_line(job: Json) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            if not public():
                link("register", f"Job {job['id']}", ":material/add_circle:", job=job["id"])
            badge("stalled" if job["stalled"] else "running")
            st.text(job_words(job))
        if job["stalled"]:
            st.text("Its worker is gone; the next one takes it.")
        button("Cancel", f"cancel-job-{job['id']}", lambda store: store.cancel_job(job["id"]), ":material/cancel:")


def workers(runs: list[Json], jobs: list[Json]) -> pd.DataFrame:
    """Who has a lease, on what, and for how long still. Where strangers look, without the name of the machine."""
    rows: dict[str, Json] = {}
    held = [(run, f"run {run['id']}") for run in runs] + [(job, f"job {job['id']}") for job in jobs]
    for row, words in held:
        mine = rows.setdefault(str(row["owner"]), {"worker": "", "state": "at work", "on": [], "lease": float("inf")})
        mine["on"].append(words)
        mine["lease"] = min(mine["lease"], row["lease_until"] / 1e6 - time.time())
        if row["stalled"]:
            mine["state"] = "gone"
    for number, (owner, row) in enumerate(rows.items(), 1):
        silent = row.pop("lease")
        row |= {"worker": f"worker {number}" if public() else owner, "on": ", ".join(row["on"])}
        row["lease"] = f"{silent:.0f} s left" if silent >= 0 else f"over for {duration(-silent)}"
    return pd.DataFrame(rows.values(), columns=["worker", "state", "on", "lease"])


def waiting_lines(runs: list[Json], jobs: list[Json], total: int) -> None:
    """What waits, first in line first; several can be cancelled at once."""
    if not runs and not jobs:
        return
    st.subheader("Waiting")
    lines = [{"what": f"job {j['id']}", "for": job_words(j), "since (UTC)": clock(j["created"]), "cancel": ("job", j["id"])} for j in jobs[::-1]]
    lines += [
        {"what": f"run {r['id']}", "for": f"{', '.join(r['candidates'])} on {r['task']}, seed {r['seed']}", "since (UTC)": clock(r["created"]),
         "cancel": ("run", r["id"])}
        for r in runs[::-1]
    ]  # fmt: skip
    frame = pd.DataFrame(lines).drop(columns="cancel")
    if public():
        table(frame, "waiting", "waiting")
    else:
        picked = table(frame, "waiting", "waiting-" + "-".join(frame["what"].head(3)), on_select="rerun", selection_mode="multi-row")
        chosen = [lines[row]["cancel"] for row in picked.selection.rows if row < len(lines)]
        words = f"Cancel the {len(chosen)} chosen" if chosen else "Cancel"

        def cancel(store: Store) -> bool:
            return all([store.cancel_job(number) if kind == "job" else store.cancel(number) for kind, number in chosen])

        if chosen:
            button(words, "cancel-waiting", cancel, ":material/cancel:")
        else:
            st.caption("Choose rows on their left to cancel them.")
    if total > len(runs):
        st.caption(f"The newest {len(runs)} of {total:,} runs that wait.")


def stopped(runs: list[Json], total: int) -> None:
    """Runs that failed or were cancelled; what they finished is kept."""
    if not runs:
        return
    st.subheader("Stopped")
    runs = sorted(runs, key=lambda run: -run["id"])[:PAGE]
    frame = pd.DataFrame(
        {
            "run": r["id"], "status": signed(r["status"]), "agents": ", ".join(r["candidates"]), "task": r["task"], "seed": r["seed"],
            "done": f"{r['n_done']} of {r['n_chunks']} chunks", "ended (UTC)": clock(r["finished"]),
        }
        for r in runs
    )  # fmt: skip
    small = {"run": st.column_config.NumberColumn(width="small"), "seed": st.column_config.NumberColumn(width="small")}
    if public():
        table(frame, "stopped", "stopped", small)
    else:
        picked = table(frame, "stopped", f"stopped-{runs[0]['id']}-{len(runs)}", small, on_select="rerun", selection_mode="multi-row")
        chosen = [runs[row]["id"] for row in picked.selection.rows if row < len(runs)]
        if chosen:

            def requeue(store: Store) -> bool:
                return all([store.requeue(number) for number in chosen])

            button(f"Put {len(chosen)} back in the queue", "requeue-stopped", requeue, ":material/restart_alt:")
        else:
            st.caption("Choose rows on their left to put them back in the queue.")
    if total > len(runs):
        st.caption(f"The newest {len(runs)} of {total:,}.")


def ended(jobs: list[Json]) -> None:
    """Jobs that are done or failed, with what came of them."""
    if not jobs:
        return
    st.subheader("Jobs that ended")
    frame = pd.DataFrame(
        {"job": j["id"], "status": signed(j["status"]), "for": job_words(j), "came to": told(outcome(j)), "ended (UTC)": clock(j["finished"])}
        for j in jobs
    )
    shape = {"job": st.column_config.NumberColumn(width="small"), "came to": st.column_config.TextColumn(width="large")}
    picked = table(frame, "jobs", f"jobs-{jobs[0]['id']}", shape, on_select="rerun", selection_mode="single-cell")
    st.caption("Click a row to see what came of it.")
    if picked.selection.cells:
        job = jobs[picked.selection.cells[0][0]]
        if job["run_id"]:
            st.switch_page("app_pages/run.py", query_params={"id": str(job["run_id"])})
        elif not public():
            st.switch_page("app_pages/register.py", query_params={"job": str(job["id"])})


def outcome(job: Json) -> str:
    result = job["result"] or {}
    if job["status"] == "failed":
        return str(result.get("message", "")).split("\n")[0]
    return f"run {job['run_id']}" if job["run_id"] else str(result.get("agent", ""))


def clock(microseconds: int | None) -> str:
    return (moment(microseconds) or "")[:16].replace("T", " ")


st.title("Queue")
under_way = busy(read())
st.fragment(content, run_every="2s" if under_way else None)(under_way)
