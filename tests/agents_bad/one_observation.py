"""Code written for one observation at a time, in every form that is welcome; `Batched` and `BatchedSlots` play the same."""

from __future__ import annotations

import numpy as np
import torch

from arena.agent import Agent


def bid(obs):
    return 20 + int(obs["b"]) % 37 + int(obs["theta"] * 1e4) % 41


class Bidder:
    """Keeps state between its calls: its first bid is 10."""

    def __init__(self):
        self.calls = 0

    def act(self, obs):
        self.calls += 1
        return bid(obs) if self.calls > 1 else 10


class Batched(Agent):
    def begin(self, brief):
        self.calls = 0

    def act(self, obs):
        self.calls += 1
        return 20 + obs["b"] % 37 + (obs["theta"] * 1e4).long() % 41 if self.calls > 1 else torch.full_like(obs["b"], 10)


class SlotPlayer:
    mode = "slot"

    def begin(self, brief):
        self.top = float(brief.action_space.high)

    def act(self, features):
        assert features.shape == (8,) and features.dtype == np.float32
        return np.float32(min(self.top, 0.25 + float(features[0])))


class BatchedSlots(Agent):
    mode = "slot"

    def act(self, obs):
        return (0.25 + obs["features"][:, 0].double()).float()


class OneRowOff:
    """Scenarios whose id is 4 get a float, the others their bid: that row alone is illegal."""

    def __init__(self):
        self.calls = 0

    def begin(self, brief):
        self.ids = brief.scenario.tolist()

    def act(self, obs):
        self.calls += 1
        return 50.5 if self.calls == 3 and int(obs["campaign"]) == 0 and len(self.ids) == 1 and self.ids[0] == 4 else 50
