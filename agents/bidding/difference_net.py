"""RLB-NN: a small network for D(t, b) = V(t, b+1) - V(t, b), where a whole value table is out of reach (Cai et al. 2017, arXiv 1701.02490).

A table for T0 auctions and budgets up to B0 gives the labels. Small budgets, short horizons and saturated budgets are exact: their rows
are made again when a network is loaded, in a tenth of a second, so a checkpoint holds only weights. Larger states are mapped to
the table's edge by equal budget per auction: (t, b) with t > T0 to (T0, b/t T0), then b > B0 to (t/b B0, B0) ("RLB-NN-MapA").
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from agents.bidding.value_tables import PriceModel, check_identity, checksum, value_table
from arena.errors import ArenaError

SCHEMA = 1
WEIGHTS = "difference.safetensors"
EXACT_BUDGET, EXACT_AUCTIONS = 800, 50  # below the one, or up to the other, D is taken from exact rows
VANISHED = 1e-12  # differences below count as 0, and so do all beyond the first of them
TIMES, BUDGETS = 50, 200  # of one batch
EVAL_TIMES, EVAL_BUDGETS = 250, 200  # held out, drawn once (the released code takes 500 x 1000: as long as the training itself)
RATE, FINAL_RATE = 3e-3, 1e-5  # of Adam, falling along a cosine


@dataclass(frozen=True)
class Frame:
    """Where a network stands: the campaign's law and mean price, and the size T0 x B0 of the table behind it."""

    model: PriceModel
    mean_price: float
    auctions: int
    budget: int

    def __post_init__(self) -> None:
        if self.auctions <= EXACT_AUCTIONS or self.budget <= max(EXACT_BUDGET, self.model.max_price):
            least = f"more than {EXACT_AUCTIONS} auctions and a budget above {max(EXACT_BUDGET, self.model.max_price)}"
            raise ArenaError("bidding.table_size", f"{self.auctions} auctions and budget {self.budget} need no network, expected {least}", "use rlb")
        if not (math.isfinite(self.mean_price) and self.mean_price > 0):
            raise ArenaError("bidding.mean_price", f"the mean price is {self.mean_price!r}, expected a number above 0")

    @property
    def scale(self) -> float:
        """Unit of D: the mean value per unit of price."""
        return self.model.theta_bar / self.mean_price

    def features(self, t: Tensor, b: Tensor) -> Tensor:
        """Network input [..., 3] float32 of t auctions left (>= 1) and budget b: t/T0, log1p(b) from 0 to 1, budget per auction in mean prices."""
        low, high = math.log1p(EXACT_BUDGET), math.log1p(self.budget)
        b = b.float()
        t = t.float().expand_as(b)
        return torch.stack((t / self.auctions, (b.log1p() - low) / (high - low), b / t / self.mean_price), dim=-1)

    def exact(self) -> tuple[Tensor, Tensor]:
        """D by the table: [T0, 800] for all t below T0, and [51, B] for t = 0..50 up to where the last of these rows has vanished."""
        low = value_table(self.model, self.auctions - 1, EXACT_BUDGET).values.diff(dim=1)
        reach = min(self.budget, EXACT_AUCTIONS * self.model.max_price)
        return low.clamp_(min=0), value_table(self.model, EXACT_AUCTIONS, reach).values.diff(dim=1).clamp_(min=0)


def layers() -> nn.Sequential:
    """MLP 3-30-15-1 with tanh, as published but for the third input."""
    return nn.Sequential(nn.Linear(3, 30), nn.Tanh(), nn.Linear(30, 15), nn.Tanh(), nn.Linear(15, 1))


