"""2 to 8 agents on the same scenarios: who is ahead, by how much, where it is decided, and what they have not in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from arena.cli.board import label
from arena.cli.comparing import entrants, pooled_scores
from arena.cli.output import plain
from arena.scoring import Comparison, Profile, compare, compare_with_all, performance_profile
from arena.store import Store
from dashboard import elements, style
from dashboard.reading import nothing_yet, pick, pick_many, reading, state
from dashboard.words import told

MOST = 8
DELTA = 0.01  # smallest difference of interest
DECISIVE = 200  # scenarios listed
KEPT = 600  # seconds: all of it follows from complete runs, and another one changes the key


@st.cache_data(ttl=KEPT, max_entries=64, show_spinner=False)
def compared(_store: Store, state: str, task_id: int, ids: tuple[int, ...], names: tuple[str, ...]) -> dict[str, Any]:
    """The first agent against each other one, all pairs, scores per scenario and the reference vectors; in a fixed number of statements."""
    task, rows = _store.task(task_id), _store.agent_rows(ids)
    scores = pooled_scores(_store, task, ids)
    vectors = _store.task_vectors(task_id)
    found = [replace(e, name=name) for e, name in zip(entrants(_store, task, [rows[i] for i in ids], scores), names, strict=True)]
    clusters, (first, *others) = vectors.get("cluster"), found
    if len(others) == 1:
        comparisons = [compare(first, others[0], clusters=clusters, delta=DELTA)]
    else:
        comparisons = compare_with_all(first, others, clusters=clusters, delta=DELTA)
    means = {name: e.scores for name, e in zip(names, found, strict=True) if e.scores is not None}
    return {
        "task": task, "comparisons": comparisons, "scores": means if len(means) == len(names) else {}, "pooled": scores,
        "group": vectors.get("group"), "cluster": clusters,
        "agents": [rows[i] for i in ids], "conditions": _store.conditions(task_id, ids) if task.tier != "suite" else [],
        "members": [line for line in _store.matrix(task.domain) if line["tier"] != "suite"] if task.tier == "suite" else [],
    }  # fmt: skip


@st.cache_data(ttl=KEPT, max_entries=64, show_spinner=False)
def profile(state: str, digest: str, agent_id: int, _scores: np.ndarray, _clusters: np.ndarray | None) -> Profile:
    return performance_profile(_scores, task_digest=digest, clusters=_clusters)


def outcome(found: Comparison) -> str:
    """The verdict in a word, of the first agent."""
    words = replace(found, a="A", b="B").verdict
    return next((word for start, word in (("A is", "ahead"), ("B is", "behind"), ("A and", "equivalent")) if words.startswith(start)), "undecided")


SIGNS = {"ahead": (":material/trending_up:", "green"), "behind": (":material/trending_down:", "orange"), "equivalent": (":material/equal:", "blue")}


def verdicts(found: list[Comparison]) -> None:
    for c in found:
        word = outcome(c)
        icon, colour = SIGNS.get(word, (":material/help:", "gray"))
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.badge(word, icon=icon, color=colour)  # type: ignore[arg-type]
            st.markdown(replace(c, a=elements.name(style.short(c.a, 40)), b=elements.name(style.short(c.b, 40))).verdict)


def differences(found: list[Comparison]) -> go.Figure:
    """The paired difference to each other agent with its interval; the band is what does not matter."""
    figure = style.figure(height=160 + 34 * len(found), margin={"b": 60})
    place = list(range(len(found)))
    figure.add_vrect(-DELTA, DELTA, fillcolor=style.GREY, opacity=0.2, line_width=0)
    style.line_at(figure, 0, "0")
    figure.add_trace(
        go.Scatter(
            x=[c.difference for c in found], y=place, mode="markers", marker={"color": style.BLUE, "size": 10}, showlegend=False,
            error_x={"type": "data", "array": [c.hi - c.difference for c in found], "arrayminus": [c.difference - c.lo for c in found]},
            customdata=[(style.axis_label(c.b, 80), c.lo, c.hi) for c in found],
            hovertemplate="against %{customdata[0]}<br>%{x:+.4f} [%{customdata[1]:+.4f}, %{customdata[2]:+.4f}]<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title=f"score of {style.axis_label(found[0].a, 24)} minus the other's")
    figure.update_yaxes(
        tickvals=place, ticktext=[f"- {style.axis_label(c.b, 24)}" for c in found], range=[len(found) - 0.4, -0.6], showgrid=False
    )
    return figure


def scatter(a: str, b: str, scores: dict[str, np.ndarray], groups: list[str]) -> go.Figure:
    """Each scenario as a point: above the line the first agent wins."""
    x, y = scores[b], scores[a]
    figure = style.figure(height=460, legend={"itemsizing": "constant"})
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    figure.add_trace(
        go.Scatter(x=[low, high], y=[low, high], mode="lines", line={"color": style.GREY, "dash": "dash"}, name="equal", hoverinfo="skip")
    )
    sides = (
        (y > x, f"{style.axis_label(a, 18)} wins", style.BLUE, "circle"),
        (y < x, f"{style.axis_label(b, 18)} wins", style.VERMILLION, "diamond"),
        (y == x, "equal scores", style.GREY, "x"),
    )
    for won, words, colour, symbol in sides:
        where = np.flatnonzero(won)
        if len(where):
            figure.add_trace(
                go.Scattergl(
                    x=x[where], y=y[where], mode="markers", name=f"{words} ({len(where):,})", customdata=[(int(i), groups[i]) for i in where],
                    marker={"color": colour, "symbol": symbol, "size": 5, "opacity": 0.6},
                    hovertemplate="scenario %{customdata[0]} %{customdata[1]}<br>%{y:.4f} against %{x:.4f}<extra></extra>",
                )
            )  # fmt: skip
    figure.update_xaxes(title=f"score of {style.axis_label(b, 24)}")
    figure.update_yaxes(title=f"score of {style.axis_label(a, 24)}")
    return figure


def profiles(found: dict[str, Profile]) -> go.Figure:
    """Share of scenarios above each score, with its band; a line further up is better there."""
    figure = style.figure(height=460)
    for index, (agent, p) in enumerate(found.items()):
        look = style.look(index)
        name, around = style.axis_label(agent, 24), [*p.hi, *p.lo[::-1]]
        figure.add_trace(
            go.Scatter(
                x=[*p.tau, *p.tau[::-1]], y=around, fill="toself", fillcolor=look["colour"], opacity=0.2, line={"width": 0}, mode="lines",
                hoverinfo="skip", showlegend=False, legendgroup=name,
            )
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=p.tau, y=p.fraction, name=name, legendgroup=name, mode="lines", line={"color": look["colour"], "dash": look["dash"], "width": 2},
                hovertemplate=f"{name}<br>%{{y:.1%}} of the scenarios above %{{x:.2f}}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(title="score")
    figure.update_yaxes(title="share of scenarios above it", tickformat=".0%", range=[-0.02, 1.02])
    return figure


def improvement(scores: dict[str, np.ndarray]) -> pd.DataFrame:
    """P(row's agent scores higher) + P(tie) / 2, over scenarios."""
    values = np.stack(list(scores.values()))
    gap = values[:, None, :] - values[None, :, :]
    share = np.mean((gap > 1e-12) + 0.5 * (np.abs(gap) <= 1e-12), axis=2)
    np.fill_diagonal(share, np.nan)
    return pd.DataFrame(share, index=list(scores), columns=list(scores))


def matrix(share: pd.DataFrame) -> go.Figure:
    figure = style.figure(height=150 + 44 * len(share))
    place = np.arange(len(share))
    words = share.map(lambda value: "" if pd.isna(value) else f"{value:.2f}").to_numpy()
    figure.add_trace(
        go.Heatmap(
            z=share.to_numpy(), x=place, y=place, zmin=0, zmid=0.5, zmax=1, colorscale=style.DIVERGING, xgap=1, ygap=1,
            hoverinfo="skip", colorbar={"title": "P", "thickness": 12},
        )
    )  # fmt: skip
    style.write(figure, words, 0, 1)
    names = [style.axis_label(name, 18) for name in share.index]
    figure.update_xaxes(tickvals=place, ticktext=names, side="top", showgrid=False, title="than this one")
    figure.update_yaxes(tickvals=place, ticktext=names, showgrid=False, title="this agent scores higher")
    figure.update_layout(margin={"t": 90, "b": 20})
    return figure


def decisive(a: str, b: str, scores: dict[str, np.ndarray], groups: list[str], task: str) -> pd.DataFrame:
    """The scenarios with the largest difference, either way; `of all` is their share of the summed absolute differences, running."""
    gap = scores[a] - scores[b]
    order = np.argsort(-np.abs(gap), kind="stable")
    total = np.abs(gap).sum()
    rows = order[:DECISIVE]
    return pd.DataFrame(
        {
            "scenario": [elements.href("scenario", task=task, i=int(i)) for i in rows], "number": rows, "group": [groups[i] for i in rows],
            "first": scores[a][rows], "other": scores[b][rows], "difference": gap[rows],
            "of all": 100 * np.cumsum(np.abs(gap[order]))[: len(rows)] / total if total else np.nan,
        }
    )  # fmt: skip


def by_group(gap: np.ndarray, groups: list[str]) -> pd.DataFrame:
    """The mean difference in each group and what the group adds to the difference of all."""
    frame = pd.DataFrame({"group": groups, "gap": gap}).groupby("group", sort=False)["gap"].agg(["size", "mean"]).reset_index()
    frame["part"] = frame["mean"] * frame["size"] / len(gap)
    return frame.sort_values("part", key=abs, ascending=False).set_axis(["group", "scenarios", "mean difference", "part of the difference"], axis=1)


def settings_of(found: dict[str, Any], names: list[str]) -> pd.DataFrame:
    """What the agents are and under what they were played, one column each."""
    columns = []
    for agent in found["agents"]:
        flat = {"nature": agent.nature, "kind": agent.kind, "version": agent.version, "digest": (agent.artifact_digest or agent.digest)[:16]}
        flat |= flattened("", agent.spec)
        runs = [c for c in found["conditions"] if c["agent_id"] == agent.id]
        for key in ("seed", "mode", "level", "verified"):
            flat[f"runs: {key}"] = ", ".join(dict.fromkeys("not yet" if c[key] is None else str(c[key]) for c in runs))
        for run in runs:
            for key, value in flattened("", run["environment"]).items():
                flat[f"machine: {key}"] = ", ".join(dict.fromkeys([*filter(None, [flat.get(f"machine: {key}")]), value]))
        columns.append({key: told(value) for key, value in flat.items()})
    keys = list(dict.fromkeys(key for column in columns for key in column))
    return pd.DataFrame({"what": keys, **{name: [column.get(key, "") for key in keys] for name, column in zip(names, columns, strict=True)}})


def flattened(prefix: str, value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        return {key: text for name, part in value.items() for key, text in flattened(f"{prefix}.{name}" if prefix else str(name), part).items()}
    return {prefix: str(plain(value))}


st.title("Compare")
with reading() as store:
    tasks = {task["name"]: task for task in store.tasks() if task["agents"]}
    if not tasks:
        nothing_yet("No agent has finished a task yet.")
        st.stop()
    order = [task["name"] for task in sorted(tasks.values(), key=lambda task: (task["domain"], task["tier"] != "suite", task["name"]))]
    for_task, for_first, for_others = st.columns([1, 1, 2])
    with for_task:
        chosen = tasks[pick("Task", order, "task", {str(task["id"]): name for name, task in tasks.items()})]
    lines = store.board(chosen["id"])
    count = pd.Series([line["agent"] for line in lines]).value_counts()
    named = {f"{line['agent']}@{line['version']}" if count[line["agent"]] > 1 else label(line, ()): line["agent_id"] for line in lines}
    others = {str(number): name for name, number in named.items()}
    others |= {f"{line['agent']}@{line['version']}": name for name, line in zip(named, lines, strict=True)}
    if len(named) < 2:
        nothing_yet(f"Only one agent has finished {chosen['name']}; a comparison needs two.", f"arena run -t {chosen['name']} -a AGENT")
        st.stop()
    with for_first:
        first = pick("Agent", list(named), "a", others)
    rest = [name for name in named if name != first]
    with for_others:
        against = pick_many("Against", rest, "b", rest[:1], MOST - 1, others)
    if not against:
        st.caption("Choose at least one agent to compare with.")
        st.stop()
    names = [first, *against]
    key = state(store)
    found = compared(store, key, chosen["id"], tuple(named[name] for name in names), tuple(names))

task, comparisons = found["task"], found["comparisons"]
verdicts(comparisons)
words = f"The same {task.n_scenarios:,} scenarios for all. " + ("Few scenarios: p < 0.05 is needed as well. " if comparisons[0].few else "")
st.caption(words + f"Equivalent means that the whole interval lies within ±{DELTA}.")
st.subheader("Paired difference")
numbers = pd.DataFrame(
    {
        "against": c.b, "verdict": outcome(c), "difference": c.difference, "lo": c.lo, "hi": c.hi, "p": c.p, "p (Holm)": c.p_holm,
        "P(improve)": c.improvement, "scenarios": c.n,
    }
    for c in comparisons
).dropna(axis=1, how="all")  # fmt: skip
looks = {
    **{name: style.score_column(signed=True) for name in ("difference", "lo", "hi")},
    **{name: style.figure_column() for name in ("p", "p (Holm)")},
    "P(improve)": style.score_column(help="Share of scenarios in which the first agent scores higher, ties half"),
}
elements.table(numbers, f"{task.name}-comparison", "comparison", looks)
c = comparisons[0]
alt = f"{c.a} minus {c.b}: {c.difference:+.3f}, interval {c.lo:+.3f} to {c.hi:+.3f}"
elements.chart(differences(comparisons), alt, f"{task.name}-differences", "differences")

if found["members"]:
    st.subheader("On the tasks of the suite")
    scores_of = pd.DataFrame(found["members"]).pivot(index="task", columns="agent_id", values="headline").reindex(columns=[named[n] for n in names])
    scores_of = scores_of.loc[scores_of.index.isin(task.config.get("tasks") or ())].set_axis(names, axis=1).reset_index()
    elements.table(scores_of, f"{task.name}-members", "members", {name: style.score_column() for name in names})
elif not found["scores"]:
    st.info("This task scores only the whole set of scenarios: no scenario has a score of its own, so differences come from the draws.")
else:
    scores = found["scores"]
    labels = list(task.config.get("groups") or ())
    index = np.zeros(task.n_scenarios, int) if found["group"] is None else found["group"].astype(int)
    groups = [labels[i] if 0 <= i < len(labels) else "" if found["group"] is None else str(i) for i in index]
    other = pick("In detail against", against, "with", others) if len(against) > 1 else against[0]
    st.subheader("Scenario by scenario")
    won = int((scores[first] > scores[other]).sum())
    thinned = {name: values for name, values in scores.items() if name in (first, other)}
    both = pd.DataFrame({"scenario": np.arange(task.n_scenarios), "group": groups, first: scores[first], other: scores[other]})
    elements.chart(
        scatter(first, other, thinned, [style.axis_label(group) for group in groups]), f"{first} scores higher than {other} in {won} scenarios",
        f"{task.name}-scatter", "scatter", both, {first: style.score_column(), other: style.score_column()},
    )  # fmt: skip

    st.subheader("Which scenarios decide")
    gap = scores[first] - scores[other]
    total = np.abs(gap).sum()
    if total:
        half = int(np.searchsorted(np.cumsum(np.sort(np.abs(gap))[::-1]), total / 2) + 1)
        st.caption(f"Half of all differences, either way, lies in {half:,} of {len(gap):,} scenarios ({100 * half / len(gap):.0f} %).")
    if len(set(groups)) > 1:
        parts = by_group(gap, groups)
        signed = {name: st.column_config.NumberColumn(format="%+.4f") for name in ("mean difference", "part of the difference")}
        elements.table(parts, f"{task.name}-groups", "groups", signed, height=320)
    rows = decisive(first, other, scores, groups, task.name)
    looks = {
        "scenario": st.column_config.LinkColumn(display_text=r"i=(\d+)", width=80), "first": style.score_column(style.short(first, 20)),
        "other": style.score_column(style.short(other, 20)), "difference": style.score_column(signed=True),
        "of all": st.column_config.NumberColumn("of all, running", format="%.1f %%"),
    }  # fmt: skip
    order = [name for name in rows.columns if name != "number" and (name != "group" or any(groups))]
    elements.table(rows, f"{task.name}-scenarios", "scenarios", looks, order, height=350)

    st.subheader("Performance profile")
    st.caption("The share of scenarios with a score above each value, with its 95 % band. Lines that cross: neither is better everywhere.")
    digest, clusters, pooled = task.digest, found["cluster"], found["pooled"]
    curves = {name: profile(key, digest, named[name], pooled[named[name]], clusters) for name in names}
    numbers = pd.DataFrame({"score": curves[first].tau} | {f"{name}": p.fraction for name, p in curves.items()})
    elements.chart(
        profiles(curves), f"Share of scenarios above each score for {', '.join(names)}", f"{task.name}-profile", "profile", numbers,
        {name: style.score_column() for name in numbers.columns},
    )  # fmt: skip

    st.subheader("Probability of improvement")
    share = improvement(scores)
    twin = share.rename_axis("agent").reset_index()
    alt = f"{first} scores higher than {other} with probability {share.loc[first, other]:.2f}"
    elements.chart(matrix(share), alt, f"{task.name}-improvement", "improvement", twin, {name: style.score_column() for name in names})

st.subheader("What they have in common, and what not")
only = st.toggle("Only differences", key="only", bind="query-params")
table = settings_of(found, names)
if only:
    table = table[table[names].nunique(axis=1) > 1]
elements.table(table, f"{task.name}-settings", "settings", {"what": st.column_config.TextColumn(pinned=True)}, height=420)
