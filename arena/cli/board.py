"""A task's board: its lines with ranks and differences to the leader, and what is not on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from arena.answers import UNRELIABLE, invalid_share, unreliable
from arena.cli.listing import run_line
from arena.cli.output import Column, figure, moment, score, share, span, table

if TYPE_CHECKING:
    from arena.store import Store

Json = dict[str, Any]
TOP = 10  # lines of a board that are printed where it is not the only one


def read_board(store: Store, task_id: int) -> Json:
    """The board of a stored task: best first, ranks over joint bootstrap draws, paired differences to the first line."""
    import numpy as np

    from arena import registry
    from arena.scoring import ranks
    from arena.scoring.bootstrap import FEW

    task = store.task(task_id)
    lines = sorted(store.board(task_id, with_draws=True), key=lambda line: -line["headline"])
    draws = np.array([line["draws"] for line in lines]) if lines else np.empty((0, 1), np.float32)
    shown = ranks([line["headline"] for line in lines], draws)
    ends = np.percentile(draws.astype(float) - draws[0], [2.5, 97.5], axis=1).T.tolist() if lines else []  # all at once: a tenth of a second less
    names = [line["agent"] for line in lines]
    members = task.config.get("tasks") if task.tier == "suite" else None
    spec = registry.tasks().get(task.name)
    invalid = invalid_shares(store, lines, members or [task.name])
    found = []
    for position, line in enumerate(lines):
        played = line["n"] * line["runs"] / len(members or (1,))
        lo, hi = ends[position]
        found.append(
            {
                "position": position + 1, "rank": int(shown.shown[position]),
                "rank_range": [int(min(shown.best[position], shown.shown[position])), int(max(shown.worst[position], shown.shown[position]))],
                "agent": line["agent"], "version": line["version"], "agent_id": line["agent_id"], "nature": line["nature"], "kind": line["kind"],
                "label": label(line, names), "retired": line["retired"] is not None,
                "score": line["headline"], "lo": line["lo"], "hi": line["hi"], "mean": line["mean"], "iqm": line["iqm"], "worst10": line["cvar10"],
                "sd": line["sd"], "scenarios": line["n"], "runs": line["runs"], "runs_unfinished": line["runs_unfinished"],
                "failed": line["failed"], "failed_rate": line["failed"] / played, "violated": line["violated"],
                "violated_rate": line["violated"] / played, "invalid_rate": invalid.get(line["agent_id"]),
                "unreliable": unreliable(invalid.get(line["agent_id"])), "ms_per_decision": line["ms"], "verified": line["verified"],
                "to_leader": None if position == 0 else {"difference": line["headline"] - lines[0]["headline"], "lo": lo, "hi": hi},
                "updated": moment(line["updated"]),
            }
        )  # fmt: skip
    clusters = store.task_vectors(task_id).get("cluster")
    return {
        "task": task.name, "domain": task.domain, "tier": task.tier, "digest": task.digest, "ranked": spec is None or spec.ranked,
        "scenarios": task.n_scenarios, "headline": task.headline, "floor": task.floor, "members": members,
        "few": task.tier != "suite" and (len(np.unique(clusters)) if clusters is not None else task.n_scenarios) < FEW,
        "lines": found, "off_board": [] if task.tier == "suite" else off_board(store, task_id),
    }  # fmt: skip


def invalid_shares(store: Store, lines: Collection[Json], task_names: Collection[str]) -> dict[int, float]:
    """agent -> the share of invalid answers in the worst of the runs behind its line, for agents that tell it."""
    behind = {(line["agent_id"], run) for line in lines for run in line["run_set"]}
    found: dict[int, float] = {}
    for told in store.usages(task_names):
        agent, share_of_run = told["agent_id"], invalid_share(told)
        if share_of_run is not None and (agent, told["run_id"]) in behind:
            found[agent] = max(share_of_run, found.get(agent, 0.0))
    return found


def off_board(store: Store, task_id: int) -> list[Json]:
    """Runs that are not (or not yet) part of the board: unranked, waiting, under way, failed, cancelled; the newest 50 of each kind."""
    stalled = {run.id for run in store.stalled()}
    rows = [row for status in ("queued", "running", "failed", "cancelled") for row in store.runs(task_id=task_id, status=status)]
    rows += [row for row in store.runs(task_id=task_id, status="complete", limit=1000) if not row["ranked"]][:50]
    return [run_line(row, row["id"] in stalled) for row in rows]


def label(line: Mapping[str, Any], names: Collection[str]) -> str:
    """An agent's name, with its version where that is not the first or stands beside another one."""
    name, version = str(line["agent"]), line["version"]
    return f"{name}@{version}" if version > 1 or list(names).count(name) > 1 else name


