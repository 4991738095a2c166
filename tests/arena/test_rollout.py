from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_domains import Policy, aim, entrant, village, walk

from arena import registry
from arena.evaluation import seat
from arena.record import batch
from arena.rollout import replay, rollout


def play(task, candidate, size=None, seed=0):
    """Metrics [n] (NaN where failed), failures {(scenario, step): (code, detail)} and actions per chunk of a task played in chunks of `size`."""
    metrics, failures, actions = {}, {}, []
    lineup = seat(task, candidate)
    for start, n in task.chunks(size):
        episode = rollout(
            task.domain, task.rows(start, n), lineup, task=task.view, ids=torch.arange(start, start + n), seed=seed
        )
        failed = np.isin(np.arange(n), [f.row for f in episode.failures])
        for name, value in episode.metrics.items():
            metrics.setdefault(name, []).append(np.where(failed, np.nan, value.mean(1) if value.ndim == 2 else value))
        failures |= {(start + f.row, f.step): (f.code, f.detail) for f in episode.failures}
        actions.append(episode.actions)
    return {name: np.concatenate(parts) for name, parts in metrics.items()}, failures, actions


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)


# ---- independence of chunks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["const(bid=60)", "random", "pid"])
def test_results_do_not_depend_on_the_chunk_size(tiny, name):
    whole = play(tiny, registry.candidate(name), 100)
    for size in (1, 7):
        assert same(play(tiny, registry.candidate(name), size)[0], whole[0])


def test_the_seed_is_what_changes_a_stochastic_agent(tiny):
    agent = registry.candidate("random")
    first, again, other = (play(tiny, agent, seed=seed)[0] for seed in (1, 1, 2))
    assert same(first, again) and not np.array_equal(first["value"], other["value"])


def test_results_do_not_depend_on_the_order_of_rows(tiny):
    agent, order = registry.candidate("random"), torch.randperm(tiny.n, generator=torch.Generator().manual_seed(0))
    straight = rollout(tiny.domain, tiny.scenarios, seat(tiny, agent), task=tiny.view, ids=torch.arange(tiny.n))
    mixed = rollout(tiny.domain, tiny.scenarios[order], seat(tiny, agent), task=tiny.view, ids=order)
    for name, value in straight.metrics.items():
        assert np.array_equal(value[order.numpy()], mixed.metrics[name])


def tired(obs, brief, step):
    """Walks right with luck of its own; in scenario 3 it tries to go left from the wall."""
    move = torch.where(brief.uniforms(step, 1)[:, 0] < 0.7, 2, 0)
    return torch.where((brief.scenario == 3) & (step == 0), 1, move)


def test_early_ends_and_masks_do_not_depend_on_chunks():
    task, agent = walk(), entrant("tired", tired)
    whole = play(task, agent, 100)
    for size in (1, 7):
        found = play(task, agent, size)
        assert same(found[0], whole[0]) and found[1] == whole[1]
    assert list(whole[1]) == [(3, 0)]
    assert whole[1][3, 0] == ("agent.illegal", "value 1, allowed 2 of the mask: 0, 2")
    assert (whole[0]["moves"] < 12).any(), "some arrive early"


def test_decisions_and_live_rows_are_those_of_the_unfinished():
    task, seen = walk(), []

    def right(obs, brief, step):
        seen.append(obs["live"].clone())
        return torch.full_like(obs["place"], 2)

    episode = rollout(task.domain, task.scenarios, seat(task, entrant("right", right)), task=task.view, ids=torch.arange(task.n))
    moves = episode.metrics["moves"]
    assert torch.stack(seen).sum(0).tolist() == moves.tolist()
    timing = episode.timings["walker"]
    assert timing.decisions == moves.sum() == timing.hist.sum() and timing.nanoseconds > 0
    assert len(seen) == moves.max() == len(episode.actions["walker"]), "the rollout stops when all have arrived"


