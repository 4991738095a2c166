"""What a pool of agents did to each other in cross-play on one task: payoff matrix, means over opponents, ratings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from arena.cli.board import label
from arena.cli.output import Column, figure, score, span, table
from arena.errors import ArenaError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from arena.store import AgentRow, Store, TaskRow

Json = dict[str, Any]
Pair = tuple[int, int]  # the agents in the first and in the second role, by their numbers
WIDE = 4  # agents up to which the matrix is printed with its intervals
UNSOUGHT = "its task declares no winner of a match: who gets more than the other is not what it asks"


def roles_of(task: TaskRow) -> tuple[str, str]:
    """The two roles of a stored task. Raises ArenaError `crossplay.task` where it seats no two agents against each other."""
    found = task.config.get("crossplay")
    if not found:
        raise ArenaError("crossplay.task", f"{task.name} seats no two agents against each other", "arena list runs shows what was played")
    return found["roles"][0], found["roles"][1]


def pool_digest(task: TaskRow, agents: Iterable[AgentRow]) -> str:
    """What tells a pool of agents on a task from every other one: ratings are those of a pool."""
    from arena.digest import digest

    return digest({"task": task.digest, "pool": sorted(agent.digest for agent in agents)})


def read_payoffs(store: Store, task_id: int, agent_ids: Collection[int] | None = None) -> Json:
    """The cross-play of some agents (None: of all that have played) on a stored task, from all its complete matches. At most 6 statements.

    agents: highest `mean` first, which is over all others and None unless there is a score against each of them; with the ratings stored for
        exactly this pool
    pairs: every ordered pair; `score` of the row agent, None where no match is complete or all are void (the column agent failed)
    unrated: why there are no ratings; stale: whether matches were completed since they were made
    Raises ArenaError unknown.task, crossplay.task.
    """
    import numpy as np

    from arena.scoring import mean_payoff
    from arena.scoring.bootstrap import FEW

    task = store.task(task_id)
    roles, outcome = roles_of(task), task.config["crossplay"]["outcome"]
    matches = _matches(store, task, agent_ids)
    rows = store.agent_rows({agent for pair in matches for agent in pair} | set(agent_ids or ()))
    names = [row.name for row in rows.values()]
    labels = {row.id: label({"agent": row.name, "version": row.version}, names) for row in rows.values()}
    clusters = store.task_vectors(task_id).get("cluster") if matches else None
    scores = _vectors(store, matches, None)
    cells = _cells(task, scores, clusters)
    means = {}
    for a in rows:
        others = [(a, b) for b in rows if b != a]
        if others and all(cells.get(pair) for pair in others):
            means[a] = mean_payoff([cells[pair] for pair in others], [scores[pair] for pair in others], clusters)
    rated = {line["agent_id"]: line for line in store.ratings(task_id, pool_digest(task, rows.values()))} if outcome and len(rows) > 1 else {}
    games = _games(matches, task.n_scenarios)
    order = sorted(rows.values(), key=lambda row: (-means[row.id].mean if row.id in means else np.inf, row.name, row.version))
    agents = []
    for row in order:
        mean, line, own = means.get(row.id), rated.get(row.id, {}), cells.get((row.id, row.id))
        agents.append(
            {
                "agent": row.name, "version": row.version, "agent_id": row.id, "label": labels[row.id], "nature": row.nature,
                "retired": row.retired is not None, "mean": mean and mean.mean, "lo": mean and mean.lo, "hi": mean and mean.hi,
                "self_play": own and own.mean, "rating": line.get("rating"), "rating_lo": line.get("lo"), "rating_hi": line.get("hi"),
                "games": games.get(row.id, 0),
            }
        )  # fmt: skip
    pairs = []
    for pair in [(a.id, b.id) for a in order for b in order]:
        cell, here, values = cells.get(pair), matches.get(pair, []), scores.get(pair)
        complete = [m for m in here if m["status"] == "complete"]
        pairs.append(
            {
                "row": labels[pair[0]], "column": labels[pair[1]], "row_id": pair[0], "column_id": pair[1],
                "score": cell and cell.mean, "lo": cell and cell.lo, "hi": cell and cell.hi,
                "matches": 0 if values is None else values.size, "void": 0 if values is None else int(np.isnan(values).sum()),
                "failed": sum(m["row_failed"] for m in complete), "runs": [m["run_id"] for m in here], "unfinished": len(here) - len(complete),
                "verified": bool(complete) and all(m["verified"] for m in complete),
            }
        )  # fmt: skip
    reason = UNSOUGHT if not outcome else "one agent alone is not rated" if len(rows) < 2 else None if rated else f"arena crossplay -t {task.name}"
    return {
        "task": task.name, "task_id": task.id, "digest": task.digest, "scenarios": task.n_scenarios, "roles": list(roles), "outcome": outcome,
        "few": (len(np.unique(clusters)) if clusters is not None else task.n_scenarios) < FEW, "agents": agents, "pairs": pairs,
        "reference": _reference(rows.values()).reference if rated else None, "unrated": reason,
        "stale": any(line["games"] != games.get(agent) for agent, line in rated.items()),
    }  # fmt: skip


def rate_pool(store: Store, task_id: int, agent_ids: Collection[int] | None = None) -> str | None:
    """Bradley-Terry ratings of a pool from its complete matches, stored; why there are none, else None.

    A match that an agent failed it has lost. All matches on scenarios that share their luck are resampled together, also with seats swapped. The
    first agent by name is rated 1000. Raises ArenaError `rating.outcome` for outcomes that are none.
    """
    import numpy as np

    from arena.scoring import rate
    from arena.store import RatingRecord

    task = store.task(task_id)
    roles_of(task)
    outcome = task.config["crossplay"]["outcome"]
    if not outcome:
        return UNSOUGHT
    every = _matches(store, task, agent_ids)
    rows = store.agent_rows({agent for pair in every for agent in pair} | set(agent_ids or ()))
    pool = sorted(rows.values(), key=lambda row: (row.name, row.version))
    matches = {pair: complete for pair, here in every.items() if pair[0] != pair[1] and (complete := [m for m in here if m["status"] == "complete"])}
    if len(pool) < 2 or not matches:
        return "one agent alone is not rated" if len(pool) < 2 else "no match of two different agents is complete"
    scores, outcomes = _vectors(store, matches, None), _vectors(store, matches, outcome)
    clusters = store.task_vectors(task_id).get("cluster", np.arange(task.n_scenarios))
    place = {row.id: index for index, row in enumerate(pool)}
    first, second, won, luck = [], [], [], []
    for pair, score_ in scores.items():
        result = np.where(np.isnan(outcomes[pair]), np.where(np.isnan(score_), 1.0, 0.0), outcomes[pair])  # the opponent failed, or the agent
        wrong = np.setdiff1d(result, (0.0, 0.5, 1.0))
        if len(wrong):
            hint = "1 for a match won by the first role, 0.5 for a draw, 0 for one lost"
            raise ArenaError("rating.outcome", f"{outcome} of {task.name} is {wrong[0]:g} in a match", hint)
        first.append(np.full(result.size, place[pair[0]]))
        second.append(np.full(result.size, place[pair[1]]))
        won.append(result.ravel())
        luck.append(np.tile(clusters, len(result)))
    key = pool_digest(task, pool)
    try:
        found = rate(
            [row.reference for row in pool], np.concatenate(first), np.concatenate(second), np.concatenate(won),
            reference=_reference(pool).reference, pool_digest=key, clusters=np.concatenate(luck),
        )  # fmt: skip
    except ArenaError as error:
        if error.code != "rating.disconnected":
            raise
        return error.message
    lines = zip(pool, found.rating.tolist(), found.lo.tolist(), found.hi.tolist(), found.games.tolist(), found.draws, strict=True)
    store.save_ratings(task_id, key, [RatingRecord(row.id, rating, lo, hi, games, draws) for row, rating, lo, hi, games, draws in lines])
    return None


def _matches(store: Store, task: TaskRow, agent_ids: Collection[int] | None) -> dict[Pair, list[Json]]:
    found: dict[Pair, list[Json]] = {}
    for match in store.matches(task.id, roles_of(task)):
        pair = (match["row_id"], match["column_id"])
        if agent_ids is None or set(pair) <= set(agent_ids):
            found.setdefault(pair, []).append(match)
    return found


def _vectors(store: Store, matches: Mapping[Pair, list[Json]], metric: str | None) -> dict[Pair, NDArray[np.float64]]:
    """The score (or a metric) in the complete matches of each pair, [run, scenario], runs in the order of their seeds."""
    entries = {pair: [m["entry_id"] for m in sorted(here, key=lambda m: m["seed"]) if m["status"] == "complete"] for pair, here in matches.items()}
    every = [entry for ids in entries.values() for entry in ids]
    values = iter(store.scores(every, metric) if every else ())
    import numpy as np

    return {pair: np.stack([next(values) for _ in ids]) for pair, ids in entries.items() if ids}


def _cells(task: TaskRow, scores: Mapping[Pair, NDArray[np.float64]], clusters: Any) -> dict[Pair, Any]:
    """The cell of every pair that has one; pairs of equally many runs in one go."""
    import numpy as np

    from arena.scoring import payoffs

    found: dict[Pair, Any] = {}
    for runs in {len(values) for values in scores.values()}:
        alike = [pair for pair, values in scores.items() if len(values) == runs]
        cells = payoffs(np.stack([scores[pair] for pair in alike]), task_digest=task.digest, clusters=clusters)
        found |= {pair: cell for pair, cell in zip(alike, cells, strict=True) if cell is not None}
    return found


def _games(matches: Mapping[Pair, list[Json]], n: int) -> dict[int, int]:
    """Matches of each agent against others, of complete runs of n scenarios each."""
    found: dict[int, int] = {}
    for pair, here in matches.items():
        for agent in pair if pair[0] != pair[1] else ():
            found[agent] = found.get(agent, 0) + n * sum(m["status"] == "complete" for m in here)
    return found


def _reference(pool: Iterable[AgentRow]) -> AgentRow:
    """The agent that is rated 1000."""
    return min(pool, key=lambda row: (row.name, row.version))


# ---- text ----------------------------------------------------------------------------------------------------------


def print_payoffs(found: Json) -> None:
    """Matrix, means and ratings as text."""
    agents, (row, column) = found["agents"], found["roles"]
    done = sum(pair["score"] is not None for pair in found["pairs"])
    few = ", few scenarios: wide intervals" if found["few"] else ""
    who = "1 agent" if len(agents) == 1 else f"{len(agents)} agents"
    print(f"{found['task']}   {found['scenarios']:,} scenarios, {who}, {done} of {len(found['pairs'])} pairs{few}")
    print(f"\nmean score of the agent as {row}, against the one as {column}" + (" (95 %)" if len(agents) <= WIDE else ""))
    cells = iter(found["pairs"])
    rows = [[agent["label"], *(_cell(next(cells), len(agents) <= WIDE) for _ in agents)] for agent in agents]
    table([Column("", fold=True), *(Column(agent["label"], True) for agent in agents)], rows)
    rated = found["reference"] is not None
    print()
    columns = [Column("agent", fold=True), Column("mean over the others (95 %)"), Column("against itself", True)]
    columns += [Column("rating (95 %)"), Column("matches", True)] if rated else []
    lines = []
    for a in agents:
        line = [a["label"] + (" (retired)" if a["retired"] else ""), span(a["mean"], a["lo"], a["hi"]), score(a["self_play"])]
        interval = f"{a['rating']:.0f} [{a['rating_lo']:.0f}, {a['rating_hi']:.0f}]" if rated else ""
        lines.append(line + ([interval, figure(a["games"])] if rated else []))
    table(columns, lines)
    void = sum(pair["void"] for pair in found["pairs"])
    if void:
        print(f"{void:,} matches are void for an agent whose opponent failed; they are left out of its mean")
    if rated:
        print(f"ratings depend on the pool; {found['reference']} has 1000; a match that an agent fails it has lost")
    else:
        print(f"no ratings: {found['unrated']}")


def _cell(pair: Json, whole: bool) -> str:
    if pair["score"] is None:
        return "..." if pair["unfinished"] else "-"
    return span(pair["score"], pair["lo"], pair["hi"]) if whole else score(pair["score"])
