"""Every prompt states the payoffs, the history and the options of the seat it addresses: it is read back, in all wordings."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.repeated_games import prompts
from agents.repeated_games.prompts import FRAMINGS, View
from domains.repeated_games.kernel import FRAMINGS as STORIES
from domains.repeated_games.kernel import PARAPHRASES, Matches, RepeatedGame
from domains.repeated_games.opponents import library

NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?) (?:point|coin|credit|dollar)s?"
UNITS, ABOUTS = ("points", "coins", "credits", "dollars"), (None, "mistakes", "same-goal")
ALPHABET = [chr(ord("A") + i) for i in range(26)]


def read_rules(text, frame):
    """{(own letter, other's letter): (own, other's)}, from the rules as they are told."""
    noun, other = re.escape(frame.noun), re.escape(frame.other)
    pattern = rf"If you choose {noun} ([A-Z]) and {other} chooses {noun} ([A-Z]), you get {NUMBER} and {other} gets {NUMBER}\."
    return {(own, theirs): (float(mine), float(yours)) for own, theirs, mine, yours in re.findall(pattern, text)}


def read_history(text, frame):
    """[(round, own letter, own points, other's letter, other's points)]"""
    noun, other = re.escape(frame.noun), re.escape(frame.other)
    pattern = rf"Round (\d+): you chose {noun} ([A-Z]) and got {NUMBER}; {other} chose {noun} ([A-Z]) and got {NUMBER}\."
    return [(int(n), own, float(mine), theirs, float(yours)) for n, own, mine, theirs, yours in re.findall(pattern, text)]


def view(**changes):
    pd = (((8.0, 8.0), (0.0, 10.0)), ((10.0, 0.0), (5.0, 5.0)))
    return View(**{"own": (), "other": (), "rounds": 10, "payoffs": pd, "labels": ("J", "F"), **changes})


money = st.one_of(st.integers(-20, 20).map(float), st.floats(-1e6, 1e6, allow_nan=False))
games = st.lists(money, min_size=8, max_size=8)
moves = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=9)


@settings(max_examples=150)
@given(
    cells=games,
    labels=st.permutations(ALPHABET),
    history=moves,
    seat=st.integers(0, 1),
    order=st.integers(0, 1),
    framing=st.integers(0, 3),
    paraphrase=st.integers(0, PARAPHRASES - 1),
    unit=st.sampled_from(UNITS),
    about=st.sampled_from(ABOUTS),
)
def test_the_seat_that_is_addressed_reads_its_own_true_payoffs(cells, labels, history, seat, order, framing, paraphrase, unit, about):
    """Through the kernel: a game as it is stored, the observation of a seat, the text, and back."""
    game = torch.tensor(cells, dtype=torch.float64).view(2, 2, 2)
    domain = RepeatedGame(10, library([("allc", game)], 10))
    letters = [ord(letter) - ord("A") for letter in labels[:2]]
    scenario = Matches(
        payoffs=game[None], seat=torch.tensor([seat]), opponent=torch.tensor([0]), luck=torch.zeros(1, 10, dtype=torch.float64),
        slip=torch.zeros(1, 0, 2, dtype=torch.bool), labels=torch.tensor([letters], dtype=torch.int8),
        order=torch.full((1, 10), order, dtype=torch.int8), framing=torch.tensor([framing], dtype=torch.int8),
        paraphrase=torch.tensor([paraphrase], dtype=torch.int8),
    )  # fmt: skip
    state = domain.reset(scenario)
    rows = []
    for own, _ in history:
        state, outcome = domain.step(scenario, state, torch.tensor([own]))
        rows.append((own, *outcome.reward[0].tolist()))
    (seen,) = prompts.views(domain.observe(scenario, state))
    text, frame = prompts.told(seen, unit, about), FRAMINGS[framing]
    for own, theirs in itertools.product((0, 1), repeat=2):
        row, column = (own, theirs) if seat == 0 else (theirs, own)
        expected = (game[row, column, seat].item(), game[row, column, 1 - seat].item())
        assert read_rules(text, frame)[labels[own], labels[theirs]] == expected
    told = read_history(text, frame)
    assert [(n, own, mine, yours) for n, own, mine, _, yours in told] == [
        (n, labels[own], mine, yours) for n, (own, mine, yours) in enumerate(rows, 1)
    ]
    assert all(theirs == labels[0] for _, _, _, theirs, _ in told)  # allc plays action 0
    question = prompts.question(seen)
    assert f"{frame.noun} {labels[order]} or {frame.noun} {labels[1 - order]}?" in question and f"round {len(history) + 1} of 10" in question
    assert f"{labels[order]} or {labels[1 - order]}." in question


def test_framings_are_those_of_the_domain_in_as_many_wordings():
    assert len(FRAMINGS) == len(STORIES) and all(len(set(frame.openings)) == PARAPHRASES for frame in FRAMINGS)
    texts = {prompts.told(view(framing=f, paraphrase=p)) for f in range(len(FRAMINGS)) for p in range(PARAPHRASES)}
    assert len(texts) == len(FRAMINGS) * PARAPHRASES
    for frame in FRAMINGS:
        for opening in frame.openings:  # both options, what is earned, that it is simultaneous
            assert all(part in opening for part in ("{x}", "{y}", "{unit}")) and re.search(
                r"same time|without seeing|neither knows|secretly", opening
            )


@pytest.mark.parametrize("prompt", [prompts.question, prompts.prediction, lambda v: prompts.question(v, True), lambda v: prompts.given(v, 0)])
def test_the_text_grows_at_its_end_so_that_prefixes_stay(prompt):
    early = view(own=(0,), other=(1,))
    late = view(own=(0, 1), other=(1, 1), order=1)
    assert prompts.told(late).startswith(prompts.told(early)) and prompts.told(early).startswith(prompts.told(view()))
    assert prompt(early) != prompt(late)


def test_no_action_always_stands_first_in_the_rules():
    first = [read_rules(prompts.told(view(labels=labels)), FRAMINGS[0]) for labels in (("J", "F"), ("F", "J"))]
    assert [next(iter(rules)) for rules in first] == [("F", "F"), ("F", "F")]
    assert [rules["F", "F"] for rules in first] == [(5.0, 5.0), (8.0, 8.0)]


def test_an_end_that_is_not_known_is_not_told():
    seen = view(rounds=0, own=(1,), other=(0,))
    text = prompts.told(seen) + prompts.question(seen)
    assert "not told how many rounds" in text and " of " not in prompts.question(seen).split("?")[0] and "10 rounds" not in text
    assert "There is 1 round in all." in prompts.told(view(rounds=1))


def test_units_are_counted_in_grammar():
    assert [prompts.amount(value, "coins") for value in (0, 1.0, -1, 2.5, 1e-7)] == ["0 coins", "1 coin", "-1 coin", "2.5 coins", "1e-07 coins"]


# ---- answers -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("J", "J"),
        (" J", "J"),
        ("j", "J"),
        ("J.", "J"),
        ("**F**", "F"),
        ('"F"', "F"),
        ("'J'", "J"),
        ("(J)\n", "J"),
        ("Option J", "J"),
        ("option F.", "F"),
        ("I choose F.", "F"),
        ("I would pick 'J'.", "J"),
        ("My answer is J!", "J"),
        ("J\n\nBecause F would pay less.", "J"),
        ("J pays 8, F pays 10. Answer: F", "F"),
        ("If they take F, I lose with J.\n**Answer:** J", "J"),
        ("Answer: F\nNo: Answer: J", "J"),
        ("J\nwould be safe, but more is to be had.\nAnswer: F", "F"),
        ("<think>F? No, J? F!</think>J", "J"),
        ("<think>J J J</think>\n\nAnswer: F", "F"),
        ("maybe F</think> J", "J"),
        ("The answer is F, not J", None),
        ("", None),
        ("Z", None),
        ("J or F", None),
        ("neither", None),
        ("JF", None),
        ("<think>I take J", None),
        ("Just Fine", None),
        ("J-shaped", None),
        ("Answer: J or F", None),
        ("Jim's", None),
        ("I'd say J's better", None),
    ],
)
def test_what_an_answer_says(text, label):
    found = prompts.choice(text, view())
    assert (None if found is None else view().labels[found]) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A", "A"),
        ("I", "I"),
        ("a", "A"),
        ("I choose option A.", "A"),
        ("A good choice is option I.", "I"),
        ("I choose I.", "I"),
        ("Answer: I", "I"),
        ("I think I will go with **A**", "A"),
        ("I'd go for it", None),
        ("A difficult question", None),
        ("the option I prefer is (A)", "A"),
        ("I am sure: option A is best", "A"),
        ("'I'm not sure'", None),
    ],
)
def test_the_words_a_and_i_are_no_answers(text, label):
    seen = view(labels=("A", "I"))
    found = prompts.choice(text, seen)
    assert (None if found is None else seen.labels[found]) == label


@given(labels=st.permutations(ALPHABET), order=st.integers(0, 1), action=st.integers(0, 1), framing=st.integers(0, 3))
def test_what_the_prompt_asks_for_is_understood(labels, order, action, framing):
    seen = view(labels=(labels[0], labels[1]), order=order, framing=framing)
    label, noun = labels[action], FRAMINGS[framing].noun
    for text in (label, f"{label}.", f"Answer: {label}", f"{noun} {label}", f"{noun.capitalize()} {label}.", f"I choose {noun} {label}."):
        assert prompts.choice(text, seen) == action, text


def test_conversations_keep_turns_in_order_and_long_answers_short():
    start = prompts.as_user("rules", "which?")
    after = prompts.followed(start, "x" * 9000, "again")
    assert [message["role"] for message in after] == ["user", "assistant", "user"] and len(after[1]["content"]) == prompts.REMEMBERED
    empty = prompts.followed(start, " \n", "again")
    assert [message["role"] for message in empty] == ["user"] and empty[0]["content"].endswith("which?\n\nagain")