class DifferenceNet:
    """D(t, b) of one campaign for t < T0, b < B0 and the bids that follow from it, for states of any size.

    saturation [T0]: the first budget from which D(t, .) has vanished (B0 where it never does).
    """

    def __init__(self, frame: Frame, net: nn.Sequential, saturation: Tensor, training: dict[str, Any]) -> None:
        self.frame, self.net, self.saturation, self.training = frame, net.requires_grad_(False), saturation, training
        self._low, self._early = frame.exact()
        self._saturated = saturation.tolist()

    def difference(self, t: int, start: int, stop: int) -> Tensor:
        """D(t, b) [stop - start] float64, never below 0, for b = start..stop-1."""
        exact = self._early[t] if t <= EXACT_AUCTIONS else self._low[t]
        known, end = min(max(len(exact), start), stop), min(self._saturated[t], stop)
        row = torch.zeros(stop - start, dtype=torch.float64)
        row[: known - start] = exact[start:known]
        if t > EXACT_AUCTIONS and known < end:
            row[known - start : end - start] = self._predicted(torch.tensor(t), torch.arange(known, end))
        return row

    def bid(self, n_left: int, budget: Tensor, theta: Tensor) -> Tensor:
        """Bids [batch] int64 of bidders with `n_left` auctions left, the present one included; budget [batch], theta [batch] float64.

        A bid is the largest d <= M with theta >= gamma (D(n-1, b-1) + ... + D(n-1, b-d)); the sums are differences of the row summed up once.
        """
        frame, most = self.frame, self.frame.model.max_price
        b, t = budget.long(), n_left
        if n_left > frame.auctions:
            b, t = (budget.double() / n_left * frame.auctions).long(), frame.auctions
        theta = theta / frame.model.gamma
        if t == frame.auctions:
            row, start = self._last_row, 0
        else:
            start = min(max(int(b.min()) - most, 0), frame.budget)
            row = _summed(self.difference(t - 1, start, min(int(b.max()), frame.budget)))
        inside = b.clamp(max=frame.budget) - start
        bids = inside - torch.searchsorted(row, row[inside] - theta)
        beyond = b > frame.budget
        if beyond.any():
            mapped = (t / b[beyond].double() * frame.budget).long().clamp_(min=1)
            bids[beyond] = torch.searchsorted(self._edge[mapped - 1], theta[beyond, None], right=True)[:, 0]
        return torch.minimum(bids.clamp_(0, most), budget)

    @cached_property
    def _last_row(self) -> Tensor:
        """sum of D(T0-1, .) below b, [B0+1]: where all longer horizons are mapped to."""
        return _summed(self.difference(self.frame.auctions - 1, 0, self.frame.budget))

    @cached_property
    def _edge(self) -> Tensor:
        """sum of D(t, .) over the d last budgets below B0, d = 1..M, [T0, M]: where all larger budgets are mapped to."""
        stop = self.frame.budget
        rows = [self.difference(t, stop - self.frame.model.max_price, stop).flip(0) for t in range(self.frame.auctions)]
        return torch.stack(rows).cumsum(1)

    def _predicted(self, t: Tensor, b: Tensor) -> Tensor:
        unit: Tensor = self.net(self.frame.features(t, b))[..., 0]
        return (unit.double() * self.frame.scale).clamp_(min=0)

    def save(self, folder: Path) -> None:
        """Write config.json and the weights into `folder`, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {**self.net.state_dict(), "saturation": self.saturation.to(torch.int32)}
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
        identity = self.frame.model.identity(self.frame.auctions, self.frame.budget)
        config = {
            "schema": SCHEMA,
            "kind": "rlb-nn",
            "identity": identity,
            "checksum": checksum(identity),
            "mean_price": self.frame.mean_price,
            "torch": torch.__version__,
            "sha256": {WEIGHTS: hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()},
            "training": self.training,
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, model: PriceModel) -> DifferenceNet:
        """Read a checkpoint made for this model. Raises ArenaError `bidding.artefact` for another campaign, a changed file, an unknown schema."""
        path = folder / "config.json"
        if not path.exists() or not (folder / WEIGHTS).exists():
            raise ArenaError("bidding.artefact", f"{folder} holds no rlb-nn checkpoint (config.json and {WEIGHTS})", "train one, or name its folder")
        config = json.loads(path.read_text())
        if config.get("schema") != SCHEMA or config.get("kind") != "rlb-nn":
            found = f"{config.get('kind')!r} of schema {config.get('schema')!r}"
            raise ArenaError("bidding.artefact", f"{path} is {found}, expected 'rlb-nn' of schema {SCHEMA}", "train it again with this version")
        identity = config["identity"]
        auctions, budget = int(identity["auctions"]), int(identity["budget"])
        expected = model.identity(auctions, budget)
        check_identity(identity, expected, path)
        digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        if config["checksum"] != checksum(expected) or config["sha256"][WEIGHTS] != digest:
            raise ArenaError("bidding.artefact", f"{folder} was altered: its checksums differ from those in config.json", "train it again")
        tensors = load_file(folder / WEIGHTS)
        saturation = tensors.pop("saturation").long()
        net = layers()
        net.load_state_dict(tensors)
        return cls(Frame(model, config["mean_price"], auctions, budget), net, saturation, config["training"])


def _summed(row: Tensor) -> Tensor:
    """[n] -> [n + 1] sums of the first 0..n entries."""
    return torch.nn.functional.pad(row.cumsum(0), (1, 0))


def labels(frame: Frame, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Exact D [T0, B0] float32 in units of `frame.scale`, and the saturation [T0] int64; 0 from the saturation on."""
    values = value_table(frame.model, frame.auctions - 1, frame.budget, device).values
    exact = torch.empty(frame.auctions, frame.budget, dtype=torch.float32, device=device)
    saturation = torch.empty(frame.auctions, dtype=torch.int64, device=device)
    for t in range(frame.auctions):  # row by row: the table may fill half the memory
        row = values[t].diff()
        vanished = row < VANISHED
        saturation[t] = torch.where(vanished.any(), vanished.int().argmax(), frame.budget)
        exact[t] = row / frame.scale
        exact[t, saturation[t] :] = 0
    return exact, saturation


