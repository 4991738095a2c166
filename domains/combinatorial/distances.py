"""Distances: unrounded Euclidean, and the integer distances of TSPLIB95 (Reinelt 1995, section 2).

Integers are held exactly in float64. nint(x) is floor(x + 0.5): `round` and `rint` round half to even and give other lengths (tsp225: 3861 for 3916).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

METRICS = ("euclid", "EUC_2D", "CEIL_2D", "MAN_2D", "MAX_2D", "ATT", "GEO", "FLOOR_2D")
EUCLID = 0
EARTH = 6378.388  # km
GEO_PI = 3.141592  # TSPLIB's own, part of the definition


def root(x: Tensor) -> Tensor:
    """The square root, correctly rounded: torch's own on the CPU may be off by the last bit, which is enough to round a length up."""
    return torch.from_numpy(np.sqrt(x.numpy())) if x.device.type == "cpu" else torch.sqrt(x)


def nint(x: Tensor) -> Tensor:
    return torch.floor(x + 0.5)


def measure(metric: str, a: Tensor, b: Tensor) -> Tensor:
    """[...] float64, the distance between points a and b [..., 2] float64 under one of METRICS.

    GEO: a point's first column is its latitude; two nodes at one point are 1 apart (ali535 has such), so what a node is from itself, 0, is the
    caller's to say: `apart`.
    """
    if metric == "GEO":
        return _geo(a, b)
    x, y = (a - b).abs().unbind(-1)
    if metric == "MAN_2D":
        return nint(x + y)
    if metric == "MAX_2D":
        return torch.maximum(nint(x), nint(y))
    if metric == "ATT":
        length = root((x * x + y * y) / 10.0)
        near = nint(length)
        return torch.where(near < length, near + 1, near)
    length = root(x * x + y * y)
    if metric == "EUC_2D":
        return nint(length)
    if metric == "CEIL_2D":
        return torch.ceil(length)
    if metric == "FLOOR_2D":
        return torch.floor(length)
    return length


def _geo(a: Tensor, b: Tensor) -> Tensor:
    radians = []
    for point in (a, b):
        degrees = point.trunc()
        radians.append(GEO_PI * (degrees + 5.0 * (point - degrees) / 3.0) / 180.0)
    (lat_a, lon_a), (lat_b, lon_b) = radians[0].unbind(-1), radians[1].unbind(-1)
    q1, q2, q3 = torch.cos(lon_a - lon_b), torch.cos(lat_a - lat_b), torch.cos(lat_a + lat_b)
    arc = torch.acos((0.5 * ((1.0 + q1) * q2 - (1.0 - q1) * q3)).clamp(-1.0, 1.0))
    return torch.trunc(EARTH * arc + 1.0)


def apart(found: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Distances `found` between nodes of indices a and b, 0 where they are the same node."""
    return torch.where(a == b, 0.0, found)


def distance(metric: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """[B, ...] the distance between points [B, ..., 2], each row under its own metric [B] (an index into METRICS)."""
    kinds = torch.unique(metric).tolist()
    if len(kinds) == 1:
        return measure(METRICS[kinds[0]], a, b)
    found = torch.zeros(torch.broadcast_shapes(a.shape[:-1], b.shape[:-1]), dtype=a.dtype, device=a.device)
    for kind in kinds:
        rows = (metric == kind).view(-1, *[1] * (found.dim() - 1))
        found = torch.where(rows, measure(METRICS[kind], a, b), found)
    return found


def matrix(metric: str, coords: Tensor) -> Tensor:
    """[..., n, n] all distances between points [..., n, 2]; diagonal 0."""
    nodes = torch.arange(coords.shape[-2], device=coords.device)
    return apart(measure(metric, coords.unsqueeze(-2), coords.unsqueeze(-3)), nodes[:, None], nodes)


def unit_square(coords: Tensor) -> Tensor:
    """Points [..., n, 2] moved and scaled into the unit square by one factor for both axes (two would distort distances); all equal: all at 0."""
    low = coords.amin(-2, keepdim=True)
    extent = (coords.amax(-2, keepdim=True) - low).amax(-1, keepdim=True)
    return (coords - low) / torch.where(extent > 0, extent, 1.0)


def tolerance(budget: float) -> float:
    """How far a length may exceed a budget: float64 sums of many edges are not exact."""
    return 1e-9 * max(1.0, abs(budget))


