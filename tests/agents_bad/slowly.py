"""A bidder that takes its time at the start of every chunk."""

from __future__ import annotations

import time

from arena.agent import Agent


class Slowly(Agent):
    def __init__(self, nap: float = 0.4):
        self.nap = nap

    def begin(self, brief):
        time.sleep(self.nap)
        self.brief, self.step = brief, -1

    def act(self, obs):
        self.step += 1
        return (self.brief.uniforms(self.step, 1)[:, 0] * 150).long()
