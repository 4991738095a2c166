"""For every rule of the contract an agent that breaks this one and no other, and is named for it. Steady bids, but for what is said."""

from __future__ import annotations

import time

import torch

from arena.agent import Agent
from arena.errors import ArenaError


class Steady(Agent):
    """Bids 50; counts its steps."""

    def begin(self, brief):
        self.brief, self.step = brief, -1

    def act(self, obs):
        self.step += 1
        return self.bids(obs)

    def bids(self, obs):
        return torch.full((len(obs["live"]),), 50)


class Fits(Steady):
    mode = "sloot"


class FitsThisTask(Steady):
    def check(self, task):
        raise ArenaError("agent.incompatible", f"I was trained on another task than {task.id}", "train me again")


class FitsAtAll(Steady):
    def __init__(self):
        raise FileNotFoundError("weights.safetensors")


class Runs(Steady):
    def bids(self, obs):
        if self.step == 4:
            raise ValueError("the model file\nran away")
        return super().bids(obs)


class RunsAlone(Steady):
    """Cannot play one scenario alone: the most frequent fault of batched code."""

    def bids(self, obs):
        bid = torch.full((len(obs["live"]), 1), 50).squeeze()
        return bid + 0 * torch.arange(len(bid))


class Legal(Steady):
    def bids(self, obs):
        return torch.where((self.brief.scenario == 3) & (self.step == 4), 301, super().bids(obs))


class Finite(Steady):
    mode = "slot"

    def bids(self, obs):
        action = torch.zeros(len(obs["live"]))
        if self.step == 2:
            action[self.brief.scenario == 5] = float("nan")
        return action


class Mask(Steady):
    """Of the walk: goes left, which is not allowed at the wall."""

    def bids(self, obs):
        return torch.where((self.brief.scenario == 6) & (self.step == 1), 1, torch.zeros_like(obs["place"]))


class Repeatable(Steady):
    """Draws from a stream that goes on from agent to agent."""

    drawn = 0

    def bids(self, obs):
        Repeatable.drawn += 1
        return torch.full_like(obs["b"], Repeatable.drawn % 300)


class Reset(Steady):
    """Counts its chunks."""

    def __init__(self):
        self.chunks = 0

    def begin(self, brief):
        super().begin(brief)
        self.chunks += 1

    def bids(self, obs):
        return torch.full_like(obs["b"], 50 + self.chunks)


class ResetOfTheFirst(Steady):
    """Keeps for ever what it worked out for its first chunk: that one it plays right even when it comes again."""

    budget = None

    def bids(self, obs):
        if self.budget is None:
            self.budget = int(obs["B"][0])
        return torch.full_like(obs["b"], self.budget % 97)


class Batch(Steady):
    """Bids by how many play beside it."""

    def bids(self, obs):
        return torch.full_like(obs["b"], 50 + len(obs["b"]))


class BatchSlightly(Steady):
    """In a Box: what differs by less than 1e-5 is the same, what differs by more is not."""

    mode = "slot"

    def __init__(self, by=1e-4):
        self.by = by

    def bids(self, obs):
        return torch.full((len(obs["live"]),), self.by * len(obs["live"]))


class Inputs(Steady):
    def bids(self, obs):
        if self.step == 7:
            obs["theta"].masked_fill_(self.brief.scenario == 2, 0.5)
        return super().bids(obs)


class InputsOfTheBrief(Steady):
    def begin(self, brief):
        super().begin(brief)
        brief.scenario.zero_()


class Outputs(Steady):
    """Answers in one array, which it fills again."""

    def begin(self, brief):
        super().begin(brief)
        self.bid = torch.zeros(len(brief), dtype=torch.int64)

    def bids(self, obs):
        return self.bid.fill_(50 + self.step)


class Time(Steady):
    """Of the aim: a fiftieth of a second per shot."""

    def bids(self, obs):
        time.sleep(0.02)
        return obs["last"] * 0


class NeverAnswers(Steady):
    def bids(self, obs):
        time.sleep(3600)
