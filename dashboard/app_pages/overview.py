"""What is judged, who leads in each domain, what was run last, where to go."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from arena import registry
from arena.cli.listing import run_line
from arena.cli.output import span
from arena.scoring import interval
from arena.store import Store
from dashboard import elements, style
from dashboard.reading import FRESH, nothing_yet, reading, state
from dashboard.words import public, signed

NEWEST = 8
TIERS = ("suite", "standard", "large", "real", "tiny")  # which board speaks for a domain: the first of these that has one
WAYS = {
    "leaderboard": ("Leaderboard", ":material/leaderboard:", "who is ahead on a task, and how sure that is"),
    "compare": ("Compare", ":material/compare_arrows:", "2 to 8 agents on the same scenarios"),
    "agent": ("Agent", ":material/smart_toy:", "what an agent is and where it stands"),
    "task": ("Task", ":material/flag:", "what is asked, and what 0 and 1 mean"),
    "register": ("Register", ":material/add_circle:", "bring your own agent"),
    "queue": ("Queue", ":material/list_alt:", "what is running and waiting"),
}


@st.cache_data(ttl=FRESH, max_entries=16, show_spinner=False)
def tiles(_store: Store, state: str) -> list[dict[str, Any]]:
    """A tile per domain that is installed or has results: `installed` tasks (None: not installed here), boards, agents, the `leader`'s line,
    `learned`: its difference to the textbook in figures, and whose favour it is in (learned, classical or neither).
    """
    installed, counts = registry.domains(), _store.domain_counts()
    by_domain: dict[str, list[dict[str, Any]]] = {}
    for line in _store.leaders():
        by_domain.setdefault(line["domain"], []).append(line)
    spoken = {domain: speaking(lines) for domain, lines in by_domain.items()}
    wanted = [(line["task_id"], line["agent_id"]) for lines in spoken.values() for line in lines.values()]
    draws = _store.draws(wanted) if wanted else {}
    found = []
    for domain in sorted({*installed, *counts}):
        spec, lines, count = installed.get(domain), spoken.get(domain, {}), counts.get(domain, {"boards": 0, "agents": 0})
        leader = max(lines.values(), key=lambda line: line["headline"], default=None)
        summary = spec.summary if spec else "This domain is not installed here; its results are kept."
        tile = {"domain": domain, "summary": summary, "installed": len(spec.tasks) if spec else None, **count}
        found.append({**tile, "leader": leader, "learned": against(lines, draws)})
    return found


def speaking(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The leaders by nature on the board that speaks for a domain."""
    board = min(lines, key=lambda line: (TIERS.index(line["tier"]) if line["tier"] in TIERS else len(TIERS), line["task"], -line["task_id"]))
    return {line["nature"]: line for line in lines if line["task_id"] == board["task_id"]}


def against(lines: dict[str, dict[str, Any]], draws: dict[tuple[int, int], Any]) -> tuple[str, str] | None:
    """The best learned agent against the best classical one, paired: the figures, and whose favour they are in."""
    if "learned" not in lines or "classical" not in lines:
        return None
    one, other = lines["learned"], lines["classical"]
    lo, hi = interval(draws[one["task_id"], one["agent_id"]].astype(float) - draws[other["task_id"], other["agent_id"]])
    figures = span(one["headline"] - other["headline"], lo, hi, "+")
    return figures, "learned" if lo > 0 else "classical" if hi < 0 else "neither"


def show(tile: dict[str, Any]) -> None:
    favour = {
        "learned": ("learned ahead of textbook", ":material/neurology:", "orange"),
        "classical": ("textbook ahead of learned", ":material/function:", "blue"),
        "neither": ("learned against textbook: undecided", ":material/balance:", "gray"),
    }
    with st.container(border=True, width=360):
        st.subheader(tile["domain"])
        st.text(tile["summary"])
        tasks = f"{tile['boards']} of {tile['installed']} tasks played" if tile["installed"] is not None else f"{tile['boards']} tasks played"
        st.caption(f"{tasks}, {tile['agents']} agents")
        if tile["leader"] is None:
            st.text("Nobody has played it yet.")
            return
        leader = tile["leader"]
        st.markdown(f"Leader {elements.name(leader['agent'])} {span(leader['headline'], leader['lo'], leader['hi'])}")
        if tile["learned"] is not None:
            figures, whose = tile["learned"]
            words, icon, colour = favour[whose]
            st.badge(words, icon=icon, color=colour)  # type: ignore[arg-type]
            st.caption(f"by {figures}, on the same scenarios")
        else:
            st.badge("learned against textbook: not played yet", icon=":material/hourglass_empty:", color="gray")
        board = "the suite" if leader["tier"] == "suite" else elements.name(leader["task"])
        elements.link("leaderboard", f"Board of {board}", ":material/leaderboard:", task=leader["task"])


st.title("Arena")
st.markdown(
    "Decision-makers of every kind, textbook rules, learned policies and language models, play the same frozen scenarios. "
    "A score of 0 is a task's textbook baseline, 1 its bound, and every score comes with how sure it is."
)
with reading() as store:
    counts = store.overview()
    found = tiles(store, state(store))
    newest = store.runs(limit=NEWEST)
    stalled = {row.id for row in store.stalled()} if counts["running"] else set()

with st.container(horizontal=True):
    for tile in found:
        show(tile)
if not newest:
    nothing_yet("Nothing has been run yet.")
    st.stop()
st.subheader("Latest runs")
told = [f"{counts['complete']:,} complete"] + [f"{counts[s]:,} {s}" for s in ("running", "queued", "failed", "cancelled") if counts[s]]
st.caption(f"{', '.join(told)} in this store, of {counts['agents']:,} agent versions on {counts['tasks']:,} boards.")
lines = [run_line(row, row["id"] in stalled) for row in newest]
frame = pd.DataFrame(
    {
        "run": elements.href("run", id=line["run"]), "status": signed(line["status"]), "task": line["task"], "agents": ", ".join(line["agents"]),
        "done": line["chunks_done"] / max(line["chunks"], 1), "seed": line["seed"], "created": line["created"],
    }
    for line in lines
)  # fmt: skip
columns = {
    "run": st.column_config.LinkColumn(display_text=r"id=(\d+)", width=60),
    "done": st.column_config.ProgressColumn(format="percent", min_value=0.0, max_value=1.0, width=120),
    "seed": st.column_config.NumberColumn(width=60),
    "created": style.time_column("created"),
}
frame["created"] = pd.to_datetime(frame["created"])
st.dataframe(frame, hide_index=True, column_config=columns, key="latest")

st.subheader("Where to go")
with st.container(horizontal=True):
    for page, (title, icon, words) in WAYS.items():
        if not (page == "register" and public()):
            with st.container(width=300, gap=None):
                elements.link(page, title, icon)
                st.caption(words)
