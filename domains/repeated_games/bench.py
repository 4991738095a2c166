"""Speed of repeated games: rounds, whole tasks, references and face; beside what a plain loop over one match needs.

    arena bench repeated_games

Seconds are CPU seconds of one thread, the best of several repeats after a first that is not counted. `python -m benchmarks.repeated_games`
puts the same field beside Axelrod-Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import process_time
from typing import Any

import torch
from torch import Tensor

from arena import registry
from arena.faces.gymnasium import ArenaEnv
from arena.rollout import players, rollout
from arena.seeds import scenario_seeds
from arena.task import Task
from domains.repeated_games.games import PD_5
from domains.repeated_games.kernel import BLOCK, Match, Matches, RepeatedGame
from domains.repeated_games.references import values
from domains.repeated_games.scenarios import Pairing, matches, opponents

Row = dict[str, Any]
FIELD = ("allc", "alld", "random", "tft", "stft", "gtft", "wsls", "grim", "tf2t", "joss")  # automata of few states, some of them with luck
ROUNDS = 200
PLAIN = 40  # matches that the plain loop plays


def figures(small: bool = False) -> list[Row]:
    """Rows `what`, `value`, `unit`, `target`, `ok` (None without a target), `peer` (the plain loop's figure or None) and `ratio`: how many
    times better than the peer. `small`: everything at a fraction of the size, without targets, in seconds.
    """
    with one_thread(), torch.no_grad():
        rows = [*kernel_rows(small), *task_rows(small), reference_row(small), face_row(small)]
    if small:
        for row in rows:
            row["target"] = row["ok"] = None
    return rows


def kernel_rows(small: bool) -> list[Row]:
    """Matches per second of the field against itself, all history kept: both players are strategies, and both are looked up."""
    found = []
    for count in (100,) if small else (2000, 16_000):
        domain, scenario, candidates = world(count)
        few = min(PLAIN, count)
        plain = few / seconds(lambda d=domain, s=scenario, c=candidates, n=few: plain_matches(d, s, c, n), 2)  # type: ignore[misc]
        rate = count / seconds(lambda d=domain, s=scenario, c=candidates: played(d, s, c), 1 if small else 3)  # type: ignore[misc]
        found.append(row(f"kernel, {count:,} matches of {ROUNDS} rounds at once, both players strategies", rate, "matches/s", 30_000.0, plain))
    return found


def task_rows(small: bool) -> list[Row]:
    """A strategy agent's board: asked, judged, recorded and measured as in a run."""
    found = []
    for name, agent, target in (("144-v1", "fictitious-play", 1.0), ("axelrod-v1", "tft", 5.0)) if not small else (("tiny-v1", "tft", 1.0),):
        task = registry.task(f"repeated_games/{name}")
        taken = seconds(lambda t=task, a=agent: board(t, a), 2)  # type: ignore[misc]
        found.append(row(f"{agent} on {task.id}, {task.n:,} matches", taken, "s", target))
    return found


def reference_row(small: bool) -> Row:
    """The exact anchors of every match."""
    task = registry.task("repeated_games/tiny-v1" if small else "repeated_games/144-v1")
    assert isinstance(task.domain, RepeatedGame) and isinstance(task.scenarios, Matches)
    domain, scenario = task.domain, task.scenarios
    return row(f"best response and random play of {task.id}", seconds(lambda: values(domain, scenario), 2), "s", 10.0)


def face_row(small: bool) -> Row:
    """One environment behind Gymnasium's own interface, episode after episode, matches drawn included."""
    env = ArenaEnv("repeated_games/tiny-v1", mode="features")
    env.reset(seed=0)

    def episode() -> None:
        for _ in range(10):
            env.step(0)
        env.reset()

    return row("single Gymnasium environment, 10 rounds", 10 / seconds(episode, 5), "steps/s", 1000.0)


# ---- what is measured ----------------------------------------------------------------------------------------------


def world(count: int) -> tuple[RepeatedGame, Matches, list[int]]:
    """`count` matches of the field in Axelrod's game, pair by pair in turn, and the candidate's place in the library of each."""
    pairs = [divmod(i, len(FIELD)) for i in range(len(FIELD) ** 2)]
    candidates, others = zip(*(pairs[i % len(pairs)] for i in range(count)), strict=True)
    pairings = [Pairing(PD_5, name) for name in FIELD]
    library, _ = opponents(pairings, ROUNDS)
    seeds = scenario_seeds("repeated_games/bench", "train", range(count))
    return RepeatedGame(ROUNDS, library), matches([pairings[place] for place in others], others, ROUNDS, seeds), list(candidates)


def played(domain: RepeatedGame, scenario: Matches, candidates: Sequence[int]) -> Match:
    """The state behind the last round; the candidates are automata of the same library, with luck of their own."""
    library, last = domain.opponents, domain.horizon - 1
    machine = library.start[torch.tensor(candidates)].int()
    state = domain.reset(scenario)
    for t in range(domain.horizon):
        own = (scenario.luck[:, last - t] >= library.play.index_select(0, machine)).long()
        state, _ = domain.step(scenario, state, own)
        joint = state.blocks[t // BLOCK][:, t % BLOCK]
        machine = library.after.index_select(0, 4 * machine + joint)  # the candidate sits in the row seat
    return state


def board(task: Task, agent: str) -> Tensor:
    """[n] the agent's totals."""
    lineup, found = players(task.domain, {task.role: registry.candidate(agent).make()}), []
    for start, n in task.chunks():
        episode = rollout(task.domain, task.rows(start, n), lineup, task=task.view, ids=torch.arange(start, start + n))
        if episode.failures:
            raise RuntimeError(f"{agent} failed on {task.id}: {episode.failures[0].detail}")
        found.append(torch.from_numpy(episode.metrics["return"]))
    return torch.cat(found)


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """CPU seconds of the fastest of `repeats` calls after a first one that warms up."""
    times = []
    for _ in range(repeats + 1):
        start = process_time()
        call()
        times.append(process_time() - start)
    return min(times[1:])


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def row(what: str, value: float, unit: str, target: float | None, peer: float | None = None) -> Row:
    """Rates are better when larger, seconds when smaller."""
    rate = unit.endswith("/s")
    ok = None if target is None else bool(value >= target if rate else value <= target)
    ratio = None if peer is None else value / peer if rate else peer / value
    return {"what": what, "value": value, "unit": unit, "target": target, "ok": ok, "peer": peer, "ratio": ratio}


# ---- the peer: one match at a time, in plain Python --------------------------------------------------------------------


def plain_matches(domain: RepeatedGame, scenario: Matches, candidates: Sequence[int], count: int) -> list[tuple[float, float]]:
    """Totals of the first matches: the same automata, lists instead of arrays, a loop instead of a batch."""
    play, after = domain.opponents.play.tolist(), domain.opponents.after.tolist()
    starts, found = domain.opponents.start.tolist(), []
    for match in range(count):
        luck, payoffs = scenario.luck[match].tolist(), scenario.payoffs[match].tolist()
        mine, theirs = starts[candidates[match]], starts[int(scenario.opponent[match])]
        history, own_total, other_total = [], 0.0, 0.0
        for t in range(domain.horizon):
            own = 0 if luck[domain.horizon - 1 - t] < play[mine] else 1
            other = 0 if luck[t] < play[theirs] else 1
            history.append((own, other))
            points = payoffs[own][other]
            own_total, other_total = own_total + points[0], other_total + points[1]
            mine, theirs = after[4 * mine + 2 * own + other], after[4 * theirs + 2 * other + own]
        found.append((own_total, other_total))
    return found
