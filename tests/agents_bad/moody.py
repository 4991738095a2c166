"""A stochastic bidder that answers illegally in every fifth scenario: what exactly-once is tried on."""

from __future__ import annotations

import torch

from arena.agent import Agent


class Moody(Agent):
    def begin(self, brief):
        self.brief, self.step = brief, -1

    def act(self, obs):
        self.step += 1
        bid = (self.brief.uniforms(self.step, 1)[:, 0] * 150).long()
        return torch.where((self.brief.scenario % 5 == 2) & (self.step == 40), 999, bid)