# ---- replay -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random", "odd_but_legal:Flat"])
def test_replay_equals_the_run(tiny, from_file, name):
    agent = from_file(name) if ":" in name else registry.candidate(name)
    scenario = batch(tiny.scenarios, slice(0, 16))
    episode = rollout(tiny.domain, scenario, seat(tiny, agent), task=tiny.view, ids=torch.arange(16))
    assert episode.actions["bidder"].dtype == np.int16 and episode.actions["bidder"].shape == (100, 16)
    assert same(replay(tiny.domain, scenario, episode.actions), episode.metrics)


def test_replay_of_several_roles_and_seats():
    task = village(("planner", "worker"), {})
    one = entrant("one", lambda obs, brief, step: (obs["skill"] * 3.99).long() if brief.role == "worker" else obs["wealth"].float() * 0 + 0.25)
    for start, n in task.chunks():
        scenario = task.rows(start, n)
        episode = rollout(task.domain, scenario, seat(task, one), task=task.view, ids=torch.arange(start, start + n))
        assert episode.actions["planner"].shape == (3, n, 1) and episode.actions["worker"].shape == (30, n, 2 if start == 0 else 4)
        assert not episode.failures and (episode.metrics["tax"] == 0.25).all()
        assert same(replay(task.domain, scenario, episode.actions), episode.metrics)


# ---- what agents may do to memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["WritesObservations", "ReusesItsBuffer", "PythonInts", "Narrow", "ReadOnly", "Chatty", "Inference"])
def test_bad_manners_change_nothing(tiny, from_file, name, recwarn):
    before = {key: value.clone() for key, value in tiny.scenarios.tensors().items()}
    plain, odd = play(tiny, from_file("odd_but_legal:Plain")), play(tiny, from_file(f"odd_but_legal:{name}"))
    assert not odd[1] and same(odd[0], plain[0])
    assert all(same(a, b) for a, b in zip(odd[2], plain[2], strict=True)), "the recording holds what was played"
    assert all(torch.equal(value, tiny.scenarios.tensors()[key]) for key, value in before.items()), "the frozen scenarios are as they were"
    assert not [w for w in recwarn if "writ" in str(w.message)]


def test_gradients_are_left_behind(tiny, from_file):
    kept, flat = play(tiny, from_file("odd_but_legal:KeepsGradients")), play(tiny, from_file("odd_but_legal:Flat"))
    assert not kept[1] and same(kept[0], flat[0])


def test_a_state_that_keeps_the_action_is_safe_from_a_reused_buffer():
    task = aim()

    class Careless(Policy):
        def act(self, obs):
            if not hasattr(self, "buffer"):
                self.buffer = torch.zeros(len(obs["last"]), 2)
            assert self.step < 0 or bool((obs["last"] == 0.1 * (self.step + 1)).all()), "it sees what it played"
            self.step += 1
            return self.buffer.fill_(0.1 * (self.step + 1))

    agent = registry.Candidate("careless", "builtin", "other", {}, "", lambda: Careless(None))
    _, failures, actions = play(task, agent, 100)
    assert not failures
    assert np.allclose(actions[0]["archer"][:, 0, 0], [0.1, 0.2, 0.3])


# ---- one observation at a time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "batched"), [("Bidder", "Batched"), ("SlotPlayer", "BatchedSlots")])
def test_one_observation_code_plays_as_its_batched_twin(tiny, from_file, one, batched):
    alone, together = play(tiny, from_file(f"one_observation:{one}"), 7), play(tiny, from_file(f"one_observation:{batched}"))
    assert not alone[1] and same(alone[0], together[0])


def test_a_function_is_an_agent(tiny, from_file):
    metrics, failures, _ = play(tiny, from_file("one_observation:bid"))
    assert not failures and same(metrics, play(tiny, from_file("odd_but_legal:Plain"))[0])


def test_one_odd_answer_among_many_fails_its_row_alone(tiny, from_file):
    _, failures, _ = play(tiny, from_file("one_observation:OneRowOff"), 1)
    assert list(failures) == [(4, 2)] and "float64 (first value 50.5)" in failures[4, 2][1]
