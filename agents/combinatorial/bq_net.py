"""The network of BQ-NCO: a transformer that sees only the instance that is left and scores its nodes (arXiv 2301.03313, section 4 and appendix).

Tokens are [origin, what remains, destination], in any order in between: no positional encoding, no LayerNorm, no dropout. Residual branches
start at zero (ReZero, Bachlechner et al., arXiv 2003.04887): x <- x + alpha f(x). KP has no origin and no destination.

`relative` features use the symmetries of the problems, which the quotient alone leaves to be learned. Moving, turning and scaling a
sub-instance changes no choice, so it is told in a frame of its own: the origin at 0, the destination on the positive x-axis, the unit of
length the farthest node (op: the way that is left). KP is free of its two units: weights are told as shares of the capacity left, values
against the ratio at which the linear relaxation is full. Without `relative`, features are the published ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention

from arena.errors import ArenaError
from arena.learning.checkpoints import load_checkpoint

PROBLEMS = ("tsp", "cvrp", "op", "kp")
RAW = {"tsp": 2, "cvrp": 3, "op": 3, "kp": 2}  # columns of a token: x, y and demand (cvrp) or prize (op); value and weight (kp)
ABSOLUTE = {"tsp": 2, "cvrp": 4, "op": 4, "kp": 3}
RELATIVE = {"tsp": 5, "cvrp": 12, "op": 7, "kp": 7}
TINY = 1e-6
SPEC: dict[str, Any] = {"agent": "bq-nco", "version": 1}


@dataclass(frozen=True)
class Shape:
    """layers, d (width), heads, ff (hidden units of the feed-forward branch), relative: which features"""

    layers: int
    d: int
    heads: int
    ff: int
    relative: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


SHAPES = {"cpu": Shape(4, 64, 4, 256), "full": Shape(9, 192, 6, 512)}


class Block(nn.Module):
    """Self-attention and feed-forward, both ReZero residuals."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv, self.out = nn.Linear(shape.d, 3 * shape.d, bias=False), nn.Linear(shape.d, shape.d)
        self.up, self.down = nn.Linear(shape.d, shape.ff), nn.Linear(shape.ff, shape.d)
        self.alpha, self.beta = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        rows, length, d = x.shape
        q, k, v = self.qkv(x).view(rows, length, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(rows, length, d)
        x = x + self.alpha * self.out(mixed)
        return x + self.beta * self.down(relu(self.up(x)))


class BqNet(nn.Module):
    """Scores of what may be chosen next, float32.

    problem: one of PROBLEMS; CVRP has two scores per node: reached directly, or by way of the depot
    """

    def __init__(self, problem: str, shape: Shape) -> None:
        super().__init__()
        self.problem, self.shape = problem, shape
        self.embed = nn.Linear((RELATIVE if shape.relative else ABSOLUTE)[problem], shape.d)
        self.ends = nn.Parameter(torch.randn(2, shape.d) * shape.d**-0.5) if problem != "kp" else None  # origin, destination
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.head = nn.Linear(shape.d, 2 if problem == "cvrp" else 1)

    def encode(self, token: Tensor, left: Tensor, legal: Tensor | None) -> Tensor:
        """[B, L, d] of tokens [B, L, RAW]: see `forward`."""
        with torch.autocast(token.device.type, enabled=False):  # places need more than the 8 bits of bfloat16
            x = self.embed(features(self.problem, token, left, legal, self.shape.relative))
        mask = None
        if self.problem in ("op", "kp") and legal is not None:  # what cannot be chosen now never can be again: no part of the instance
            mask = seen(self.problem, legal)[:, None, None, :]
        if self.ends is not None:
            origin, between, destination = x[:, :1], x[:, 1:-1], x[:, -1:]
            x = torch.cat((origin + self.ends[0], between, destination + self.ends[1]), 1)
        for block in self.blocks:
            x = block(x, mask)
        return x

    def forward(self, token: Tensor, left: Tensor, legal: Tensor | None = None) -> Tensor:
        """Scores [B, m] (cvrp [B, m, 2]) of the m nodes that remain; not masked.

        token: [B, L, RAW] float32, x and y in one unit of length, demand / full capacity, prize / 100; L = m + 2 with both ends (kp: m)
        left: [B] float32 share of the full capacity (cvrp), length in the unit of x and y (op), capacity in the unit of the weights (kp)
        legal: [B, m] bool, op and kp: what is within reach, or fits
        """
        return self.score(self.encode(token, left, legal))

    def score(self, x: Tensor) -> Tensor:
        """Scores of the encoded tokens [B, L, d]."""
        with torch.autocast(x.device.type, enabled=False):
            scores = self.head((x if self.ends is None else x[:, 1:-1]).float())
        return scores if self.problem == "cvrp" else scores[..., 0]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.state_dict().items()}


def spec(problem: str) -> dict[str, Any]:
    """What a checkpoint says it is for."""
    return {**SPEC, "problem": problem}


def seen(problem: str, legal: Tensor) -> Tensor:
    """[B, L] bool, tokens that take part: the ends always do, and something does in every row."""
    if problem == "kp":
        none = ~legal.any(1, keepdim=True)
        return legal | none
    ends = torch.ones_like(legal[:, :1])
    return torch.cat((ends, legal, ends), 1)