def print_board(board: Json, top: int | None = None, played: Collection[int] = ()) -> None:
    """The board as text; only its first `top` lines and those of the agents `played` where it is long."""
    lines = board["lines"]
    print(_title(board))
    kept = [line for line in lines if top is None or line["position"] <= top or line["agent_id"] in played]
    if not lines:
        print("  no standings yet")
    else:
        _lines(board, kept, played)
    if len(kept) < len(lines):
        print(f"  ... {len(lines) - len(kept)} more: arena leaderboard {board['task']}")
    if any(line["unreliable"] for line in kept):
        print(f"  unreliable: more than {100 * UNRELIABLE:g} % of the answers of a run were invalid; chance played in their place")
    waiting = board["off_board"]
    for row in waiting[:5]:
        state = row["status"] if row["ranked"] else f"{row['status']}, unranked"
        print(f"  not on the board: run {row['run']} of {', '.join(row['agents'])} ({state}, {row['chunks_done']}/{row['chunks']} chunks)")
    if len(waiting) > 5:
        print(f"  ... and {len(waiting) - 5} more runs: arena list runs -t '{board['task']}'")


def _title(board: Json) -> str:
    words = [board["task"]]
    if board["tier"] == "suite":
        words.append(f"mean of {len(board['members'] or ())} tasks")
    else:
        words.append(f"{board['scenarios']:,} scenarios")
    if board["headline"] == "iqm":
        words.append("ranked by IQM")
    if board["few"]:
        words.append("few scenarios: wide intervals")
    if not board["ranked"]:
        words.append("for tests, not ranked in the suite")
    return "  ".join(words[:1]) + "   " + ", ".join(words[1:])


def _lines(board: Json, lines: list[Json], played: Collection[int]) -> None:
    violations = any(line["violated"] for line in board["lines"])
    answers = any(line["invalid_rate"] for line in board["lines"])
    several = any(line["runs"] > len(board["members"] or (1,)) or line["runs_unfinished"] for line in board["lines"])
    columns = [Column("rank"), Column("agent", fold=True), Column("score (95 %)"), Column("IQM", True), Column("worst10", True), Column("fail", True)]
    columns += [Column("viol", True)] if violations else []
    columns += [Column("inv", True)] if answers else []
    columns += [Column("ms/dec", True)]
    columns += [Column("runs", True)] if several else []
    columns += [Column("to the leader, paired")] if len(board["lines"]) > 1 else []
    rows = []
    for line in lines:
        low, high = line["rank_range"]
        gap = line["to_leader"]
        row = [f"{line['rank']}" + ("" if low == high == line["rank"] else f" ({low}-{high})")]
        row += [line["label"] + "".join(f" ({mark})" for mark in ("retired", "unreliable") if line[mark])]
        row += [span(line["score"], line["lo"], line["hi"]), score(line["iqm"]), score(line["worst10"]), share(line["failed_rate"])]
        row += [share(line["violated_rate"])] if violations else []
        row += ["" if line["invalid_rate"] is None else share(line["invalid_rate"])] if answers else []
        row += ["<0.001" if (line["ms_per_decision"] or 1) < 1e-3 else figure(line["ms_per_decision"])]
        row += [f"{line['runs']}" + (f" (+{line['runs_unfinished']} unfinished)" if line["runs_unfinished"] else "")] if several else []
        row += [span(gap["difference"], gap["lo"], gap["hi"], "+") if gap else ""] if len(board["lines"]) > 1 else []
        rows.append(row)
    table(columns, rows, [index for index, line in enumerate(lines) if line["agent_id"] in played])
