"""The quotient: two ways to the same sub-instance are one state, and what remains is an instance of its own."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from combinatorial_worlds import SEEDS, ByHand, small, world
from hypothesis import given, settings

from domains.combinatorial.kernel import PROBLEMS


def sub_instance(state):
    return {name: getattr(state, name) for name in ("free", "mask", "origin", "left", "done")}


def best_completion(domain, scenario, state):
    """The most reward still to be had from a state of one row, by trying everything."""
    if bool(state.done):
        return 0.0
    found = []
    for action in state.mask[0].nonzero()[:, 0]:
        after, outcome = domain.step(scenario, state, action[None])
        found.append(float(outcome.reward) + best_completion(domain, scenario, after))
    return max(found)


def by_permutation(problem, scenario, rest, here, left):
    """The same by plain enumeration of what remains, as an instance of its own: no state, no kernel."""
    best = -math.inf
    hand = ByHand(problem, scenario, 0)
    routes = itertools.product((0, 1), repeat=len(rest)) if problem == "cvrp" else ((0,) * len(rest),)
    for order, vias in itertools.product(itertools.permutations(rest), tuple(routes)):
        hand.rest, hand.here, hand.left, hand.first, hand.over = set(rest), here, left, False, False
        total = 0.0
        for j, b in zip(order, vias, strict=True):
            action = 2 * j + b if problem == "cvrp" else j
            if hand.over:
                break
            if action not in hand.legal():
                total = -math.inf
                break
            total += hand.choose(action)
        best = max(best, total)
    return best


@pytest.mark.parametrize("problem", PROBLEMS)
@settings(max_examples=6)
@given(seed=SEEDS)
def test_two_ways_to_one_sub_instance_are_one_state(problem, seed):
    """Four nodes chosen in two orders that leave the same place, rest and capacity: same masks, rewards and optimum; which is the rest's own."""
    n, rng = 7, np.random.default_rng(seed)
    scenario = small(problem, 1, n, seed, padded=False)
    last = 4
    if problem == "op":  # lengths walked must agree too: nodes 1 and 2 at one place
        coords = scenario.coords.clone()
        coords[:, 2] = coords[:, 1]
        scenario = replace(scenario, coords=coords, budget=torch.tensor([4.0], dtype=torch.float64))
        ways = [1, 2, 3, last], [2, 1, 3, last]
    else:
        first = rng.permutation([1, 2, 3]).tolist()
        ways = [1, 2, 3, last], [*first, last]
    if problem == "kp":
        scenario = replace(scenario, capacity=scenario.demand[:, 1 : last + 1].sum(1) + 9)
    if problem == "cvrp":  # the last customer of both through the depot: the load before it is forgotten
        ways = tuple([2 * j + 1 for j in way] for way in ways)
    domain = world(problem, n)
    ends = []
    for way in ways:
        state = domain.reset(scenario)
        for j in way:
            state, _ = domain.step(scenario, state, torch.tensor([j]))
        ends.append(state)
    one, two = ends
    for name, value in sub_instance(one).items():
        torch.testing.assert_close(getattr(two, name), value, rtol=0, atol=1e-12 if problem == "op" else 0)
    optimum = best_completion(domain, scenario, one)
    assert best_completion(domain, scenario, two) == pytest.approx(optimum, abs=1e-12)
    rest = one.free[0].nonzero()[:, 0].tolist()
    left = one.left[0].item()
    assert by_permutation(problem, scenario, rest, int(one.origin[0]), left) == pytest.approx(optimum, abs=1e-12)
    while not bool(one.done):
        action = one.mask[0].nonzero()[-1]
        (one, first), (two, second) = domain.step(scenario, one, action), domain.step(scenario, two, action)
        assert torch.equal(first.reward, second.reward) and torch.equal(one.mask, two.mask) and torch.equal(first.terminated, second.terminated)


@pytest.mark.parametrize("problem", ["tsp", "cvrp"])
def test_what_remains_is_an_instance_of_its_own(problem):
    """Tail recursion: where one stands on the depot's own place, the rest alone, as a fresh instance, plays on as the whole did."""
    scenario = small(problem, 8, 9, 4, padded=False)
    coords = scenario.coords.clone()
    coords[:, 3] = coords[:, 0]
    scenario = replace(scenario, coords=coords)
    domain, fewer = world(problem, 9), world(problem, 6)
    factor = 2 if problem == "cvrp" else 1
    state = domain.reset(scenario)
    for j in (1, 2, 3):
        state, _ = domain.step(scenario, state, torch.full((8,), factor * j + factor - 1))
    keep = [0, 4, 5, 6, 7, 8]
    rest = replace(scenario, coords=coords[:, keep], size=torch.full((8,), 6))
    if problem == "cvrp":
        rest = replace(rest, demand=scenario.demand[:, keep])
        state = replace(state, left=scenario.capacity, mask=domain._mask(scenario, state.free, state.origin, scenario.capacity))
    alone = fewer.reset(rest)
    for _ in range(5):
        columns = [factor * j + b for j in keep[1:] for b in range(factor)]
        assert torch.equal(state.mask[:, columns], alone.mask[:, factor:]) or bool(alone.done.all())
        choice = alone.mask.to(torch.uint8).argmax(1)
        (alone, mine) = fewer.step(rest, alone, choice)
        action = torch.tensor(keep)[choice // factor] * factor + choice % factor
        state, whole = domain.step(scenario, state, action)
        assert torch.equal(mine.reward, whole.reward) and torch.equal(mine.terminated, whole.terminated)