def features(problem: str, token: Tensor, left: Tensor, legal: Tensor | None, relative: bool) -> Tensor:
    """[B, L, F] inputs of the network, of order 1."""
    if not relative:
        if problem == "tsp":
            return token
        return torch.cat((token, left[:, None, None].expand(-1, token.shape[1], 1)), -1)
    if problem == "kp":
        return _packing(token, left, legal)
    xy = token[..., :2]
    towards = xy - xy[:, :1]
    distance = towards.norm(dim=-1)
    apart = distance[:, -1:]
    axis = torch.where(apart > TINY, towards[:, -1] / apart.clamp(min=TINY), torch.tensor((1.0, 0.0), device=xy.device))
    turned = torch.stack(((towards * axis[:, None]).sum(-1), towards[..., 1] * axis[:, :1] - towards[..., 0] * axis[:, 1:]), -1)
    unit = left[:, None] if problem == "op" else distance.amax(1, keepdim=True)
    unit = torch.where(unit > TINY, unit, 1.0)
    home = (xy - xy[:, -1:]).norm(dim=-1)
    place = torch.cat((turned, distance[..., None], home[..., None]), -1) / unit[..., None]
    columns = [place, place[..., 2:3].square()]
    if problem == "cvrp":
        demand, room = token[..., 2:], left[:, None, None]
        fits = (demand <= room + TINY).float()
        towards_home = torch.stack((place[..., 0] - place[:, -1:, 0], place[..., 1] - place[:, -1:, 1]), -1)
        spoke = towards_home / place[..., 3:4].clamp(min=TINY)  # direction seen from the depot: routes are petals
        later = demand[:, 1:-1].sum(1, keepdim=True) - room
        spare = (later - TINY).ceil() - later  # unused capacity in all, with as few vehicles as can be
        columns += [demand, room.expand_as(demand), room - demand, fits, spoke, spare.expand_as(demand)]
    if problem == "op":
        prize = token[..., 2:]
        taking = seen(problem, legal) if legal is not None else torch.ones_like(prize[..., 0], dtype=torch.bool)
        most = torch.where(taking, prize[..., 0], 0.0).amax(1)[:, None, None].clamp(min=TINY)
        columns += [prize / most, 1.0 - place[..., 2:3] - place[..., 3:4]]
        return torch.where(taking[..., None], torch.cat(columns, -1), 0.0)
    return torch.cat(columns, -1)


def _packing(token: Tensor, left: Tensor, legal: Tensor | None) -> Tensor:
    """[B, m, 7] of values and weights [B, m, 2]: against the linear relaxation, which packs by ratio until it is full."""
    value, weight = token.unbind(-1)
    taking = seen("kp", legal) if legal is not None else torch.ones_like(value, dtype=torch.bool)
    room = left[:, None].clamp(min=TINY)
    ratio = value / weight.clamp(min=TINY)
    order = torch.where(taking, ratio, -1.0).argsort(dim=1, descending=True, stable=True)
    sorted_weight = torch.where(taking, weight, 0.0).gather(1, order)
    filled = sorted_weight.cumsum(1)
    last = ((filled <= room).sum(1, keepdim=True)).clamp(max=taking.sum(1, keepdim=True) - 1)
    critical = ratio.gather(1, order).gather(1, last).clamp(min=TINY)
    fill = torch.zeros_like(filled).scatter(1, order, filled) / room
    share, worth = weight / room, value / (critical * room)
    columns = (
        share, worth, worth - share, (4 * (ratio / critical).clamp(min=TINY).log()).clamp(-4, 4), (fill - 1).clamp(-1, 3),
        0.3 * share.clamp(min=1e-4).log() + 0.5, (1 - share).clamp(-1, 1),
    )  # fmt: skip
    return torch.where(taking[..., None], torch.stack(columns, -1).clamp(-8, 8), 0.0)


def load_net(folder: Path, problem: str, seed: int = 0) -> BqNet:
    """The trained network in `folder`, in float32; of several training seeds (seed-0, seed-1, ...) the one that run `seed` plays.

    Raises ArenaError `checkpoint.missing`, `.spec` for another problem's, `.shape` for other features or another network, and as load_checkpoint.
    """
    trained = sorted(folder.glob("seed-*"), key=lambda path: (len(path.name), path.name))
    chosen = trained[seed % len(trained)] if trained else folder
    told = load_checkpoint(chosen, spec(problem), {}).config.get("shape", {})
    try:
        net = BqNet(problem, Shape(**told))
    except TypeError as error:
        raise ArenaError("checkpoint.shape", f"{chosen} tells its shape as {told}", f"expected {', '.join(SHAPES['cpu'].to_dict())}") from error
    try:
        net.load_state_dict(load_checkpoint(chosen, spec(problem), {"model": net.shapes()}).parts["model"])
    except ArenaError as error:
        if error.code != "checkpoint.shape":
            raise
        detail = f"{chosen} holds another network, or one with other features, than {told}"
        raise ArenaError("checkpoint.shape", detail, "it is damaged or of an older version: train it again") from None
    return net.eval().requires_grad_(False)
