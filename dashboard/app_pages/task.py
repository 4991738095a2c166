"""A task: what is asked, what 0 and 1 mean, its scenarios and metrics, how well it tells agents apart, how to cite it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from arena import registry
from arena.cli.comparing import pooled_scores
from arena.cli.output import figure as three_digits
from arena.cli.output import moment, plain
from arena.scoring import ranks, scenarios_for_difference, scenarios_for_interval
from arena.store import Store
from dashboard import drawing, elements, style
from dashboard.reading import nothing_yet, pick, reading, state
from dashboard.words import told

KEPT = 600  # seconds: it follows from complete runs, and another one changes the key
NEIGHBOURS = 12  # agents whose paired differences are looked at
WIDTHS = (0.01, 0.02, 0.05)
BINS = 30
BETTER = {1: "more", -1: "less", 0: ""}
ROLES = ("primary", "score", "constraint", "objective", "info")
OURS = ("candidates", "fill", "groups", "about", "tasks", "crossplay")  # what the store adds to a task's configuration


@st.cache_data(ttl=KEPT, max_entries=64, show_spinner=False)
def apart(_store: Store, state: str, task_id: int) -> tuple[int, int]:
    """How many of all pairs of agents on the board the task separates: apart by more than 1.96 standard errors of the paired difference."""
    lines = _store.board(task_id, with_draws=True)
    found = ranks([line["headline"] for line in lines], np.array([line["draws"] for line in lines]).reshape(len(lines), -1))
    return int((found.shown - 1).sum()), len(lines) * (len(lines) - 1) // 2


@st.cache_data(ttl=KEPT, max_entries=64, show_spinner=False)
def power(_store: Store, state: str, task_id: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How many scenarios an interval of given width and a paired difference of given size need; of the first agents and their neighbours."""
    task = _store.task(task_id)
    lines = [line for line in _store.board(task_id) if line["sd"] is not None][:NEIGHBOURS]
    if task.headline == "of_means" or not lines:
        return pd.DataFrame(), pd.DataFrame()
    headline: Any = "iqm" if task.headline == "iqm" else "mean"
    single = pd.DataFrame(
        {
            "agent": f"{line['agent']}@{line['version']}", "score": line["headline"], "sd": line["sd"], "± now": (line["hi"] - line["lo"]) / 2,
            **{f"for ± {h:g}": scenarios_for_interval(line["sd"], h, headline) for h in WIDTHS},
        }
        for line in lines
    )  # fmt: skip
    scores = {agent: matrix.mean(axis=0) for agent, matrix in pooled_scores(_store, task, [line["agent_id"] for line in lines]).items()}
    pairs = []
    for a, b in zip(lines, lines[1:], strict=False):
        if a["agent_id"] not in scores or b["agent_id"] not in scores:
            continue
        gap = scores[a["agent_id"]] - scores[b["agent_id"]]
        sd, difference = float(gap.std(ddof=1)), float(gap.mean())
        if np.isfinite(sd):
            needed = {f"to find {d:g}": scenarios_for_difference(sd, d) for d in WIDTHS}
            seen = scenarios_for_difference(sd, abs(difference)) if abs(difference) > 1e-12 else None
            pairs.append({"pair": f"{a['agent']} - {b['agent']}", "difference": difference, "sd": sd, "to find it": seen, **needed})
    return single, pd.DataFrame(pairs)


def histogram(gap: np.ndarray, unit: str) -> tuple[go.Figure, pd.DataFrame]:
    """How far the bound lies from the textbook, scenario by scenario."""
    counts, edges = np.histogram(gap, bins=BINS)
    found = style.figure(height=340, margin={"b": 60})
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    words = [f"{three_digits(low)} to {three_digits(high)}" for low, high in zip(edges, edges[1:], strict=False)]
    found.add_trace(
        go.Bar(
            x=middle, y=counts, width=width, marker={"color": style.BLUE, "line": {"width": 0}}, showlegend=False, customdata=words,
            hovertemplate="%{customdata}: %{y} scenarios<extra></extra>",
        )
    )  # fmt: skip
    style.line_at(found, float(np.median(gap)), "median")
    found.update_xaxes(title="gap between bound and textbook" + (f" ({style.axis_label(unit)})" if unit else ""))
    found.update_yaxes(title="scenarios")
    return found, pd.DataFrame({"from": edges[:-1], "to": edges[1:], "scenarios": counts})


