"""Agents that answer, but not with legal actions."""

from __future__ import annotations

import numpy as np
import torch

from arena.agent import Agent


class Answers(Agent):
    """Gives what `answer(rows)` says at step 4, and a bid of 50 at all others."""

    def begin(self, brief):
        self.brief, self.step = brief, -1

    def act(self, obs):
        self.step += 1
        return self.answer(len(obs["live"])) if self.step == 4 else torch.full((len(obs["live"]),), 50)


class WrongShape(Answers):
    def answer(self, rows):
        return torch.full((rows, 1), 50)


class WholeFloats(Answers):
    def answer(self, rows):
        return torch.full((rows,), 50.0)


class NotANumber(Answers):
    def answer(self, rows):
        return torch.full((rows,), float("nan"))


class Booleans(Answers):
    def answer(self, rows):
        return torch.ones(rows, dtype=torch.bool)


class Nothing(Answers):
    def answer(self, rows):
        return None


class Words(Answers):
    def answer(self, rows):
        return ["fifty"] * rows


class Complex(Answers):
    def answer(self, rows):
        return torch.full((rows,), 50, dtype=torch.complex64)


class Sparse(Answers):
    def answer(self, rows):
        return torch.full((rows,), 50).to_sparse()


class Ragged(Answers):
    def answer(self, rows):
        return [[50]] + [50] * (rows - 1)


class HugeInts(Answers):
    """Rows 1 and 2 lie beyond int64, row 3 beyond int16 (in which bids are recorded)."""

    def answer(self, rows):
        return [50, 2**63, -(2**70), 40_000] + [50] * (rows - 4)


class HugeUnsigned(Answers):
    def answer(self, rows):
        return np.full(rows, 2**64 - 50, np.uint64)


class OutOfRange(Answers):
    """Scenarios 3 and 7 bid beyond the ends."""

    def answer(self, rows):
        ids = self.brief.scenario
        return torch.where(ids == 3, 301, torch.where(ids == 7, -1, 50))


class Slots(Answers):
    mode = "slot"

    def act(self, obs):
        self.step += 1
        action = torch.zeros(len(obs["live"]))
        if self.step == 2:
            ids = self.brief.scenario
            action[ids == 2], action[ids == 5], action[ids == 6] = float("nan"), float("inf"), 4.001
        return action
