"""Recorded GPT-4 as an agent: plays its table from either seat, and only in the games it was recorded in."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.repeated_games.recorded import Recorded
from arena import registry, settings
from arena.contract import check_agent
from arena.errors import ArenaError
from arena.rollout import players, rollout
from domains.repeated_games.recorded import PLACES, find
from domains.repeated_games.recorded_policy import load_policy

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data"))
here = pytest.mark.skipif(not (DATA / "repeated_games").is_dir(), reason=f"no released matches: {DATA} is absent (set ARENA_DATA)")
POLICIES = [f"{game}-{variant}" for game in ("pd", "bos") for variant in ("base", "scot")]


@pytest.fixture
def data(monkeypatch):
    monkeypatch.setattr(settings, "data_root", lambda: DATA)


def outcome(reference, agent):
    """{(game, opponent, seat): (own moves as letters, own points, other's)} of the task's matches, in its order."""
    task = registry.task(reference)
    scenario = task.sample("test", range(task.n))
    episode = rollout(task.domain, scenario, players(task.domain, {"player": agent}), task=task.view, ids=torch.arange(task.n))
    assert not episode.failures and not episode.crashes
    moves = ["".join("JF"[move] for move in row) for row in episode.actions["player"].T]
    return list(zip(moves, episode.metrics["return"].astype(int).tolist(), episode.metrics["other_return"].astype(int).tolist(), strict=True))


@here
def test_it_plays_as_recorded_from_either_seat(data):
    """Against allc, alld, tft, defect-once, alternator in both games, row seat then column seat (the order of tiny)."""
    base, scot = (outcome("repeated_games/tiny-v1", Recorded(scot=scot)) for scot in (False, True))
    assert base[:10:2] == base[1:10:2] and scot[:10:2] == scot[1:10:2]  # the prisoner's dilemma looks alike from both seats
    assert base[4] == ("J" * 10, 80, 80) and base[2] == ("JFFJFFFFFF", 40, 60) and base[0] == ("J" * 10, 80, 80)
    assert scot[6] == ("JFFFFFFFFF", 90, 10) and base[6] == ("JFJFFFFFFF", 88, 18)  # the matches of the paper, base included: 90, 10
    # the battle of the sexes: who prefers J in the row seat, its mirror image in the column seat
    assert base[18] == ("J" * 10, 50, 35) and base[12] == ("JJJJJFFFFF", 35, 50)
    assert base[13] == ("F" * 10, 100, 70)  # who prefers F meets one that always plays F
    assert base[11] == ("FFFFFJJJJJ", 35, 50)  # and one that always plays J


@here
def test_it_keeps_the_contract_and_replays_itself(data):
    task = registry.task("repeated_games/tiny-v1")
    for name in ("recorded-gpt4", "recorded-gpt4-scot"):
        candidate = registry.candidate(name)
        assert candidate.plays("repeated_games/replay-v1") and not candidate.plays("repeated_games/axelrod-v1")
        report = check_agent(candidate.make, task)
        assert report.ok, report.summary
    assert registry.candidate("recorded-gpt4").digest != registry.candidate("recorded-gpt4-scot").digest


@here
def test_it_refuses_what_it_was_not_recorded_in(data):
    agent = Recorded()
    with pytest.raises(ArenaError, match="recorded for 10 rounds; repeated_games/axelrod-v1 has 200") as caught:
        agent.check(registry.task("repeated_games/axelrod-v1").view)
    assert caught.value.code == "agent.incompatible"
    payoffs = torch.tensor([[[[3, 3], [0, 5]], [[5, 0], [1, 1]]]], dtype=torch.float64)
    agent.begin(None)  # type: ignore[arg-type]
    with pytest.raises(ArenaError, match="not recorded in a game that pays") as caught:
        agent.act({"payoffs": payoffs, "other": torch.full((1, 10), -1, dtype=torch.int8), "round": torch.zeros(1, dtype=torch.int64)})
    assert caught.value.code == "agent.incompatible" and "8/0/10/5" in caught.value.hint


@here
def test_every_entry_of_the_tables_is_played(data):
    """All 1023 pasts at once, as rows of one observation; in the mirrored seat with all moves exchanged."""
    agent, mirrored = Recorded(scot=True), Recorded(scot=True)
    lengths = np.concatenate([np.full(2**t, t) for t in range(10)])
    codes = np.concatenate([np.arange(2**t) for t in range(10)])
    past = np.full((1023, 10), -1, np.int8)
    for row, (length, code) in enumerate(zip(lengths, codes, strict=True)):
        past[row, :length] = [(code >> (length - 1 - bit)) & 1 for bit in range(length)]
    jays = torch.tensor([[[10, 7], [0, 0]], [[0, 0], [7, 10]]], dtype=torch.float64).expand(1023, -1, -1, -1)
    policy = load_policy(DATA, "bos", "scot")
    for player, payoffs, other in ((agent, jays, past), (mirrored, jays.flip(1, 2), np.where(past < 0, past, 1 - past))):
        player.begin(None)  # type: ignore[arg-type]
        moves = player.act({"payoffs": payoffs, "other": torch.from_numpy(other), "round": torch.from_numpy(lengths)})
        assert (moves.numpy() == (policy if player is agent else 1 - policy)).all()


def test_without_the_files_it_says_how_to_get_them(monkeypatch, tmp_path):
    for root in (None, tmp_path):
        monkeypatch.setattr(settings, "data_root", lambda root=root: root)
        with pytest.raises(ArenaError) as caught:
            registry.candidate("recorded-gpt4").make()
        assert caught.value.code == "data.missing" and "arena data fetch repeated_games" in caught.value.hint


@here
def test_other_files_than_the_released_are_refused(monkeypatch, tmp_path):
    for what in POLICIES:
        path = tmp_path / PLACES[what][1]  # as in a checkout
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(find(DATA, what), path)
    monkeypatch.setattr(settings, "data_root", lambda: tmp_path)
    Recorded()
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "": "F"}))
    with pytest.raises(ArenaError, match="is another file than released"):
        Recorded(scot=True)
    Recorded()