def sizes(vectors: dict[str, np.ndarray]) -> pd.DataFrame:
    lines = {name: v for name, v in sorted(vectors.items()) if name not in ("group", "cluster")}
    return pd.DataFrame(
        {"reference": name, "mean": float(v.mean()), "least": float(v.min()), "most": float(v.max())} for name, v in lines.items()
    )


def groups(vectors: dict[str, np.ndarray], names: list[str], gap: np.ndarray | None) -> pd.DataFrame:
    """The groups of scenarios: how many, and how far bound and textbook lie apart there."""
    place = vectors["group"].astype(int)
    rows = []
    for group in np.unique(place):
        row: dict[str, Any] = {"group": names[group] if 0 <= group < len(names) else str(group), "scenarios": int((place == group).sum())}
        rows.append(row | ({} if gap is None else {"mean gap": float(gap[place == group].mean())}))
    return pd.DataFrame(rows)


def citation(task: dict[str, Any]) -> str:
    year = (moment(task["registered"]) or "")[:4]
    return "\n".join(
        (
            "@misc{arena_" + "".join(c if c.isalnum() else "_" for c in task["name"]) + ",",
            f"  title = {{{task['name']}}},",
            f"  howpublished = {{Arena {version('arena-bench')}, {task['n_scenarios']} frozen scenarios}},",
            f"  note = {{task digest {task['digest']}}},",
            f"  year = {{{year}}}",
            "}",
        )
    )


st.title("Task")
with reading() as store:
    every = store.tasks()
    if not every:
        nothing_yet("No task has been played yet.")
        st.stop()
    newest = {row["name"]: row["id"] for row in every}
    named = {row["name"] if newest[row["name"]] == row["id"] else f"{row['name']} (digest {row['digest'][:8]})": row for row in every}
    aliases = {str(row["id"]): label for label, row in named.items()}
    for name in newest:
        aliases[name.rpartition("-v")[0] or name] = name
    order = sorted(named, key=lambda label: (named[label]["domain"], named[label]["tier"] != "suite", label))
    task = named[pick("Task", order, "id", aliases)]
    whole = task["tier"] == "suite"
    key = state(store)
    metrics, vectors = store.metrics(task["id"]), store.task_vectors(task["id"])
    separated, pairs = apart(store, key, task["id"]) if task["agents"] > 1 else (0, 0)
    single, paired = (pd.DataFrame(), pd.DataFrame()) if whole or not task["agents"] else power(store, key, task["id"])
    pictured = task["agents"] and not whole and drawing.able(task["domain"])
    leaders = store.board(task["id"])[: drawing.MOST] if pictured else []

spec, domain = registry.tasks().get(task["name"]), registry.domains().get(task["domain"])
about, crossplay, fill = (task["config"].get(key) or {} for key in ("about", "crossplay", "fill"))
st.subheader(elements.name(task["name"]))
with st.container(horizontal=True):
    st.badge(task["tier"] if task["tier"] in ("tiny", "standard", "large", "real", "suite") else "other", icon=":material/flag:", color="blue")
    if spec is not None and not spec.ranked:
        words = "cross-play, not ranked" if crossplay else "for tests, not ranked"
        st.badge(words, icon=":material/grid_on:" if crossplay else ":material/science:", color="gray")
    if spec is None and not whole:
        st.badge("not installed here", icon=":material/cloud_off:", color="orange")
summary = about.get("summary") or (spec.summary if spec else domain.summary if domain and whole else "")
if summary:
    st.text(summary)
if about.get("statement"):
    st.text(about["statement"])
if whole:
    st.text("The mean over the tasks below. An agent stands here only with all of them; each score first lies within -1 and 1.2.")
for role, who in fill.items():
    st.text(f"The role {role} is played by {told(who)}, which is frozen: another one would make another task.")
if crossplay:
    wins = f"{crossplay['outcome']} says who wins a match" if crossplay["outcome"] else "nobody wins or loses a match"
    st.text(f"Two agents meet, as {' and '.join(crossplay['roles'])}; {wins}.")
    elements.link("ratings", "Who met whom", ":material/grid_on:", task=task["name"])
elements.link("leaderboard", f"Its board: {task['agents']:,} agents", ":material/leaderboard:", task=task["name"])

primary = next((m for m in metrics if m["role"] == "primary"), None)
unit = str(primary["unit"]) if primary else ""
gap = primary["direction"] * (vectors["ref1"] - vectors["ref0"]) if primary and {"ref0", "ref1"} <= set(vectors) else None
if whole:
    st.subheader("Its tasks")
    members = task["config"].get("tasks") or []
    rows = pd.DataFrame({"task": name, "link": elements.href("task", id=name), "played": name in newest} for name in members)
    elements.table(rows, f"{task['name']}-tasks", "members", {"link": elements.link_column("")})
