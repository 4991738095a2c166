"""Agents with bad manners whose answers are legal: each plays exactly what `Plain` plays, and must come to exactly its figures."""

from __future__ import annotations

import numpy as np
import torch

from arena.agent import Agent


class Plain(Agent):
    """Bids a number that depends on what it sees, so that a corrupted observation would show."""

    def begin(self, brief):
        self.brief = brief

    def act(self, obs):
        return (20 + obs["b"] % 37 + (obs["theta"] * 1e4).long() % 41).clamp(max=300)


class WritesObservations(Plain):
    """Overwrites everything it is shown, through torch and through NumPy."""

    def act(self, obs):
        action = super().act(obs)
        for tensor in obs.values():
            tensor.fill_(1)
            tensor.numpy()[...] = 0  # `live` too
        self.brief.scenario.zero_()
        return action


class ReusesItsBuffer(Plain):
    def begin(self, brief):
        super().begin(brief)
        self.buffer = torch.zeros(len(brief), dtype=torch.int64)

    def act(self, obs):
        self.buffer.fill_(299)  # what it answered before
        return self.buffer.copy_(super().act(obs))


class KeepsGradients(Plain):
    mode = "slot"

    def act(self, obs):
        with torch.enable_grad():
            weight = torch.zeros(len(obs["live"]), requires_grad=True)
            return weight + 0.5


class Flat(Plain):
    """What KeepsGradients plays."""

    mode = "slot"

    def act(self, obs):
        return np.full(len(obs["live"]), 0.5)


class PythonInts(Plain):
    def act(self, obs):
        return super().act(obs).tolist()


class Narrow(Plain):
    def act(self, obs):
        return super().act(obs).numpy().astype(">u2")


class ReadOnly(Plain):
    def act(self, obs):
        action = super().act(obs).numpy()
        action.setflags(write=False)
        return action


class Chatty(Plain):
    def act(self, obs):
        print("thinking", flush=True)
        return super().act(obs)


class Inference(Plain):
    def act(self, obs):
        with torch.inference_mode():
            return super().act(obs) + 0
