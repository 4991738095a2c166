"""Uniform random play in any action space: the least a task should be able to tell from a strategy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from arena.agent import Agent, Brief
from arena.errors import ArenaError


class UniformRandom(Agent):
    """Uniform over the legal actions of a discrete space, over the box of a bounded continuous one."""

    nature = "reference"

    def begin(self, brief: Brief) -> None:
        self.brief, self.step = brief, -1
        space = brief.action_space
        if isinstance(space, spaces.Box) and not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise ArenaError("agent.incompatible", f"random cannot draw from the unbounded {space}", "only bounded boxes have a uniform law")

    def act(self, obs: Mapping[str, Tensor]) -> Tensor:
        self.step += 1
        space, live = self.brief.action_space, obs["live"]
        shape = tuple(next(value.shape for name, value in obs.items() if name != "live")[: 1 + (live.dim() > 1)])
        width = int(np.prod(shape[1:] + (space.shape or ()), dtype=int))
        luck = self.brief.uniforms(self.step, width).view(*shape, *(space.shape or ()))
        if isinstance(space, spaces.Discrete):
            mask = obs.get("action_mask")
            if mask is None:
                return (luck * int(space.n)).long() + int(space.start)
            total = mask.double().cumsum(-1)
            return (total <= luck[..., None] * total[..., -1:]).sum(-1).clamp(max=int(space.n) - 1)
        if isinstance(space, spaces.MultiDiscrete):
            return (luck * torch.as_tensor(space.nvec, device=luck.device)).long() + torch.as_tensor(space.start, device=luck.device)
        low, high = (torch.as_tensor(limit, dtype=torch.float64, device=luck.device) for limit in (space.low, space.high))
        return low + luck * (high - low)
