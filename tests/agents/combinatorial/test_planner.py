"""Planners in play: every agent on every problem it names builds what it planned, whatever the batch, and refuses the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agents.combinatorial.bq_nco import BqNco
from agents.combinatorial.construct import FarthestInsertion, RandomInsertion
from agents.combinatorial.knapsack import BranchAndBound, DynamicProgramming
from agents.combinatorial.local_search import IteratedSearch, LocalSearch
from agents.combinatorial.orienteering import IteratedInsertion, PrizeInsertion
from agents.combinatorial.planner import Planner, joined, padded, read
from agents.combinatorial.savings import Savings, Sweep
from agents.combinatorial.sisr import Sisr
from agents.combinatorial.solvers import Lkh, PyVrp
from arena.agent import Brief
from arena.errors import ArenaError
from arena.rollout import players, rollout
from arena.task import Task
from domains.combinatorial.distances import METRICS, matrix
from domains.combinatorial.kernel import PROBLEMS, Combinatorial
from domains.combinatorial.scenarios import drawn, instances

SIZE = {"tsp": 20, "atsp": 20, "cvrp": 20, "op": 20, "kp": 50}
AGENTS = {
    "farthest insertion": FarthestInsertion,
    "random insertion": RandomInsertion,
    "local search": LocalSearch,
    "from insertion": lambda: LocalSearch("insertion"),
    "iterated search": lambda: IteratedSearch(50),
    "savings": Savings,
    "sweep": Sweep,
    "prize insertion": PrizeInsertion,
    "iterated insertion": lambda: IteratedInsertion(50),
    "dynamic programming": DynamicProgramming,
    "branch and bound": lambda: BranchAndBound(10_000),
    "sisr": lambda: Sisr(200),
    "pyvrp": lambda: PyVrp(20),
    "lkh": Lkh,
}
PLAYS = [(name, problem) for name, make in AGENTS.items() for problem in make().problems]


def world(problem, rows=5, padding=0, metric=None, scale=1.0):
    """A domain with `rows` drawn instances, padded by so many nodes behind the end."""
    arrays = drawn(problem, SIZE[problem], range(rows))
    for name in ("coords", "demand", "prize"):
        if name in arrays:
            width = [(0, 0), (0, padding)] + [(0, 0)] * (arrays[name].ndim - 2)
            arrays[name] = np.pad(arrays[name] * (scale if name == "coords" else 1), width)
    if "matrix" in arrays:
        arrays["matrix"] = np.pad(arrays["matrix"], [(0, 0), (0, padding), (0, padding)])
    if "budget" in arrays:
        arrays["budget"] = arrays["budget"] * scale
    n = SIZE[problem] + (problem in ("cvrp", "op"))
    told = {} if metric is None else {"metric": METRICS.index(metric)}
    scenario = instances(**arrays, **told, size=np.full(rows, n), best=np.ones(rows))
    return Combinatorial(problem, n + padding, metrics=metric is not None), scenario


def play(agent, domain, scenario, ids=None, seed=0):
    """The nodes chosen [T, B] and the metrics, all of them feasible."""
    task = Task("combinatorial/toy-v1", domain, "tiny", len(scenario), {}, lambda task: {})
    agent.check(task.view)
    ids = torch.arange(len(scenario)) if ids is None else ids
    episode = rollout(domain, scenario, players(domain, {"planner": agent}), task=task.view, ids=ids, seed=seed)
    assert not episode.failures, episode.failures[:3]
    assert (episode.metrics["feasible"] == 1).all()
    return episode.actions["planner"], episode.metrics


@pytest.mark.parametrize(("name", "problem"), PLAYS)
def test_a_plan_is_feasible_and_does_not_depend_on_batch_padding_or_what_was_played_before(name, problem):
    domain, scenario = world(problem)
    agent = AGENTS[name]()
    actions, _ = play(agent, domain, scenario)
    rows = torch.tensor([4, 1])
    some, _ = play(agent, domain, scenario[rows], ids=rows)
    alone, _ = play(AGENTS[name](), domain, scenario[rows[:1]], ids=rows[:1])
    assert np.array_equal(some, actions[: len(some), rows]) and np.array_equal(alone[:, 0], actions[: len(alone), 4])
    longer, _ = play(agent, *world(problem, padding=3))
    assert np.array_equal(longer, actions)


@pytest.mark.parametrize("metric", ["EUC_2D", "ATT"])
@pytest.mark.parametrize(("name", "problem"), [(name, problem) for name, problem in PLAYS if problem in ("tsp", "cvrp", "op")])
def test_rounded_distances_of_files_are_played_too(name, problem, metric):
    domain, scenario = world(problem, rows=3, metric=metric, scale=12.0)  # so coarse that the triangle inequality breaks
    play(AGENTS[name](), domain, scenario)


def by_matrix(problem):
    """A domain and its instances, their distances given as a matrix."""
    domain, scenario = world(problem)
    return Combinatorial(problem, domain.n, explicit=True), replace(scenario, coords=scenario.coords[:, :0], matrix=matrix("euclid", scenario.coords))


@pytest.mark.parametrize(("name", "problem"), [(name, problem) for name, problem in PLAYS if problem in ("cvrp", "op") and name != "sweep"])
def test_a_matrix_is_played_as_the_points_it_comes_from(name, problem):
    (wanted, metrics), (found, same) = play(AGENTS[name](), *world(problem)), play(AGENTS[name](), *by_matrix(problem))
    assert np.array_equal(found, wanted) and all(np.allclose(same[key], metrics[key], rtol=1e-12) for key in metrics)


@pytest.mark.parametrize(("make", "problem"), [(BqNco, "cvrp"), (BqNco, "op"), (Sweep, "cvrp")])
def test_who_sees_places_refuses_a_matrix(make, problem):
    domain, scenario = by_matrix(problem)
    task = Task("combinatorial/toy-v1", domain, "tiny", len(scenario), {}, lambda task: {})
    with pytest.raises(ArenaError, match="as a matrix") as caught:
        make().check(task.view)
    assert caught.value.code == "agent.incompatible"


def test_tours_of_two_sizes_in_one_batch_are_refused():
    obs = {"nodes": torch.zeros(2, 4, 2), "action_mask": torch.tensor([[False, True, True, True], [False, True, True, False]])}
    with pytest.raises(ArenaError, match="one batch of tsp instances of 3, 4 nodes"):
        read("tsp", obs, np.zeros(2, np.int64), np.ones(2, bool))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_the_planner_reads_is_the_instance(problem):
    domain, scenario = world(problem, padding=4)
    obs = domain.observe(scenario, domain.reset(scenario))
    seen = read(problem, obs, np.arange(5), np.array([True, False, True, True, False]))
    rows, n = [0, 2, 3], SIZE[problem] + (problem in ("cvrp", "op"))
    assert len(seen) == 3 and seen.seeds.tolist() == rows
    assert seen.n == n if problem != "op" else seen.n <= n  # the last nodes of op may be out of reach
    for name in ("coords", "demand", "prize", "matrix"):
        found, given = getattr(seen, "points" if name == "coords" else name), getattr(scenario, name)[rows].numpy()
        assert found.dtype == given.dtype
        if found.size:
            assert np.array_equal(found, given[:, : seen.n, : seen.n] if name == "matrix" else given[:, : seen.n])
    assert np.array_equal(seen.budget, scenario.budget[rows].numpy())
    if problem in ("cvrp", "kp"):
        assert np.array_equal(seen.capacity, scenario.capacity[rows].numpy())


def test_distances_follow_the_metric_of_each_row():
    domain, scenario = world("tsp", rows=2, metric="EUC_2D", scale=100.0)
    scenario = replace(scenario, metric=torch.tensor([METRICS.index("EUC_2D"), METRICS.index("CEIL_2D")]))
    seen = read("tsp", domain.observe(scenario, domain.reset(scenario)), np.arange(2), np.ones(2, bool))
    exact = np.hypot(*(scenario.coords[:, :, None] - scenario.coords[:, None]).numpy().transpose(3, 0, 1, 2))
    assert np.array_equal(seen.distances(0), np.floor(exact[0] + 0.5)) and np.array_equal(seen.distances(1), np.ceil(exact[1]))


class Fixed(Planner):
    """Plays a given plan, and counts how often it is asked for one."""

    problems = PROBLEMS

    def __init__(self, order):
        self.fixed, self.asked = order, 0

    def plan(self, seen):
        self.asked += 1
        return np.array(self.fixed), None


def test_a_plan_that_ends_early_or_no_longer_fits_is_completed_by_legal_moves():
    scenario = instances(prize=np.array([[5, 4, 3, 2]]), demand=np.array([[3, 3, 2, 1]]), capacity=np.array([6]), best=1.0)
    agent = Fixed([[1, 2, 0, 3]])  # after items 1 and 2 one unit is left: 0 is skipped, 3 packed
    actions, metrics = play(agent, Combinatorial("kp", 4), scenario)
    assert actions[:, 0].tolist()[:3] == [1, 2, 3] and metrics["value"] == 9 and agent.asked == 1
    actions, _ = play(Fixed([[2, -1, -1, -1]]), Combinatorial("kp", 4), scenario)
    assert actions[:2, 0].tolist() == [2, 0]  # nothing planned: the first that is legal
    actions, _ = play(Fixed([[3, -1, -1]]), *world_of_four())
    assert actions[:, 0].tolist() == [3, 1, 2]


def world_of_four():
    return Combinatorial("tsp", 4), instances(coords=np.array([[[0.0, 0], [0, 1], [1, 1], [1, 0]]]), best=4.0)


def test_a_wrong_plan_of_a_tour_is_a_failure_and_not_repaired():
    domain, scenario = world_of_four()
    task = Task("combinatorial/toy-v1", domain, "tiny", 1, {}, lambda task: {})
    episode = rollout(domain, scenario, players(domain, {"planner": Fixed([[3, 3, 1]])}), task=task.view, ids=torch.arange(1))
    assert [failure.step for failure in episode.failures] == [1]


class Counting(FarthestInsertion):
    """Notes for how many rows it plans."""

    def __init__(self):
        self.planned = []

    def plan(self, seen):
        self.planned.append(len(seen))
        return super().plan(seen)


def test_rows_that_are_not_live_are_not_planned_for():
    domain, scenario = world("tsp", rows=3)
    task = Task("combinatorial/toy-v1", domain, "tiny", 3, {}, lambda task: {})
    agent, mode = Counting(), domain.roles[0].modes[0]
    agent.begin(Brief(task.view, "planner", "step", mode.observation_space, mode.action_space, 19, torch.arange(3), torch.device("cpu"), 0))
    obs = {**domain.observe(scenario, domain.reset(scenario)), "live": torch.tensor([True, False, True])}
    action = agent.act(obs)
    assert agent.planned == [2] and bool(obs["action_mask"].gather(1, action[:, None]).all())


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_problem_it_does_not_solve_is_refused_before_a_run(name, problem):
    agent, (domain, _) = AGENTS[name](), world(problem, rows=1)
    view = Task("combinatorial/toy-v1", domain, "tiny", 1, {}, lambda task: {}).view
    if problem in agent.problems:
        return agent.check(view)
    with pytest.raises(ArenaError, match=f"is {problem}") as caught:
        agent.check(view)
    assert caught.value.code == "agent.incompatible"


def test_another_domain_is_refused(tiny):
    with pytest.raises(ArenaError, match="is bidding") as caught:
        FarthestInsertion().check(tiny.view)
    assert caught.value.code == "agent.incompatible"


@pytest.mark.parametrize(
    "make",
    [
        lambda: LocalSearch("anywhere"),
        lambda: LocalSearch(k=0),
        lambda: IteratedSearch(-1),
        lambda: Savings(k=0),
        lambda: IteratedInsertion(-1),
        lambda: BranchAndBound(0),
        lambda: PyVrp(0),
        lambda: Lkh(0),
    ],
)
def test_parameters_that_make_no_sense_are_refused(make):
    with pytest.raises(ArenaError) as caught:
        make()
    assert caught.value.code == "agent.parameters"


def test_the_run_seed_gives_another_luck_to_agents_that_have_any():
    domain, scenario = world("tsp")
    first, again, other = (play(RandomInsertion(), domain, scenario, seed=seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_routes_and_rows_of_unequal_length_become_arrays():
    order, via = joined([np.array([3, 1]), np.array([], np.int64), np.array([2]), np.array([5, 4])])
    assert order.tolist() == [3, 1, 2, 5, 4] and via.tolist() == [False, False, True, True, False]
    assert padded([np.array([1]), np.array([2, 3])], 3).tolist() == [[1, -1, -1], [2, 3, -1]]
