"""`arena leaderboard` and `arena compare`: who is ahead, and how sure that is."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arena.cli.board import TOP, label, print_board, read_board
from arena.cli.choosing import is_glob
from arena.cli.opening import store
from arena.cli.output import AsCsv, AsJson, Column, deliver, figure, literal, span, table
from arena.errors import ArenaError, unknown

if TYPE_CHECKING:
    from arena.scoring import Entrant
    from arena.store import AgentRow, Store, TaskRow
    from arena.store.records import Vector


def leaderboard(
    what: Annotated[str | None, typer.Argument(metavar="[TASK|DOMAIN]", help="Task, glob or domain; none: everything.", show_default=False)] = None,
    top: Annotated[int | None, typer.Option("--top", help="Lines per board.  [default: 10, all for one board]", min=1, show_default=False)] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Boards: who is ahead, and how sure that is.

    Score with 95 % interval, rank with its range, paired difference to the leader.

    Without a name: every task with standings, and each domain's suite.
    """
    with store() as opened:
        rows = [row for row in opened.tasks() if row["agents"]]
        if what is not None:
            rows = _matching(opened, rows, what)
        boards = [
            read_board(opened, row["id"]) for row in sorted(rows, key=lambda row: (row["domain"], row["tier"] == "suite", row["name"], -row["id"]))
        ]

    def text() -> None:
        for number, board in enumerate(boards):
            if number:
                print()
            print_board(board, top or (TOP if len(boards) > 1 else None))
        if not boards:
            print("no standings yet: arena run -t TASK -a AGENT")

    lines = [{"task": board["task"], **line} for board in boards for line in board["lines"]]
    deliver("arena.board/1", {"boards": boards}, as_json, text, as_csv, lines)


