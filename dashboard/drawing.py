"""What a domain draws of agents on a task, for the pages Task and Agent: by a toggle, for only this loads PyTorch and the domain.

The module of figures that a domain names may have `draw_task(task, agents)` (agents: name -> metric -> [n], means over the runs) and
`draw_agent(task, name, metrics, actions)` (actions: role -> [T, n, ...], the recording of one run); both give figures by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from arena import registry
from arena.errors import ArenaError
from arena.store import Store
from dashboard import elements, style
from dashboard.reading import reading
from dashboard.words import told

KEPT = 600  # seconds: it follows from complete runs, and another one changes the key
MOST = 6  # agents drawn beside each other

Named = tuple[tuple[int, str], ...]  # agents by number and the name to show


def able(domain: str) -> bool:
    """Whether a domain names a module of figures."""
    spec = registry.domains().get(domain)
    return spec is not None and bool(spec.figures)


def section(state: str, task_id: int, agents: Named, file: str, alone: bool = False) -> None:
    """The toggle, and below it what the domain draws of these agents; `alone`: of one, with its recorded actions."""
    st.subheader("Drawn by its domain")
    about = "this agent" if alone else f"the first {len(agents)} agents of its board" if len(agents) > 1 else "the only agent of its board"
    st.caption(f"What the domain has to show of {about}; it takes a few seconds.")
    if not st.toggle("Draw", key="figures", bind="query-params"):
        return
    try:
        with reading() as store, st.spinner("Drawing ..."):
            figures = drawn(store, state, task_id, agents, alone)
    except ArenaError as error:
        st.warning("It cannot be drawn here.", icon=":material/warning:")
        st.text(told(str(error)))
        return
    if not figures:
        st.info("The domain draws nothing of it.", icon=":material/info:")
    show(figures, file)


def show(figures: dict[str, go.Figure], file: str) -> None:
    """Figures in two columns, each with its words, its numbers and its download."""
    sides = st.columns(2, gap="medium")
    for number, (what, figure) in enumerate(figures.items()):
        with sides[number % 2]:
            st.markdown(f"**{what.replace('_', ' ')}**")
            if all(trace.type == "table" for trace in figure.data):  # one of the page can be scrolled, sorted and searched
                st.text(elements.alt(figure, what))
                elements.table(elements.numbers(figure), f"{file}-{what}", f"figure-{what}", height=480)
            else:
                elements.chart(figure, elements.alt(figure, what), f"{file}-{what}", f"figure-{what}", elements.numbers(figure))


@st.cache_data(ttl=KEPT, max_entries=16, show_spinner=False)
def drawn(_store: Store, state: str, task_id: int, agents: Named, alone: bool) -> dict[str, go.Figure]:
    """The figures by name. Raises ArenaError where the task is not the one that was played, or the domain refuses."""
    from arena.cli.opening import part, task_of_run

    runs: dict[int, dict[int, int]] = {number: {} for number, _ in agents}  # agent -> run -> its first entry
    for entry in _store.pooled_entries(task_id, list(runs)):
        runs[entry["agent_id"]].setdefault(entry["run_id"], entry["entry_id"])
    first = next((run for entries in runs.values() for run in entries), None)
    if first is None:
        return {}
    task = task_of_run(_store, _store.run_row(first))
    module = part(registry.domain_of(task.id), "figures")
    measured = {plotted(name, number, agents): means(_store, list(runs[number].values())) for number, name in agents if runs[number]}
    figures: dict[str, go.Figure] = module.draw_task(task, measured) if hasattr(module, "draw_task") else {}
    if alone and hasattr(module, "draw_agent"):
        run_id, entry_id = list(runs[agents[0][0]].items())[-1]  # of several the last: its metrics and its actions belong together
        figures |= module.draw_agent(task, next(iter(measured)), means(_store, [entry_id]), recorded(_store, run_id, task))
    return figures


def plotted(name: str, number: int, agents: Named) -> str:
    """A name as Plotly shows it, no two of them alike."""
    short = style.axis_label(name, 26)
    return short if sum(style.axis_label(other, 26) == short for _, other in agents) == 1 else f"{short} #{number}"


def means(store: Store, entries: list[int]) -> dict[str, np.ndarray]:
    """Every metric [n], the mean over some entries; NaN where one of them failed."""
    vectors = [store.metric_vectors(entry) for entry in entries]
    return {metric: np.mean([found[metric] for found in vectors], axis=0) for metric in vectors[0]}


def recorded(store: Store, run_id: int, task: Any) -> dict[str, np.ndarray]:
    """The recorded actions of a whole run, role -> [T, n, ...]. Raises ArenaError where a chunk has none."""
    from arena.store import read_recording

    chunks = store.chunks(run_id)
    if any(chunk["recording_digest"] is None for chunk in chunks):
        raise ArenaError("verify.empty", f"not all of run {run_id} was played: the agent had given up", f"arena status {run_id}")
    parts = [read_recording(store.home, chunk["recording_digest"]) for chunk in chunks]
    roles = [role.name for role in task.domain.roles if role.name in parts[0]]
    return {role: np.concatenate([tensors[role] for tensors in parts], axis=1) for role in roles}
