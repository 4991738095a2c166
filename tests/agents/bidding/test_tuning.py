import numpy as np
import pytest

from agents.bidding.tuning import LIN_GRID, ORTB_GRID, Episodes, best, tune_const, tune_lin, tune_ortb, until_worse
from arena.errors import ArenaError


def past(seed: int = 0, first_price: bool = False, max_price: int = 300) -> Episodes:
    rng = np.random.default_rng(seed)
    theta, price = rng.exponential(1e-3, (4, 60)).clip(0, 1), rng.integers(0, max_price + 1, (4, 60))
    return Episodes(theta, price, np.array([150, 900, 4000]), max_price, first_price)


def play(episodes: Episodes, bids: np.ndarray, budget: int) -> float:
    """One auction after the other. bids: [E, T]."""
    total = 0.0
    for theta, price, bid_row in zip(episodes.theta, episodes.price, bids, strict=True):
        left, won = budget, 0.0
        for v, z, a in zip(theta, price, bid_row, strict=True):
            a = min(int(a), left)
            if a >= z:
                left -= a if episodes.first_price else z
                won += v
        total += won
    return total


@pytest.mark.parametrize("first_price", [False, True])
def test_tuned_values_are_the_best_of_plain_loops(first_price: bool) -> None:
    episodes, theta_bar = past(first_price=first_price, max_price=60), 1e-3
    const, lin, ortb = tune_const(episodes), tune_lin(episodes, theta_bar), tune_ortb(episodes, theta_bar, 40)
    for i, budget in enumerate(episodes.budgets.tolist()):
        fixed = [play(episodes, np.full(episodes.theta.shape, a), budget) for a in range(1, 61)]
        assert play(episodes, np.full(episodes.theta.shape, const[i]), budget) == pytest.approx(max(fixed), rel=1e-12)
        curved = [play(episodes, np.minimum(np.sqrt(40 * episodes.theta * k / theta_bar + 1600) - 40, 60), budget) for k in ORTB_GRID]
        assert curved[ORTB_GRID.tolist().index(ortb[i])] == pytest.approx(max(curved), rel=1e-12)
        champion, record, worse = 0, -1.0, 0
        for b0 in LIN_GRID.tolist():
            value = play(episodes, np.minimum(episodes.theta * b0 / theta_bar, 60), budget)
            champion, record, worse = (b0, value, 0) if value >= record - 1e-15 else (champion, record, worse + 1)
            if worse == 5:
                break
        assert lin[i] == champion


def test_clamp_to_the_budget_and_ties() -> None:
    # budget 10: a bid of 30 is cut to 10 and wins the price 10 (a tie); nothing is left for the next auction, except a free one
    episodes = Episodes(np.array([[1.0, 2.0, 4.0]]), np.array([[10, 1, 0]]), np.array([10]), 30)
    assert episodes.values(np.array([[[30]]], np.int32)).tolist() == [[5.0]]
    paid_as_bid = Episodes(episodes.theta, episodes.price, np.array([11]), 30, first_price=True)
    bids = np.array([[[10], [11]]], np.int32)  # 10 leaves 1, which wins the price 1; 11 leaves nothing
    assert paid_as_bid.values(bids).tolist() == [[7.0, 5.0]]


def test_later_value_wins_ties() -> None:
    assert best(np.array([3, 4, 5, 6]), np.array([[1.0, 2.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0]])).tolist() == [5, 6]


def test_search_stops_after_five_worse_values() -> None:
    values = np.array([[1.0, 2, 1, 1, 1, 1, 9, 1], [1.0, 2, 1, 1, 1, 1, 1, 9]])
    assert until_worse(values).tolist() == [[1, 2, 1, 1, 1, 1, 9, 1], [1, 2, 1, 1, 1, 1, -np.inf, -np.inf]]


def test_shapes_are_checked() -> None:
    with pytest.raises(ArenaError):
        Episodes(np.zeros((2, 3)), np.zeros((2, 4), np.int64), np.array([5]), 300)
