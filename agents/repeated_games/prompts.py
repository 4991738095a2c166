"""A repeated game told in English, and what an answer says. Raise VERSION with every change of a word: kept answers belong to a wording.

All text is made from one player's own view, so either seat reads its own payoffs: "you" is whoever is addressed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from arena.agent import Observation

VERSION = "repeated-games/1"
Prompt = Literal["direct", "scot", "opponent_info", "cot"]
Unit = Literal["points", "coins", "credits", "dollars"]
About = Literal["mistakes", "same-goal"]
Message = dict[str, str]


@dataclass(frozen=True)
class View:
    """What a player sees, in plain values. own, other: actions of the finished rounds; rounds: T, 0 where the end is not known

    payoffs: [own action][other's action] -> (own, other's); labels: letters of action 0 and 1; order: the action listed first
    """

    own: tuple[int, ...]
    other: tuple[int, ...]
    rounds: int
    payoffs: tuple[tuple[tuple[float, float], ...], ...]
    labels: tuple[str, str]
    order: int = 0
    framing: int = 0
    paraphrase: int = 0

    @property
    def listed(self) -> tuple[str, str]:
        """The labels in the order in which they are to be named."""
        return self.labels[self.order], self.labels[1 - self.order]


@dataclass(frozen=True)
class Framing:
    """A story around the game (framings.json). noun: what is chosen; other: who else chooses; openings: by paraphrase, with {x}, {y}, {unit}"""

    noun: str
    other: str
    openings: list[str]


FRAMINGS = tuple(Framing(**framing) for framing in json.loads(Path(__file__).with_name("framings.json").read_text(encoding="utf-8")))
HINTS: Mapping[About, str] = {
    "mistakes": "Keep in mind that {other} may sometimes choose something by mistake.",
    "same-goal": "Keep in mind that {other} has the same aim as you.",
}
MARK = "Answer:"


def views(obs: Observation) -> list[View]:
    """The rows of an observation of mode `history` ([B, ...])."""
    columns = {name: obs[name].tolist() for name in ("own", "other", "round", "rounds", "payoffs", "labels", "order", "framing", "paraphrase")}
    found = []
    for own, other, round_, rounds, payoffs, labels, order, framing, paraphrase in zip(*columns.values(), strict=True):
        letters = tuple(chr(ord("A") + label) for label in labels)
        cells = tuple(tuple(tuple(cell) for cell in row) for row in payoffs)
        found.append(View(tuple(own[:round_]), tuple(other[:round_]), rounds, cells, letters, order, framing, paraphrase))  # type: ignore[arg-type]
    return found


def amount(value: float, unit: str) -> str:
    """`8 points`, `1 point`, `2.5 coins`: every digit of the value."""
    text = str(int(value)) if value == int(value) else repr(value)
    return f"{text} {unit[:-1] if value in (1, -1) else unit}"


def framing_of(view: View) -> Framing:
    return FRAMINGS[view.framing]


# ---- what is asked ---------------------------------------------------------------------------------------------------------


def told(view: View, unit: Unit = "points", about: About | None = None) -> str:
    """Rules, then history: what is the same in every round comes first, so that servers find it in their prefix caches.

    The four cells are listed by the letters of the labels, not by action, so that no action always stands first.
    """
    frame = framing_of(view)
    noun, other = frame.noun, frame.other
    sorted_ = sorted((0, 1), key=lambda action: view.labels[action])
    first, second = (view.labels[action] for action in sorted_)
    opening = frame.openings[view.paraphrase % len(frame.openings)].format(x=first, y=second, unit=unit)
    lines = [opening, "", "The rules:"]
    for own in sorted_:
        for theirs in sorted_:
            mine, yours = view.payoffs[own][theirs]
            lines.append(
                f"- If you choose {noun} {view.labels[own]} and {other} chooses {noun} {view.labels[theirs]}, "
                f"you get {amount(mine, unit)} and {other} gets {amount(yours, unit)}."
            )
    length = f"There are {view.rounds} rounds" if view.rounds != 1 else "There is 1 round"
    lines += ["", f"{length} in all." if view.rounds else "You are not told how many rounds there will be."]
    if about is not None:
        lines.append(HINTS[about].format(other=other))
    if view.own:
        lines += ["", "What has happened so far:"]
    for number, (own, theirs) in enumerate(zip(view.own, view.other, strict=True), 1):
        mine, yours = view.payoffs[own][theirs]
        lines.append(
            f"Round {number}: you chose {noun} {view.labels[own]} and got {amount(mine, unit)}; "
            f"{other} chose {noun} {view.labels[theirs]} and got {amount(yours, unit)}."
        )
    return "\n".join(lines)


def _now(view: View) -> str:
    of = f" of {view.rounds}" if view.rounds else ""
    return f"It is now round {len(view.own) + 1}{of}."


def _which(view: View) -> str:
    noun, (one, two) = framing_of(view).noun, view.listed
    return f"{noun} {one} or {noun} {two}"


def question(view: View, reasoned: bool = False) -> str:
    """Which option do you choose?"""
    noun = framing_of(view).noun
    asked = f"{_now(view)} Which {noun} do you choose, {_which(view)}?"
    one, two = view.listed
    if reasoned:
        return f"{asked}\nThink it through step by step. Then give your choice in a last line of its own: '{MARK} {one}' or '{MARK} {two}'."
    return f"{asked}\nReply with the letter only: {one} or {two}."


def prediction(view: View) -> str:
    """Which option will the other player choose?"""
    frame, (one, two) = framing_of(view), view.listed
    asked = f"{_now(view)} Before you choose: which {frame.noun} do you expect {frame.other} to choose in this round, {_which(view)}?"
    return f"{asked}\nReply with the letter only: {one} or {two}."


def given(view: View, predicted: int) -> str:
    """The choice, given what the other player is expected to do."""
    frame, (one, two) = framing_of(view), view.listed
    asked = f"You expect {frame.other} to choose {frame.noun} {view.labels[predicted]} in this round. Given that, which {frame.noun} do you choose"
    return f"{asked}, {_which(view)}?\nReply with the letter only: {one} or {two}."


def reminder(view: View, reasoned: bool = False) -> str:
    """After an answer that held no choice."""
    one, two = view.listed
    form = f"{MARK} {one}' or '{MARK} {two}" if reasoned else f"{one}' or '{two}"
    return f"That was not one of the two letters. Please answer with '{form}' and nothing else."


# ---- what is answered --------------------------------------------------------------------------------------------------------

_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_MARKED = re.compile(r"answer\s*(?:is|:|=)", re.IGNORECASE)


def choice(text: str, view: View) -> int | None:
    """The action an answer names, None where it names none or both.

    The letter alone, or alone in the first line of a text without answer marker; else the only one of the two that stands by itself in the text; else
    the only one after the last marker. Thoughts in <think> blocks are left out.
    """
    said = _THOUGHT.sub(" ", text)
    if "</think>" in said:  # some servers swallow the opening tag
        said = said.rpartition("</think>")[2]
    lines, marks = said.strip().splitlines(), list(_MARKED.finditer(said))
    for whole in (said, lines[0] if lines and not marks else ""):
        bare = whole.strip().strip("\"'`*.,()[]: ")
        for action, label in enumerate(view.labels):
            if bare.upper() == label:
                return action
    named = _named(said, view)
    if len(named) == 2:
        named = _named(said[marks[-1].end() :], view) if marks else named
    return named.pop() if len(named) == 1 else None


def _named(text: str, view: View) -> set[int]:
    """The actions whose labels stand by themselves in a text."""
    return {action for action, label in enumerate(view.labels) if _pattern(label, framing_of(view).noun).search(text)}


@cache
def _pattern(label: str, noun: str) -> re.Pattern[str]:
    """A label by itself. "A good choice" and "the option I choose" are words: A and I must be quoted, follow the noun or a marker, or end a line."""
    if label not in "AI":
        return re.compile(rf"(?<![\w-]){label}(?!\w|-\w|'\w)")
    word = r"(?!\s+[a-z])" if label == "I" else ""
    opened, closed = r"[\"'`*(\[]", r"[\"'`*)\].]"
    after = rf"(?i:\b{noun}|\bletter|answer\s*:|answer is)\s*{opened}*{label}\b(?!'\w){word}"
    return re.compile(rf"{after}|{opened}{label}{closed}(?!\w)|\b{label}{closed}*\s*$", re.MULTILINE)


def as_user(*texts: str) -> list[Message]:
    """One message: some models take no other role."""
    return [{"role": "user", "content": "\n\n".join(texts)}]


def followed(messages: list[Message], answer: str, text: str) -> list[Message]:
    """The conversation after an answer, with what is asked next. An empty answer cannot be a turn of its own."""
    if not answer.strip():
        return [*messages[:-1], {"role": "user", "content": f"{messages[-1]['content']}\n\n{text}"}]
    return [*messages, {"role": "assistant", "content": answer[:REMEMBERED]}, {"role": "user", "content": text}]


REMEMBERED = 500  # characters of an answer that the model sees again