def _matching(store: Store, rows: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    """The boards that `what` means: a glob, a domain (its tasks and its suite), a task with or without its version."""
    from arena import registry

    if is_glob(what):
        return [row for row in rows if fnmatch.fnmatch(row["name"], what)]
    if what in registry.domains():
        return [row for row in rows if row["domain"] == what]
    every = store.tasks()
    same = [row for row in every if row["name"] == what] or [row for row in every if fnmatch.fnmatch(row["name"], f"{what}-v*")]
    if not same:
        known = registry.tasks()
        if what in known or any(fnmatch.fnmatch(name, f"{what}-v*") for name in known):
            return []
        raise unknown("task", what, [*known, *(row["name"] for row in every)], "arena leaderboard without a name shows all boards")
    newest = max(row["name"] for row in same)
    return [max((row for row in same if row["name"] == newest), key=lambda row: int(row["id"]))]


# ---- compare -------------------------------------------------------------------------------------------------------


def compare(
    agents: Annotated[list[str], typer.Argument(metavar="A B [...]", help="Agents: the first is compared with each other one.", show_default=False)],
    task: Annotated[str, typer.Option("--task", "-t", help="The task.", show_default=False)],
    delta: Annotated[float, typer.Option("--delta", help="Smallest difference that matters.", min=0.0)] = 0.01,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Agents against each other on the same scenarios.

    Paired difference with interval, sign-flip p, probability of improvement and a verdict. With more than two agents the p values are
    adjusted by Holm's method.
    """
    from arena import scoring
    from arena.cli.choosing import task_id

    if len(agents) < 2:
        raise typer.BadParameter("a comparison needs two agents at least")
    with store() as opened:
        row = opened.task(task if task in {r["name"] for r in opened.tasks()} else task_id(task))
        rows_of = [opened.agent(reference) for reference in agents]
        entered = entrants(opened, row, rows_of, pooled_scores(opened, row, [agent.id for agent in rows_of]))
        clusters = opened.task_vectors(row.id).get("cluster")
    first, *others = entered
    if len(others) == 1:
        found = [scoring.compare(first, others[0], clusters=clusters, delta=delta)]
    else:
        found = scoring.compare_with_all(first, others, clusters=clusters, delta=delta)
    rows = [
        {
            "a": c.a, "b": c.b, "difference": c.difference, "lo": c.lo, "hi": c.hi, "p": c.p, "p_holm": c.p_holm,
            "probability_of_improvement": c.improvement, "scenarios": c.n, "few": c.few, "verdict": c.verdict,
        }
        for c in found
    ]  # fmt: skip
    scores = [{"agent": e.name, "score": e.standing.headline, "lo": e.standing.lo, "hi": e.standing.hi} for e in entered]
    document = {"task": row.name, "digest": row.digest, "delta": delta, "agents": scores, "comparisons": rows}

    def text() -> None:
        print(f"{row.name}   {row.n_scenarios:,} scenarios")
        table(
            [Column("agent", fold=True), Column("score (95 %)")],
            [(e.name, span(e.standing.headline, e.standing.lo, e.standing.hi)) for e in entered],
        )
        print()
        holm = any(c.p_holm is not None for c in found)
        columns = [Column("difference", fold=True), Column("paired (95 %)"), Column("p", True), *([Column("p (Holm)", True)] if holm else [])]
        lines = [
            [
                f"{c.a} - {c.b}",
                span(c.difference, c.lo, c.hi, "+"),
                figure(c.p, 2),
                *([figure(c.p_holm, 2)] if holm else []),
                figure(c.improvement, 2),
            ]
            for c in found
        ]
        table([*columns, Column("P(improve)", True)], lines)
        print()
        for c in found:
            print(literal(c.verdict))

    deliver("arena.comparison/1", document, as_json, text, as_csv, rows)


def pooled_scores(store: Store, task: TaskRow, agent_ids: Sequence[int]) -> dict[int, Vector]:
    """The scores behind board lines: agent -> [run, scenario], runs in the order of their seeds; empty where the task scores only whole sets."""
    import numpy as np

    if task.tier == "suite" or task.headline == "of_means":
        return {}
    first: dict[int, dict[int, int]] = {}  # agent -> run -> its first entry, which carries the score
    for entry in store.pooled_entries(task.id, agent_ids):
        first.setdefault(entry["agent_id"], {}).setdefault(entry["run_id"], entry["entry_id"])
    found = iter(store.scores([entry for runs in first.values() for entry in runs.values()]) if first else ())
    return {agent: np.stack([next(found) for _ in runs]) for agent, runs in first.items()}


def entrants(store: Store, task: TaskRow, rows: Sequence[AgentRow], scores: Mapping[int, Vector]) -> list[Entrant]:
    """The agents with their standings on a task and their scores (of `pooled_scores`), averaged over runs.

    Raises ArenaError compare.same, and unknown.standing for an agent that is not on the board.
    """
    import numpy as np

    from arena.scoring import Entrant, Standing
    from arena.scoring.bootstrap import FEW

    lines = {line["agent_id"]: line for line in store.board(task.id, with_draws=True, agent_ids=[row.id for row in rows])}
    names = [row.name for row in rows]
    doubled = [row.reference for row in rows if [r.id for r in rows].count(row.id) > 1]
    if doubled:
        raise ArenaError("compare.same", f"{doubled[0]} would be compared with itself", "name two different agents")
    clusters = store.task_vectors(task.id).get("cluster")
    count = task.n_scenarios if clusters is None else len(np.unique(clusters))
    found = []
    for row in rows:
        if row.id not in lines:
            known = ", ".join(line["agent"] for line in store.board(task.id)[:8]) or "nobody"
            hint = f"arena run -t {task.name} -a '{row.name}'; on the board: {known}"
            raise ArenaError("unknown.standing", f"{row.reference} has no complete run on {task.name}", hint)
        line = lines[row.id]
        numbers = {key: line[key] for key in ("headline", "lo", "hi", "mean", "iqm", "cvar10", "sd", "n", "runs", "draws")}
        name = label({"agent": row.name, "version": row.version}, names)
        mean = scores[row.id].mean(axis=0) if row.id in scores else None
        found.append(Entrant(name, task.digest, Standing(**numbers, few=count < FEW and task.tier != "suite"), mean))
    return found
