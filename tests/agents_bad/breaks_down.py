"""Agents whose code breaks down: exceptions in every place, ways to leave the process, errors that cannot even be printed."""

from __future__ import annotations

import asyncio
import sys

import torch

from arena.agent import Agent


class Steady(Agent):
    """Bids 50; counts its steps."""

    def begin(self, brief):
        self.brief, self.step = brief, -1

    def act(self, obs):
        self.step += 1
        return torch.full((len(obs["live"]),), 50)


class CrashesInAct(Steady):
    def act(self, obs):
        action = super().act(obs)
        if self.step == 4:
            raise ValueError("the model file ran away")
        return action


class CrashesInBegin(Steady):
    def begin(self, brief):
        raise RuntimeError("no memory of the last chunk")


class CrashesInEnd(Steady):
    def end(self):
        raise RuntimeError("cannot let go")


class CrashesOnce(Steady):
    """Breaks in the chunk of scenario 0 and leaves itself in a state in which it would break for ever."""

    def __init__(self):
        self.spoiled = False

    def act(self, obs):
        action = super().act(obs)
        if self.spoiled or (self.step == 3 and bool((self.brief.scenario == 0).any())):
            self.spoiled = True
            raise KeyError("weights")
        return action


class Leaves(Steady):
    def act(self, obs):
        sys.exit(3)


class Cancels(Steady):
    def act(self, obs):
        raise asyncio.CancelledError("by the event loop")


class Interrupts(Steady):
    def act(self, obs):
        raise KeyboardInterrupt


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


class CrashesUnprintably(Steady):
    def act(self, obs):
        raise Unprintable


class CrashesAtLength(Steady):
    def act(self, obs):
        raise ValueError("x" * 1_000_000)