@contextmanager
def _one_thread() -> Iterator[None]:
    """Layers this small gain nothing from a second thread, lose ten times on a busy machine, and give other floats on other core counts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def fit(frame: Frame, *, seed: int, rounds: int, log: Callable[[dict[str, float]], None], device: str = "cpu") -> DifferenceNet:
    """Train on exact labels; the round with the smallest (training + held-out RMSE) / theta_bar is kept.

    A round shows every t in (50, T0) once, in batches of 50 times x 200 budgets drawn log-uniformly between 800 and the row's saturation,
    so that each octave of budget weighs the same. `log` receives one record per round. Raises ArenaError `train.diverged`.
    """
    began = perf_counter()
    generator = torch.Generator(device).manual_seed(seed)
    exact, saturation = labels(frame, device)
    usable = (saturation > EXACT_BUDGET + 1).nonzero()[:, 0]
    usable = usable[usable > EXACT_AUCTIONS]
    if len(usable) == 0:
        raise ArenaError("bidding.table_size", f"all differences vanish below a budget of {EXACT_BUDGET}", "the exact rows suffice: use rlb")
    label_seconds = perf_counter() - began

    def draw(times: Tensor, count: int) -> tuple[Tensor, Tensor]:
        u = torch.rand(len(times), count, generator=generator, device=device)
        low = math.log(EXACT_BUDGET)
        top = saturation[times, None]
        b = torch.exp(low + u * (top.log() - low)).long().clamp_(min=EXACT_BUDGET).minimum(top - 1)
        return frame.features(times[:, None], b), exact[times[:, None], b]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = layers().to(device)
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, rounds, FINAL_RATE)
    held_out = draw(usable[torch.linspace(0, len(usable) - 1, min(EVAL_TIMES, len(usable)), device=device).long()], EVAL_BUDGETS)
    best, kept, kept_round = math.inf, {name: tensor.clone() for name, tensor in net.state_dict().items()}, 0
    to_rate = frame.scale / frame.model.theta_bar
    for number in range(1, rounds + 1):
        squares, starts = torch.zeros((), device=device), range(0, len(usable), TIMES)
        order = usable[torch.randperm(len(usable), generator=generator, device=device)]
        for start in starts:
            inputs, targets = draw(order[start : start + TIMES], BUDGETS)
            loss = (net(inputs)[..., 0] - targets).square().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            squares += loss.detach()
        schedule.step()
        with torch.no_grad():
            held = (net(held_out[0])[..., 0] - held_out[1]).square().mean().sqrt()
        train_error, eval_error = float((squares / len(starts)).sqrt()) * to_rate, float(held) * to_rate
        if not math.isfinite(train_error + eval_error):
            raise ArenaError("train.diverged", f"the loss is no longer finite in round {number}, the best round was {kept_round}", "try another seed")
        if train_error + eval_error < best:
            best, kept, kept_round = train_error + eval_error, {name: tensor.clone() for name, tensor in net.state_dict().items()}, number
        log({"round": number, "train_rmse": train_error, "eval_rmse": eval_error, "seconds": perf_counter() - began})
    net.load_state_dict(kept)
    training = {
        "seed": seed,
        "rounds": rounds,
        "kept_round": kept_round,
        "rmse_over_theta_bar": best,
        "label_seconds": round(label_seconds, 2),
        "seconds": round(perf_counter() - began, 2),
        "device": device,
    }
    return DifferenceNet(frame, net.cpu(), saturation.cpu(), training)
