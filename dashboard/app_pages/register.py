"""Registering an agent and having it benchmarked. The page only asks: a worker checks the agent, stores it and plays the runs."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from arena import registration, registry, settings
from arena.cli.output import moment
from arena.errors import ArenaError
from arena.registry import AgentSpec
from arena.store import Store, open_store
from arena.store.files import publish
from dashboard.asking import ask
from dashboard.elements import badge, link, table
from dashboard.reading import reading, unreadable
from dashboard.words import back, public, told, whole

Json = dict[str, Any]
KINDS = {"built-in": "builtin", "HTTP": "http", "ONNX": "onnx", "Python": "file"}  # as the page and its address call them
ABOUT = {
    "builtin": "An agent that comes with Arena or a package, with parameters of your own.",
    "http": "A server that speaks the HTTP agent protocol (docs/agents.md). Addresses of this machine or network are refused here.",
    "onnx": "A network as an ONNX file, played by onnxruntime on the CPU; docs/agents.md says what its inputs are called.",
    "file": "Python code. It runs in a process of its own, with limits, as the worker's user.",
}
MARKS = {True: "✓ ok", False: "✗ broken", None: "- not tried"}
MOST = 200  # runs that one click may queue


# ---- asking for a registration -------------------------------------------------------------------------------------


def form() -> None:
    """What kind of agent it is, where it is, what it is called, what it plays."""
    words = [word for word, kind in KINDS.items() if kind != "file" or os.environ.get("ARENA_ALLOW_UPLOAD_CODE") == "1"]
    if st.query_params.get("kind", words[0]) not in words:
        st.query_params.pop("kind")
        st.info("The address asks for a kind of agent that is not taken here.", icon=":material/info:")
    kind = KINDS[st.segmented_control("What it is", words, default=words[0], key="kind", bind="query-params", required=True)]
    st.caption(ABOUT[kind])
    agents = registry.agents()
    spec = agents[st.selectbox("Agent", list(agents), format_func=lambda name: f"{name}: {agents[name].summary}")] if kind == "builtin" else None
    with st.form("register", enter_to_submit=False):
        wanted = source(kind, spec)
        left, right = st.columns(2)
        wanted["name"] = left.text_input("Its name here", max_chars=64, placeholder="my-agent", help="1 to 64 of a-z 0-9 _ . -").strip()
        globs = list(spec.tasks) if spec is not None else []
        every = list(dict.fromkeys([*globs, *(f"{domain}/*" for domain in registry.domains()), *registry.tasks()]))
        wanted["tasks"] = right.multiselect("Tasks it plays", every, default=globs or every[:1])
        asked = st.form_submit_button("Check and register", type="primary", icon=":material/fact_check:")
    st.caption("It is checked on a small task first: spaces, legal actions, determinism, time. Nothing is stored where the check fails.")
    if asked:
        file = wanted.pop("file", None)
        job = ask(lambda store: submit(store, wanted, file))
        if job is not None:
            st.query_params.from_dict({"job": str(job.id)})
            st.rerun()


def source(kind: str, spec: AgentSpec | None) -> Json:
    """The fields of one kind; `file` holds an upload."""
    if spec is not None:
        given = {}
        fields = declared(spec)
        for place, (name, words) in zip(st.columns(max(1, min(4, len(fields)))) * len(fields), fields.items(), strict=False):
            given[name] = place.text_input(f"Parameter `{name}`", placeholder=words).strip()
        if not fields:
            st.text("It has no parameters.")
        chosen = ", ".join(f"{name}={value}" for name, value in given.items() if value)
        return {"kind": kind, "source": f"{spec.name}({chosen})" if chosen else spec.name}
    if kind == "http":
        left, right = st.columns(2)
        address = left.text_input("Address of its server", placeholder="https://agent.example.org").strip()
        token = right.text_input(
            "Variable that holds its token, if it wants one", placeholder=f"{registration.TOKENS}MINE",
            help=f"The worker's environment variable {registration.TOKENS}..., not the token itself",
        ).strip()  # fmt: skip
        return {"kind": kind, "source": address, "token_env": token or None}
    if kind == "onnx":
        return {"kind": kind, "source": "", "file": st.file_uploader("The model", type="onnx")}
    file = st.file_uploader("The file", type="py")
    return {"kind": kind, "source": "", "file": file, "attribute": st.text_input("Its class or function", placeholder="the only one").strip()}


def declared(spec: AgentSpec) -> dict[str, str]:
    """The parameters of a listed agent with type and default, read from its source: importing it would load PyTorch."""
    module, _, attribute = spec.target.partition(":")
    found = importlib.util.find_spec(module)
    if found is None or not found.origin or not found.origin.endswith(".py"):
        return {}
    classes = {node.name: node for node in ast.parse(Path(found.origin).read_text()).body if isinstance(node, ast.ClassDef)}
    while attribute in classes:
        node = classes[attribute]
        made = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
        if made is not None:
            names = made.args.args[1:]
            defaults = [None] * (len(names) - len(made.args.defaults)) + [*made.args.defaults]
            shown = {}
            for name, default in zip(names, defaults, strict=True):
                value = "required" if default is None else ast.unparse(default)
                value = repr(spec.parameters.get(name.arg, ast.literal_eval(default))) if isinstance(default, ast.Constant) else value
                shown[name.arg] = f"{value} ({ast.unparse(name.annotation)})" if name.annotation is not None else value
            return {name: words for name, words in shown.items() if name != "checkpoint"}
        attribute = next((base.id for base in node.bases if isinstance(base, ast.Name)), "")
    return {}


def submit(store: Store, wanted: Json, file: Any) -> Any:
    """Keep the upload, then ask. Raises ArenaError as `registration.submit`."""
    if file is not None:
        content = file.getvalue()
        name = hashlib.sha256(content).hexdigest()
        target = registration.upload(f"{name}.{'py' if wanted['kind'] == 'file' else 'onnx'}")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{uuid.uuid4().hex}.tmp")
        partial.write_bytes(content)
        publish(partial, target)
        wanted["source"] = f"upload:{name}"
    return registration.submit(store, wanted)


# ---- what came of it -----------------------------------------------------------------------------------------------


def watch(job_id: int) -> str | None:
    """The job, live; the agent it registered, once it has."""
    back("Register another agent", "job")
    with reading() as store:
        try:
            job = store.job(job_id)
        except ArenaError:
            st.query_params.pop("job", None)
            st.info("The address asks for a job that is not here.", icon=":material/info:")
            return None
    active = job["status"] in ("queued", "running")
    st.fragment(progress, run_every="2s" if active else None)(job_id, job["status"])
    return str((job["result"] or {}).get("agent") or "") or None


def progress(job_id: int, status: str) -> None:
    """State, checks and log of a job. Drawn every two seconds while it is under way; when its state changes, the whole page."""
    with reading() as store:
        job, events = store.job(job_id), store.job_events(job_id)
        at_work = bool(store.jobs(status="running", limit=1) or store.runs(status="running", limit=1))
    if job["status"] != status:
        st.rerun()
    spec, result = job["spec"], job["result"] or {}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"Job {job_id}", width="content")
        badge("stalled" if job["stalled"] else job["status"])
        asked = f"register {spec.get('name')} ({spec.get('kind')})" if job["kind"] == "register" else f"run {spec.get('agent')} on {spec.get('task')}"
        st.text(asked)
    if job["status"] == "queued" and not at_work:
        st.warning("It waits for a worker, and none is at work. Start one in a terminal:", icon=":material/warning:")
        st.code("arena worker", language="shell")
    elif job["status"] in ("queued", "running"):
        st.text("It waits for a worker." if job["status"] == "queued" else "A worker is checking it.")
        st.button("Cancel", icon=":material/cancel:", on_click=lambda: ask(lambda store: store.cancel_job(job_id)))
    elif job["status"] == "failed":
        st.error("It was not registered.", icon=":material/error:")
        st.text(told(f"{result.get('message', '')}\n{result.get('hint', '')}".strip()))
    elif job["kind"] == "register":
        st.success("It is registered.", icon=":material/check:")
    if job["run_id"]:
        link("run", f"Run {job['run_id']}", ":material/play_circle:", id=job["run_id"])
    checks = result.get("checks") or [
        {"rule": e["code"].removeprefix("check."), "ok": e["data"]["ok"], "detail": e["message"]} for e in events if "ok" in (e["data"] or {})
    ]
    if checks:
        frame = pd.DataFrame({"rule": c["rule"], "outcome": MARKS[c["ok"]], "detail": told(c["detail"])} for c in checks)
        table(frame, f"job-{job_id}-checks", "checks", {"detail": st.column_config.TextColumn(width="large")})
    if events:
        with st.expander(f"Log, {len(events)} lines", icon=":material/list:"):
            log = pd.DataFrame(events)[["at", "level", "code", "message"]]
            log = log.assign(at=log["at"].map(lambda at: str(moment(at))[:19].replace("T", " ")), message=log["message"].map(told))
            st.dataframe(log, hide_index=True, column_config={"message": st.column_config.TextColumn(width="large")})


# ---- benchmarks ----------------------------------------------------------------------------------------------------


def playable() -> dict[str, tuple[str, ...]]:
    """Agents that a worker can play, with the globs of their tasks: registered ones, the newest first, and those that are listed."""
    found: dict[str, tuple[str, ...]] = {}
    try:
        with open_store(settings.store_url(), settings.home(), read_only=True) as store:
            rows = sorted(registration.registered_rows(store), key=lambda row: -row["id"])
            found = {f"{row['name']}@{row['version']}": tuple(row["spec"]["tasks"]) for row in rows}
    except ArenaError as error:
        if error.code != "store.missing":
            unreadable(error)
    return found | {name: spec.tasks for name, spec in registry.agents().items()}


def benchmark(newest: str | None) -> None:
    """Runs of one agent on tasks and suites, queued."""
    st.subheader("Queue a benchmark")
    agents = playable()
    asked = st.query_params.get("agent", newest)
    place = list(agents).index(asked) if asked in agents else 0
    agent = st.selectbox("Agent to play", list(agents), place, key=f"play-{asked}")
    listed, suites = registry.tasks(), {f"{d.name} (its suite)": [f"{d.name}/{task}" for task in d.suite] for d in registry.domains().values()}
    plays = AgentSpec(agent, "", "", "", agents[agent]).plays
    options = [suite for suite, members in suites.items() if any(map(plays, members))] + [task for task in listed if plays(task)]
    with st.form("benchmark", enter_to_submit=False):
        left, right = st.columns([3, 1])
        tasks = left.multiselect("Tasks", options, default=options[:1], key=f"tasks-{agent}")
        seeds = int(right.number_input("Seeds", min_value=1, max_value=20, value=1, help="runs with seeds 0, 1, ... of the agent's own luck"))
        wanted = st.form_submit_button("Queue the runs", type="primary", icon=":material/playlist_add:")
    if not wanted:
        return
    known = {task for task in (*options, *(t for members in suites.values() for t in members))}
    chosen = [task for task in dict.fromkeys(t for choice in tasks for t in suites.get(choice, [choice])) if task in known and plays(task)]
    runs = [{"task": task, "agent": agent, "seed": seed} for task in chosen for seed in range(seeds)]
    if not runs or agent not in agents:
        st.error("Choose at least one task.", icon=":material/error:")
    elif len(runs) > MOST:
        st.error(f"These are {len(runs):,} runs; at most {MOST} are queued at once.", icon=":material/error:")
    elif (jobs := ask(lambda store: [store.enqueue("run", run).id for run in runs])) is not None:
        words = f"1 run is queued as job {jobs[0]}" if len(jobs) == 1 else f"{len(jobs)} runs are queued as jobs {jobs[0]} to {jobs[-1]}"
        st.success(f"{words}. A worker plays them; the board shows them when they are complete.", icon=":material/check:")
        with st.container(horizontal=True):
            link("queue", "Queue", ":material/list_alt:")
            link("leaderboard", "Board", ":material/leaderboard:", task=chosen[0])


st.title("Register")
if public():
    st.info("This dashboard only shows. Agents are registered where it runs.", icon=":material/lock:")
    st.stop()
job = whole("job", 1)
agent = watch(job) if job is not None else None
if job is None:
    form()
if job is None or agent is not None:
    benchmark(agent)
