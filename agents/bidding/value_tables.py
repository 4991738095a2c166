"""RLB: bidding by the exact value table of budget and time (Cai et al. 2017, arXiv 1701.02490, sections 3.1 and 3.2).

With t auctions left and budget b, m the price law and theta_bar the mean value ("approximation I"):

    V(t, b) = gamma V(t-1, b) + sum_{d = 0 .. min(b, M)} m(d) max(0, theta_bar + gamma (V(t-1, b-d) - V(t-1, b)))

V(0, b) = 0 and V(t, 0) = 0 for every t. V grows with b, so the gain of paying d falls with d and the best bid is a threshold.
Prices, bids and budgets are integers of one unit; values are expected clicks (float64).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from arena.errors import ArenaError
from domains.bidding.stochastic import SATURATED

BLOCK = 2048  # budgets per pass: a block's windows (2048 x 301 float64) still fit the cache
NARROW_EVERY = 8  # steps between two looks at how far a block's bids still reach


@dataclass(frozen=True, slots=True)
class PriceModel:
    """What a table knows of a campaign: the price law m [M+1], the mean value per auction and the discount."""

    price_pmf: NDArray[np.float64]
    theta_bar: float
    gamma: float = 1.0

    def __post_init__(self) -> None:
        pmf = self.price_pmf
        if pmf.ndim != 1 or len(pmf) < 2 or not np.isfinite(pmf).all() or (pmf < 0).any() or abs(float(pmf.sum()) - 1.0) > 1e-6:
            raise ArenaError(
                "bidding.price_law",
                f"the price law has shape {pmf.shape} and sum {float(pmf.sum()):.6g}, expected probabilities of the prices 0..M with sum 1",
                "pass counts / total, e.g. the history's price_pmf()",
            )
        if not (math.isfinite(self.theta_bar) and self.theta_bar > 0):
            raise ArenaError(
                "bidding.theta_bar",
                f"the mean value per auction is {self.theta_bar!r}, expected a number above 0",
                "a history without clicks has no click rate: pass the mean of its predictions instead",
            )
        if not 0 < self.gamma <= 1:
            raise ArenaError("bidding.gamma", f"the discount is {self.gamma!r}, expected a number in (0, 1]")

    @property
    def max_price(self) -> int:
        """M: the highest price and the highest bid."""
        return len(self.price_pmf) - 1

    def identity(self, auctions: int, budget: int) -> dict[str, str]:
        """What an artefact made from this model must agree with, as text; the numbers exact."""
        law = np.ascontiguousarray(self.price_pmf, dtype="<f8").tobytes()
        return {
            "price_pmf": hashlib.sha256(law).hexdigest(),
            "theta_bar": repr(float(self.theta_bar)),
            "gamma": repr(float(self.gamma)),
            "max_price": str(self.max_price),
            "auctions": str(auctions),
            "budget": str(budget),
        }


class TableModel(Protocol):
    """What a table is made from: this price law, or the law of pairs."""

    @property
    def gamma(self) -> float: ...

    @property
    def max_price(self) -> int: ...

    def identity(self, auctions: int, budget: int) -> dict[str, str]: ...


def checksum(identity: dict[str, str]) -> str:
    """SHA-256 of an identity: one word for (m, theta_bar, M, gamma, N, B)."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def check_identity(found: dict[str, str], expected: dict[str, str], path: Path) -> None:
    """Refuse an artefact that was made for something else, naming the fields that differ."""
    differing = [name for name in expected if found.get(name) != expected[name]]
    if differing:
        name = differing[0]
        raise ArenaError(
            "bidding.artefact",
            f"{path} was made for {name} {found.get(name, 'unknown')}, expected {expected[name]} (differing: {', '.join(differing)})",
            "delete the file to have it made again, or point to the one of this campaign",
            path=str(path),
            differing=differing,
        )


@dataclass(frozen=True, slots=True)
class ValueTable:
    """V(t, b) [N+1, B+1] float64 and the bids that follow from it. One table serves every budget up to B and every horizon up to N."""

    values: Tensor
    gamma: float
    max_price: int
    identity: dict[str, str]

    @property
    def auctions(self) -> int:
        return self.values.shape[0] - 1

    @property
    def budget(self) -> int:
        return self.values.shape[1] - 1

    def bid(self, n_left: int, budget: Tensor, theta: Tensor | float) -> Tensor:
        """Optimal bids [batch] int64 of bidders who all have `n_left` auctions left, the present one included.

        budget: [batch] integers in 0..B; theta: value of this auction, [batch] float64, or one number for all (ss-mdp: theta_bar).
        The bid is the largest d <= min(b, M) with theta + gamma (V(n-1, b-d) - V(n-1, b)) >= 0; V grows with b, so b - d is found by bisection.
        Raises ArenaError `bidding.horizon` for an n_left that the table does not hold, IndexError for a budget above B.
        """
        if not 1 <= n_left <= self.auctions:
            raise ArenaError("bidding.horizon", f"{n_left} auctions left, expected 1..{self.auctions}", "make the table for the task's horizon")
        row = self.values[n_left - 1]
        budget = budget.long()
        reach = torch.searchsorted(row, row[budget] - theta / self.gamma)
        return (budget - reach).clamp_(0, self.max_price)

    def save(self, path: Path) -> None:
        """Write the table with the identity of what it was made for."""
        save_file({"values": self.values.contiguous()}, path, metadata={**self.identity, "checksum": checksum(self.identity)})

    @classmethod
    def load(cls, path: Path, model: TableModel, auctions: int, budget: int) -> ValueTable:
        """Read a table saved for exactly this model, horizon and budget; raises ArenaError `bidding.artefact` on any difference."""
        expected = model.identity(auctions, budget)
        return cls(load_values(path, expected), model.gamma, model.max_price, expected)


