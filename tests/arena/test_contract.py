"""The contract check: every rule is broken by an agent made for it and by no other, told in one line; all our own agents keep all."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_domains import Aim, Planner, Policy, Worker, aim, shop, village, walk

import agents.bidding
import agents.general
from arena import registry
from arena.contract import RULES, check_agent, tiny_task
from arena.domain import Mode
from arena.errors import ArenaError

HERE = Path(__file__).parents[1] / "agents_bad" / "breaks_one_rule.py"
_spec = importlib.util.spec_from_file_location("breaks_one_rule", HERE)
bad = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bad)


def faults(report):
    return {check.rule: check.detail for check in report.checks if check.ok is False}


def unjudged(report):
    return [check.rule for check in report.checks if check.ok is None]


# ---- one rule at a time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "rule", "told"),
    [
        (bad.Fits, "fits", "mode = 'sloot'; the role bidder has the modes impression, slot"),
        (bad.FitsThisTask, "fits", "I was trained on another task than bidding/tiny-v1; train me again"),
        (bad.FitsAtAll, "fits", "FileNotFoundError: weights.safetensors (breaks_one_rule.py, line 38)"),
        (bad.Runs, "runs", "act, step 4, with 8 scenarios: ValueError: the model file (breaks_one_rule.py, line 44)"),
        (bad.RunsAlone, "runs", "act, step 0, with 1 scenario: TypeError: len() of a 0-d tensor (breaks_one_rule.py, line 53)"),
        (bad.Legal, "legal", "scenario 3, step 4: value 301, allowed 0..300"),
        (bad.Finite, "finite", "scenario 5, step 2: value nan, allowed -4.0..4.0"),
        (
            bad.Reset, "reset",
            "scenario 0, step 0: 51 in an agent's first chunk, 54 in a later one; start every state afresh in begin(brief)",
        ),
        (
            bad.Batch, "batch",
            "scenario 0, step 0: 58 among others, 51 alone; one scenario may not depend on the others in the batch",
        ),
        (
            bad.BatchSlightly, "batch",
            "scenario 0, step 0: 0.0008 among others, 0.0001 alone; one scenario may not depend on the others in the batch",
        ),
        (bad.Inputs, "inputs", "scenario 2, step 7: act changed obs['theta'] from {theta} to 0.5; work on a copy"),
        (bad.InputsOfTheBrief, "inputs", "step 0: the agent changed brief.scenario; work on a copy"),
        (
            bad.Outputs, "outputs",
            "scenario 0, step 1: the answer of step 0, 50, became 51 when this one was asked for; return a new array every time",
        ),
    ],
)  # fmt: skip
def test_an_agent_that_breaks_one_rule_is_told_this_one_and_no_other(tiny, make, rule, told):
    report = check_agent(make, tiny)
    found = tiny.rows(2, 1).theta[0, 7].item()
    assert faults(report) == {rule: told.format(theta=f"{found:.7g}")}
    assert not report.ok and f"contract broken ({rule})" in report.summary and [check.rule for check in report.checks] == list(RULES)


def test_a_masked_action(tiny):
    report = check_agent(bad.Mask, walk())
    assert faults(report) == {"mask": "scenario 6, step 1: value 1, allowed 2 of the mask: 0, 2"}
    assert report.legal == report.decisions - 1


def test_a_stream_that_goes_on_from_agent_to_agent(tiny):
    bad.Repeatable.drawn = 0
    report = check_agent(bad.Repeatable, tiny)
    told = "scenario 0, step 0: 1 when first asked, 101 when asked again; take luck from brief.uniforms(step, k)"
    assert faults(report) == {"repeatable": told}
    assert unjudged(report) == ["reset", "batch"], "what differs anyway cannot be blamed on these"


def test_what_is_kept_from_the_first_chunk_shows_in_another_one(tiny):
    told = faults(check_agent(bad.ResetOfTheFirst, tiny))
    first, last = int(tiny.rows(0, 1).budget[0]) % 97, int(tiny.rows(8, 1).budget[0]) % 97
    assert list(told) == ["reset"] and f"scenario 8, step 0: {first} in a later chunk, {last} in an agent's first one" in told["reset"]


def test_a_box_may_differ_by_rounding(tiny):
    assert check_agent(lambda: bad.BatchSlightly(1e-6), tiny).ok


def test_decisions_that_take_too_long():
    task = replace(aim(), limits={"act_s": 0.002})
    report = check_agent(bad.Time, task)
    assert list(faults(report)) == ["time"] and "ms per decision, at most 2 are allowed by aim/tiny-v1" in faults(report)["time"]
    assert report.ms_per_decision > 2 and check_agent(bad.Time, aim()).ok


def test_one_fault_does_not_hide_another(tiny):
    def answer(obs, brief, step):
        obs["n"].zero_()
        return torch.where(brief.scenario % 2 == 0, 400 if step == 3 else 50, 50 + len(obs["n"]))

    found = faults(check_agent(lambda: Policy(answer), tiny))
    assert list(found) == ["legal", "batch", "inputs"]


def test_an_agent_that_breaks_down_in_begin_leaves_the_rest_unjudged(tiny, from_file):
    report = check_agent(from_file("breaks_down:CrashesInBegin").make, tiny)
    assert faults(report) == {"runs": "begin with 8 scenarios: RuntimeError: no memory of the last chunk (breaks_down.py, line 34)"}
    assert unjudged(report) == [rule for rule in RULES if rule not in ("fits", "runs")] and report.decisions == 0


def test_an_agent_that_breaks_down_in_end(tiny, from_file):
    report = check_agent(from_file("breaks_down:CrashesInEnd").make, tiny)
    assert faults(report) == {"runs": "end with 8 scenarios: RuntimeError: cannot let go (breaks_down.py, line 39)"}


@pytest.mark.parametrize("error", [ArenaError("infra.cache", "the cache is away"), ArenaError("run.budget", "all is spent"), KeyboardInterrupt()])
def test_what_is_nobodys_fault_comes_through(tiny, error):
    def answer(obs, brief, step):
        raise error

    with pytest.raises(type(error)):
        check_agent(lambda: Policy(answer), tiny)


# ---- agents that keep it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [spec.name for spec in (*agents.bidding.AGENTS, *agents.general.AGENTS) if spec.plays("bidding/tiny-v1")])
def test_our_own_bidders_keep_the_contract(tiny, name):
    report = check_agent(registry.candidate(name).make, tiny)
    assert faults(report) == {} and report.ok
    assert report.decisions == report.legal >= 128
    assert all(check.detail for check in report.checks)


@pytest.mark.parametrize("name", ["shaded", pytest.param("cpa-cap", marks=pytest.mark.slow)])  # an episode of 36,000 decisions
def test_bidders_that_do_not_play_the_tiny_task_keep_it_on_another(name):
    candidate = registry.candidate(name)
    report = check_agent(candidate.make, registry.task(tiny_task(candidate.tasks)))
    assert faults(report) == {} and report.ok


@pytest.mark.parametrize("name", ["PythonInts", "Narrow", "ReadOnly", "KeepsGradients", "Inference"])
def test_odd_manners_that_harm_nobody_are_fine(tiny, from_file, name):
    assert check_agent(from_file(f"odd_but_legal:{name}").make, tiny).ok


@pytest.mark.parametrize("name", ["bid", "Bidder", "SlotPlayer"])
def test_one_observation_code_keeps_it(tiny, from_file, name):
    assert check_agent(from_file(f"one_observation:{name}").make, tiny).ok


def test_early_ends_masks_and_luck(tiny):
    task = walk()
    report = check_agent(registry.candidate("random").make, task)
    assert report.ok and report.decisions >= 128, "another chunk is played where one has too few live decisions"
    assert check_agent(lambda: Policy(lambda obs, brief, step: torch.full_like(obs["place"], 2)), task).ok


def test_a_task_with_fewer_decisions_is_played_whole():
    found = check_agent(lambda: Policy(lambda obs, brief, step: torch.full_like(obs["day"], 2)), shop(7))
    assert found.ok and found.decisions == 7 * 4


def test_a_task_of_one_scenario():
    assert check_agent(lambda: Policy(lambda obs, brief, step: obs["last"] * 0), aim(1)).ok


@pytest.mark.parametrize(
    ("candidates", "fill", "make"),
    [(("worker",), {"planner": "toy-planner"}, Worker), (("planner",), {"worker": "toy-worker"}, Planner)],
)
def test_several_roles_and_seats(candidates, fill, make):
    report = check_agent(make, village(candidates, fill))
    assert report.ok, faults(report)
    if candidates == ("worker",):
        assert report.decisions >= 128 and report.decisions % 30 == 0, "every seat's decision counts"


def test_an_agent_that_plays_two_roles():
    def both(obs, brief, step):
        return torch.full_like(obs["wealth"], 0.3) if brief.role == "planner" else torch.full_like(obs["skill"], 2).long()

    assert check_agent(lambda: Policy(both), village(("planner", "worker"), {})).ok


def test_seats_of_a_row_are_told_with_their_place():
    def answer(obs, brief, step):
        action = torch.full_like(obs["skill"], 2).long()
        action[brief.scenario == 0, 1] = 7 if step == 5 else 2
        return action

    found = faults(check_agent(lambda: Policy(answer), village(("worker",), {"planner": "toy-planner"})))
    assert found == {"legal": "scenario 0, step 5: value 7 of seat 1, allowed 0..3"}


def test_a_frozen_agent_that_fails_is_the_tasks_fault():
    with pytest.raises(ArenaError) as caught:
        check_agent(Planner, village(("planner",), {"worker": "toy-striker"}))
    assert caught.value.code == "task.fill" and "toy-striker" in caught.value.message


def test_the_rules_of_a_mode_are_part_of_the_space():
    """A shot within the unit circle, which no Box can say."""

    class Circle(Aim):
        def __init__(self):
            super().__init__()
            (mode,) = self.roles[0].modes
            inside = Mode("shot", mode.observation_space, mode.action_space, legal=lambda scenario, state, shot: shot.norm(dim=1) <= 1)
            self.roles = (replace(self.roles[0], modes=(inside,)),)

    task = replace(aim(), domain=Circle())
    found = faults(check_agent(lambda: Policy(lambda obs, brief, step: obs["last"] * 0 + (1.0 if step == 2 else 0.5)), task))
    assert found == {"legal": "scenario 0, step 2: the rules of mode 'shot' do not allow this action"}


def test_integers_in_a_box_and_several_components():
    found = faults(check_agent(lambda: Policy(lambda obs, brief, step: np.full((len(obs["live"]), 2), 1.5, np.float32)), aim()))
    assert found == {"legal": "scenario 0, step 0: value 1.5 at [0], allowed -1.0..1.0"}


# ---- in a process of its own -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Legal", "Reset", "Batch", "Steady"])
def test_the_verdict_is_the_same_in_a_process_of_its_own(tiny, name):
    candidate = registry.candidate(f"{HERE}:{name}")
    inside, outside = check_agent(candidate.make, tiny), check_agent(lambda: candidate.enter(tiny.view), tiny)
    assert faults(inside) == faults(outside) and unjudged(inside) == unjudged(outside)
    assert (inside.decisions, inside.legal) == (outside.decisions, outside.legal)


def test_an_agent_that_breaks_down_or_cannot_be_made_in_its_process(tiny):
    for name, rule, words in (("Runs", "runs", "the model file"), ("FitsAtAll", "fits", "weights.safetensors"), ("Fits", "fits", "impression, slot")):
        candidate = registry.candidate(f"{HERE}:{name}")
        found = faults(check_agent(lambda candidate=candidate: candidate.enter(tiny.view), tiny))
        assert list(found) == [rule] and words in found[rule] and "\n" not in found[rule]


def test_an_agent_that_never_answers_does_not_hold_up_the_check(tiny):
    task = replace(tiny, limits={"act_s": 0.01, "bank_s": 0.05})
    candidate = registry.candidate(f"{HERE}:NeverAnswers")
    start = time.monotonic()
    found = faults(check_agent(lambda: candidate.enter(task.view), task))
    assert list(found) == ["runs"] and "act, step 0, with 8 scenarios" in found["runs"] and time.monotonic() - start < 30


def test_agents_are_closed_whatever_happens(tiny):
    closed = []

    class Counted(bad.Runs):
        def close(self):
            closed.append(self)

    check_agent(Counted, tiny)
    assert len(closed) == len(set(map(id, closed))) >= 2


# ---- which task ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "task"),
    [
        (("*",), "bidding/tiny-v1"),
        (("bidding/standard-*", "bidding/tiny-*"), "bidding/tiny-v1"),
        (("bidding/cpa-*",), "bidding/cpa-v1"),
        (("bidding/standard-*", "bidding/drift-*"), "bidding/drift-v1"),
        (("bidding/ipinyou-1458-*", "bidding/large-*"), "bidding/large-v1"),
    ],
)
def test_the_task_an_agent_is_checked_on(patterns, task):
    assert tiny_task(patterns) == task


def test_an_agent_that_plays_nothing_known():
    with pytest.raises(ArenaError) as caught:
        tiny_task(("biding/tiny-v1",))
    assert caught.value.code == "unknown.task" and "bidding/tiny-v1" in caught.value.hint