else:
    st.subheader("What 0 and 1 are")
    gaps = {"scenario": "each scenario's own gap between them", "task": "the mean gap between them (so that one scenario alone may pass 1)"}
    bound = {True: "a proven bound", False: "the best result known"}.get(about.get("bounded"), "the bound")
    how = {"mean": "the mean", "iqm": "the mean of the middle half (IQM)", "of_means": "a function of the means of the whole set"}
    st.text(
        f"0 is ref0, the textbook; 1 is ref1, {bound}. Distances are divided by {gaps.get(task['normalise'], task['normalise'])}. "
        f"The headline is {how.get(task['headline'], task['headline'])}; a failed scenario scores {task['floor']:g}."
    )
    if about.get("references"):
        st.text(about["references"].replace("`", ""))
    lines = sizes(vectors)
    if not lines.empty:
        elements.table(lines, f"{task['name']}-references", "references", {name: style.figure_column() for name in ("mean", "least", "most")})
    if gap is not None and primary is not None:
        st.caption(f"Where the gap is small, little can be won. It is measured in {elements.name(primary['name'])}.")
        drawn, twin = histogram(gap, unit)
        alt = f"Gap between bound and textbook in {len(gap)} scenarios: median {np.median(gap):.3g}, from {gap.min():.3g} to {gap.max():.3g}"
        elements.chart(drawn, alt, f"{task['name']}-gaps", "gaps", twin, {name: style.figure_column() for name in ("from", "to")})

    st.subheader("Scenarios")
    st.text(f"{task['n_scenarios']:,} frozen scenarios, the same for every agent.")
    if "group" in vectors:
        table = groups(vectors, list(task["config"].get("groups") or ()), gap)
        elements.table(table, f"{task['name']}-groups", "groups", {"mean gap": style.figure_column()}, height=300)
    settings = {key: plain(value) for key, value in task["config"].items() if key not in OURS}
    settings |= {"candidate plays": ", ".join(task["config"].get("candidates") or ())}
    settings |= {f"{role} is played by": who for role, who in fill.items()}
    with st.expander("Configuration", icon=":material/settings:"):
        table = pd.DataFrame({"what": list(settings), "value": [told(value) for value in settings.values()]})
        elements.table(table, f"{task['name']}-configuration", "configuration", {"value": st.column_config.TextColumn(width="large")})

    st.subheader("Metrics")
    table = pd.DataFrame(
        {"metric": m["name"], "role": m["role"], "unit": m["unit"], "better": BETTER.get(m["direction"], ""), "limit": m["threshold"]}
        for m in sorted(metrics, key=lambda m: ROLES.index(m["role"]) if m["role"] in ROLES else len(ROLES))
    )
    elements.table(table.dropna(axis=1, how="all"), f"{task['name']}-metrics", "metrics", {"limit": style.figure_column()})

st.subheader("How well it tells agents apart")
if pairs:
    share = 100 * separated / pairs
    st.metric("pairs of agents separated", f"{share:.0f} %", help="Apart by more than 1.96 standard errors of their paired difference")
    st.caption(f"{separated:,} of the {pairs:,} pairs on its board.")
else:
    st.caption("With fewer than two agents on the board there is nothing to tell apart.")
if not single.empty:
    st.caption(f"Scenarios for a 95 % interval of a given half width ({len(single)} of {task['agents']:,} agents).")
    looks = {name: style.score_column() for name in ("score", "sd", "± now")}
    elements.table(single, f"{task['name']}-intervals", "power", looks, height=300)
if not paired.empty:
    st.caption("Scenarios to find a paired difference with 80 % power, between neighbours on the board.")
    looks = {"difference": style.score_column(signed=True), "sd": style.score_column()}
    elements.table(paired, f"{task['name']}-differences", "paired", looks, height=300)

if leaders:
    named_leaders = tuple((line["agent_id"], f"{line['agent']}@{line['version']}") for line in leaders)
    drawing.section(key, task["id"], named_leaders, task["name"])

st.subheader("Identity and citation")
st.caption("Scores are compared only under one digest: it covers scenarios, references, metrics and code version.")
st.code(task["digest"], language=None)
st.code(citation(task), language="bibtex")