def load_values(path: Path, expected: dict[str, str]) -> Tensor:
    """The table of `path` after its identity, checksum and shape were found to be those expected."""
    with safe_open(path, framework="pt") as file:
        found = dict(file.metadata() or {})
        recorded = found.pop("checksum", "missing")
        check_identity(found, expected, path)
        values: Tensor = file.get_tensor("values")
    shape = (int(expected["auctions"]) + 1, int(expected["budget"]) + 1)
    if recorded != checksum(expected) or tuple(values.shape) != shape or values.dtype != torch.float64:
        raise ArenaError(
            "bidding.artefact",
            f"{path} holds {values.dtype} {tuple(values.shape)} with checksum {recorded[:12]}, "
            f"expected torch.float64 {shape} with {checksum(expected)[:12]}",
            "the file was altered: delete it to have it made again",
            path=str(path),
        )
    return values


def check_size(auctions: int, budget: int) -> None:
    """A table needs at least one auction and one unit of budget."""
    if auctions < 1 or budget < 1:
        raise ArenaError("bidding.table_size", f"a table of {auctions} auctions and budget {budget} was asked for, expected both to be at least 1")


def value_table(model: PriceModel, auctions: int, budget: int, device: str = "cpu") -> ValueTable:
    """The exact table of RLB for up to `auctions` auctions and budgets 0..`budget`: N B M multiply-adds, 8 (N+1) (B+1) bytes.

    A row is made in blocks of budgets: the values V(b-d) of a block are overlapping windows of the previous row, so one pass is a
    subtraction, a relu and a matrix-vector product. Two facts save most of the work and change no bid: without discount the marginal
    value of budget grows with t, so no block's largest bid ever grows and its windows may narrow; and where V has come within
    1e-9 theta_bar of its ceiling (every auction won) it stays there for all larger budgets.
    """
    check_size(auctions, budget)
    reach, theta_bar, gamma = model.max_price, model.theta_bar / model.gamma, model.gamma
    weight = torch.from_numpy(np.ascontiguousarray(model.price_pmf[::-1])).to(device) * gamma  # order of a window: the dearest price first
    values = torch.zeros(auctions + 1, budget + 1, dtype=torch.float64, device=device)
    padded = torch.full((reach + budget + 1,), -math.inf, dtype=torch.float64, device=device)  # no budget below 0: its gain is never positive
    block = BLOCK if device == "cpu" else 1 << 16
    starts = range(1, budget + 1, block)
    widths = [reach] * len(starts)
    scratch = torch.empty(min(block, budget) * (reach + 1), dtype=torch.float64, device=device)
    ceiling, step_ceiling, slack = 0.0, model.theta_bar * float(model.price_pmf.sum()), SATURATED * model.theta_bar
    for t in range(1, auctions + 1):
        before, row = values[t - 1], values[t]
        padded[reach:] = before
        ceiling = gamma * ceiling + step_ceiling
        for k, start in enumerate(starts):
            stop, width = min(start + block, budget + 1), widths[k]
            here = before[start:stop]
            windows = padded[reach + start - width : reach + stop].unfold(0, width + 1, 1)
            gain = scratch[: (stop - start) * (width + 1)].view(stop - start, width + 1)
            torch.sub(windows, (here - theta_bar)[:, None], out=gain).relu_()
            torch.add(torch.mv(gain, weight[reach - width :]), here, alpha=gamma, out=row[start:stop])
            if gamma == 1 and t % NARROW_EVERY == 0:
                lowest = torch.searchsorted(row[:stop], row[start:stop] - theta_bar)
                widths[k] = min(width, int((torch.arange(start, stop, device=device) - lowest).max().clamp(min=0)))
            if float(row[start]) > ceiling - slack:
                row[stop:] = ceiling
                break
    return ValueTable(values, gamma, reach, model.identity(auctions, budget))
