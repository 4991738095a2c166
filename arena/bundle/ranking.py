"""How an imported run comes onto the board: by a replay of all of it on this machine, and only as the run that anybody here could ask for."""

from __future__ import annotations

from arena.evaluation import request_digest, seat_line
from arena.standings import suites, summarise
from arena.store import Store
from arena.task import Task


def rank_verified(store: Store, run_id: int, task: Task) -> bool:
    """Put an imported run that was verified in full on its agent's board line; whether it is there now. May be repeated.

    It stays unranked where it was so in its store of origin, and where this store has a run of the same task, line-up and seed already: a
    request counts once. The run's log says which.
    """
    run = store.run_row(run_id)
    origin = run.config.get("origin")
    if origin is None or not origin["ranked"] or not run.verified:
        return run.ranked
    if not run.ranked:
        lineup = [seat_line(e.role, store.agent(e.agent_id), e.mode, e.candidate, e.level, e.seat) for e in store.entries(run_id)]
        other = store.rank_run(run_id, request_digest(task, lineup, run.seed))
        if other is not None:
            store.event(run_id, "notice", "bundle.same_run", f"stays unranked: run {other} is the same request")
            return False
    store.finish(run_id, lambda pool: summarise(task, pool), lambda pool: suites(store, task, pool))
    return True
