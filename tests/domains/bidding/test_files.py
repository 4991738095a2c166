"""Every layout read, every bad row named by file and line, no evaluation row taken for history."""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from arena.errors import ArenaError
from domains.bidding.bounds import lp_bound
from domains.bidding.files import check_folder, cut_episodes, find_folder, load_campaign
from domains.bidding.layouts import layout, read_rows
from domains.bidding.profiles import TRAIN

DATA = Path(os.environ.get("ARENA_DATA", Path(__file__).parents[4] / "shared" / "data"))

CLICK, PRICE, THETA = [0, 1, 0, 0, 0], [20, 0, 300, 51, 7], [0.25, 0.5, 0.0, 0.125, 2.5e-05]
HEADER = (
    "click weekday hour bidid timestamp logtype ipinyouid useragent IP region city adexchange domain url urlid slotid slotwidth slotheight "
    "slotvisibility slotformat slotprice creative bidprice payprice keypage advertiser usertag"
).split()


def log_lines(header: bool = True) -> list[str]:
    rows = []
    for click, price in zip(CLICK, PRICE, strict=True):
        fields = ["null"] * len(HEADER)
        fields[0], fields[23], fields[13], fields[7] = str(click), str(price), 'http://a.b/"c#d', "windows_ie"
        rows.append("\t".join(fields))
    return [*(["\t".join(HEADER)] if header else []), *rows]


def lines_of(kind: str) -> list[str]:
    rows = list(zip(CLICK, PRICE, THETA, strict=True))
    return {
        "log": log_lines(),
        "yzx": [f"{c} {p} 0:1 {' '.join(f'{7 * k + 3}:1' for k in range(1 + p % 3))}" for c, p, _ in rows],
        "theta": [f"{c} {p} {t}" for c, p, t in rows],
        "rtbcontrol": [f"{c}\t{p}\t{t:.6f}\t3" for c, p, t in rows],
        "episodes": ["560870\t2", "1", *(f"{c}\t{p}\t{t}" for c, p, t in rows[:2]), "2", *(f"{c}\t{p}\t{t}" for c, p, t in rows[2:4]), "3",
                     *(f"{c}\t{p}\t{t}" for c, p, t in rows[4:])],
    }[kind]  # fmt: skip


def write(path: Path, lines: list[str], end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(end.join(lines) + end, newline="")
    return path


def info(counts: dict[int, int], clicks: int = 3, top: int = 301) -> str:
    histogram = [counts.get(price, 0) for price in range(top)]
    totals = {"imp_train": sum(histogram), "cost_train": sum(p * c for p, c in counts.items()), "clk_train": clicks}
    return json.dumps({**totals, "imp_test": 5, "cost_test": 378, "clk_test": 1, "price_counter_train": histogram, "dim": 560870, "field": 26})


def campaign(folder: Path, clicks: int = 3, train: list[str] | None = None) -> Path:
    """A folder as rlb-dp lays it out."""
    write(folder / "test.theta.txt", lines_of("theta"))
    write(folder / "info.json", [info({10: 6, 70: 4}, clicks)])
    if train is not None:
        write(folder / "train.theta.txt", train)
    return folder


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", ["log", "yzx", "theta", "rtbcontrol", "episodes"])
def test_every_layout_gives_the_same_auctions(tmp_path: Path, kind: str, end: str) -> None:
    rows = read_rows(write(tmp_path / "a.txt", lines_of(kind), end))
    assert rows.kind == kind
    np.testing.assert_array_equal(rows.click, CLICK)
    np.testing.assert_array_equal(rows.price, PRICE)
    assert (rows.click.dtype, rows.price.dtype) == (np.uint8, np.int64)
    if kind in ("log", "yzx"):
        assert rows.theta is None
    else:
        np.testing.assert_array_equal(rows.theta, [round(t, 6) for t in THETA] if kind == "rtbcontrol" else THETA)


def test_a_test_log_may_have_two_more_columns(tmp_path: Path) -> None:
    lines = [f"{line}\t{'nclick	nconversation' if number == 0 else '0	0'}" for number, line in enumerate(log_lines())]
    np.testing.assert_array_equal(read_rows(write(tmp_path / "test.log.txt", lines)).price, PRICE)


def test_theta_is_read_to_the_last_bit(tmp_path: Path) -> None:
    theta = np.random.default_rng(1).random(2000) ** 9
    path = write(tmp_path / "test.theta.txt", [f"0 1 {value!r}" for value in theta.tolist()])
    np.testing.assert_array_equal(read_rows(path).theta, theta)


def test_prose_is_no_layout(tmp_path: Path) -> None:
    for text in ("Read this first", "1 2", "a b c", "1,2,0.5", "1 2 0.5 0.7"):
        assert layout(write(tmp_path / "a.txt", [text])) is None
    with pytest.raises(ArenaError, match="none of the known layouts"):
        read_rows(tmp_path / "a.txt")


BAD = [
    ("theta", 3, "0 3.5 0.1", r"a.txt:3: price 3.5 is not an integer"),
    ("theta", 3, "0 nan 0.1", r"a.txt:3: price nan is not an integer"),
    ("theta", 3, "0 -4 0.1", r"a.txt:3: price -4 is negative"),
    ("theta", 3, "0 301 0.1", r"a.txt:3: price 301 is above 300"),
    ("theta", 3, "2 30 0.1", r"a.txt:3: click 2 is neither 0 nor 1"),
    ("theta", 3, "0 30 1.5", r"a.txt:3: theta 1.5 is outside \[0, 1\]"),
    ("theta", 3, "0 30 -0.1", r"a.txt:3: theta -0.1 is outside \[0, 1\]"),
    ("theta", 3, "0 30 nan", r"a.txt:3: theta nan is outside \[0, 1\]"),
    ("theta", 3, "0 x 0.1", r"a.txt:3: '0 x 0.1' is not made of numbers"),
    ("theta", 3, "0 30", r"a.txt:3: 2 columns, expected 3"),
    ("theta", 3, "0 30 0.1 9", r"a.txt:3: 4 columns, expected 3"),
    ("rtbcontrol", 4, "0\t30\t1.5\t3", r"a.txt:4: theta 1.5"),
    ("rtbcontrol", 4, "0\t30\t0.5", r"a.txt:4: 3 columns, expected 4"),
    ("yzx", 5, "0 999 0:1", r"a.txt:5: price 999 is above 300"),
    ("yzx", 5, "0 null 0:1", r"a.txt:5: '0 null' is not made of numbers"),
    ("log", 3, "\t".join(["0"] * 23 + ["null"] * 4), r"a.txt:3: '0 null' is not made of numbers"),
    ("log", 3, "\t".join(["0"] * 10), r"a.txt:3: 10 columns, expected at least 24"),
    ("log", 3, "\t".join(["0"] * 23 + ["4.5"] + ["0"] * 3), r"a.txt:3: price 4.5 is not an integer"),
    ("episodes", 7, "0\t30\t7.5", r"a.txt:7: theta 7.5"),  # the sixth line opens no episode: line numbers count those too
    ("episodes", 4, "2", r"a.txt:4: a new episode after 1 auctions"),
]


@pytest.mark.parametrize(("kind", "line", "text", "message"), BAD)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, kind: str, line: int, text: str, message: str) -> None:
    lines = lines_of(kind)
    lines[line - 1] = text
    with pytest.raises(ArenaError, match=message) as caught:
        read_rows(write(tmp_path / "a.txt", lines))
    assert caught.value.code.startswith("data.")


def test_underscores_are_no_digits(tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match=r"t.theta.txt:2: '0 1_0 0.1' is not made of numbers"):
        read_rows(write(tmp_path / "t.theta.txt", ["0 1 0.1", "0 1_0 0.1"]))


def test_blank_lines_are_skipped_but_counted(tmp_path: Path) -> None:
    lines = lines_of("theta")
    np.testing.assert_array_equal(read_rows(write(tmp_path / "a.txt", [*lines[:2], "", *lines[2:], ""])).price, PRICE)
    with pytest.raises(ArenaError, match=r"a.txt:5: price -1"):
        read_rows(write(tmp_path / "a.txt", [*lines[:2], "", lines[2], "0 -1 0.1"]))


def test_a_log_needs_its_header(tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match=r"train.log.txt:1: 27 columns, none of them named `payprice`"):
        read_rows(write(tmp_path / "train.log.txt", log_lines(header=False)))


def test_the_price_column_is_found_by_name(tmp_path: Path) -> None:
    lines = ["\t".join(reversed(line.split("\t"))) for line in log_lines()]
    np.testing.assert_array_equal(read_rows(write(tmp_path / "train.log.txt", lines)).price, PRICE)


def test_higher_prices_are_an_option(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", ["0 700 0.1", "1 20 0.2"])
    with pytest.raises(ArenaError, match="price 700 is above 300") as caught:
        read_rows(path)
    assert "max_price" in caught.value.hint
    np.testing.assert_array_equal(read_rows(path, max_price=1000).price, [700, 20])


def test_values_all_zero_and_empty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match="theta is 0 in all 2 rows"):
        read_rows(write(tmp_path / "a.txt", ["0 1 0", "0 2 0.0"]))
    (tmp_path / "b.txt").touch()
    with pytest.raises(ArenaError, match="b.txt:1: no rows"):
        read_rows(tmp_path / "b.txt")
    with pytest.raises(ArenaError, match="c.txt: no rows"):
        read_rows(write(tmp_path / "c.txt", log_lines()[:1]))


def test_totals_come_from_info_and_pairs_from_training_rows(tmp_path: Path) -> None:
    found = load_campaign(campaign(tmp_path / "2997", train=["1 10 0.5", "0 70 0.25", "0 9 0.125"]), episode=2)
    known = found.history
    assert (known.campaign, known.impressions, known.cost, known.clicks) == ("2997", 10, 340, 3)
    assert known.price_counts[[10, 70]].tolist() == [6, 4] and known.price_counts.sum() == 10
    assert known.episodes()[1].tolist() == [[10, 70]]
    np.testing.assert_array_equal(found.theta, THETA)
    np.testing.assert_array_equal(found.click, CLICK)
    assert found.source.name == "test.theta.txt"
    assert any("3 rows, but info.json counts 10" in warning for warning in found.warnings)


def test_without_training_rows_there_are_totals_but_no_pairs(tmp_path: Path) -> None:
    known = load_campaign(campaign(tmp_path / "1458")).history
    assert (known.impressions, len(known.theta)) == (10, 0)
    with pytest.raises(ArenaError, match="holds 0"):
        known.episodes()


def test_a_training_log_stands_in_for_info(tmp_path: Path) -> None:
    for name, lines in (("train.log.txt", log_lines()), ("train.yzx.txt", lines_of("yzx")), ("test.theta.txt", ["0 5 0.3", "1 4 0.1"])):
        write(tmp_path / "3386" / name, lines)
    known = load_campaign(tmp_path / "3386").history
    assert (known.impressions, known.cost, known.clicks, len(known.theta)) == (5, sum(PRICE), 1, 0)
    assert known.price_counts[300] == 1


def test_rtbcontrol_takes_everything_from_its_rows(tmp_path: Path) -> None:
    write(tmp_path / "train.txt", lines_of("rtbcontrol"))
    write(tmp_path / "test.txt", ["1\t5\t0.300000\t1", "0\t6\t0.000000\t1"])
    found = load_campaign(tmp_path, campaign="1458", episode=5)
    assert found.history.campaign == "1458"
    assert (found.history.ctr, found.history.cpm, found.history.mean_theta) == (0.2, sum(PRICE) / 5, pytest.approx(np.mean(np.round(THETA, 6))))
    assert found.theta.tolist() == [0.3, 0.0] and found.history.click is not None


def test_one_folder_may_hold_several_campaigns_by_prefix(tmp_path: Path) -> None:
    for name, price in (("1458", 11), ("2997", 22)):
        write(tmp_path / f"{name}.test.txt", ["9\t1", "1", f"1\t{price}\t0.5"])
        write(tmp_path / f"{name}.train.txt", ["9\t1", "1", f"0\t{price + 1}\t0.5", "2", f"1\t{price + 1}\t0.5"])
    found = load_campaign(tmp_path, campaign="2997", episode=2)
    assert found.price.tolist() == [22] and found.history.cpm == 23
    assert any("only episodes with a click" in warning for warning in found.warnings)


def test_files_without_theta_are_refused_with_reason(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write(tmp_path / f"{name}.log.txt", log_lines() if name == "train" else log_lines()[:3])
    with pytest.raises(ArenaError, match="prices and clicks but no theta") as caught:
        load_campaign(tmp_path)
    assert caught.value.code == "data.theta"


def test_an_evaluation_file_is_no_history(tmp_path: Path) -> None:
    campaign(tmp_path, train=lines_of("theta"))
    with pytest.raises(ArenaError, match="has the same sha256 as train.theta.txt") as caught:
        load_campaign(tmp_path)
    assert caught.value.code == "data.leak"


def test_missing_files_are_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "1458").mkdir()
    write(tmp_path / "1458" / "info.json", [info({10: 6})])
    for call in (lambda: load_campaign(tmp_path / "1458"), lambda: load_campaign(tmp_path / "nothing"), lambda: find_folder(None, "ipinyou", "1458")):
        with pytest.raises(ArenaError) as caught:
            call()
        assert caught.value.code == "data.missing"
        for part in ("test.theta.txt", "click price theta", "info.json", "arena data check FOLDER", "--data FOLDER"):
            assert part in caught.value.hint
    (tmp_path / "1458" / "info.json").unlink()
    write(tmp_path / "1458" / "test.theta.txt", lines_of("theta"))
    with pytest.raises(ArenaError, match="neither info.json nor training rows"):
        load_campaign(tmp_path / "1458")


def test_suspect_histories_are_reported(tmp_path: Path) -> None:
    silent = load_campaign(campaign(tmp_path / "a", clicks=0))
    assert any("no click" in warning for warning in silent.warnings) and silent.history.ctr == 0
    write(tmp_path / "b" / "info.json", [info({10: 9_999, 20: 1}, clicks=1)])
    write(tmp_path / "b" / "test.theta.txt", lines_of("theta"))
    assert any("miscalibrated" in warning for warning in load_campaign(tmp_path / "b").warnings)
    assert load_campaign(campaign(tmp_path / "c")).warnings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "no key imp_train"),
        (info({10: 6}).replace('"imp_train": 6', '"imp_train": 7'), "holds 6 impressions at a cost of 60, not imp_train 7"),
        (info({10: 6}).replace('"cost_train": 60', '"cost_train": 60.5'), "whole numbers"),
        (info({10: 6, 350: 1}, top=400), "prices above 300"),
    ],
)
def test_a_damaged_info_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    campaign(tmp_path)
    write(tmp_path / "info.json", [text])
    with pytest.raises(ArenaError, match=message):
        load_campaign(tmp_path)


def test_prices_of_another_range_reach_the_history(tmp_path: Path) -> None:
    campaign(tmp_path)
    write(tmp_path / "info.json", [info({10: 6, 350: 1}, top=400)])
    known = load_campaign(tmp_path, max_price=500).history
    assert len(known.price_counts) == 501 and known.price_counts[350] == 1 and known.max_price == 500


def test_folders_are_found_at_any_depth(tmp_path: Path) -> None:
    deep = campaign(tmp_path / "bidding" / "ipinyou" / "2997")
    for root in (tmp_path, tmp_path / "bidding", tmp_path / "bidding" / "ipinyou", deep):
        assert find_folder(root, "ipinyou", "2997") == deep
        with pytest.raises(ArenaError, match="no ipinyou files of campaign 1458"):
            find_folder(root, "ipinyou", "1458")
    other = tmp_path / "rtbcontrol-1458"
    write(other / "test.txt", lines_of("rtbcontrol"))
    assert find_folder(tmp_path, "rtbcontrol", "1458") == other == find_folder(other, "rtbcontrol", "1458")


def test_episodes_are_cut_in_time_order() -> None:
    theta, price, click = np.linspace(0.1, 0.7, 7), np.arange(7), np.ones(7, np.uint8)
    cut = cut_episodes(theta, price, click, 3)
    assert cut.last == 1
    assert cut.price.tolist() == [[0, 1, 2], [3, 4, 5], [6, 301, 301]]  # above every bid
    np.testing.assert_allclose(cut.theta[2], [0.7, 0, 0])
    assert cut.click[2].tolist() == [1, 0, 0]
    assert (cut.theta.dtype, cut.price.dtype, cut.click.dtype) == (np.float64, np.int32, np.uint8)
    assert cut_episodes(theta, price, click, 3, max_price=1000).price[2].tolist() == [6, 1001, 1001]
    dropped = cut_episodes(theta, price, click, 3, drop_partial=True)
    assert (dropped.price.shape, dropped.last) == ((2, 3), 3)
    limited = cut_episodes(theta, price, click, 3, limit=4)
    assert limited.price.tolist() == [[0, 1, 2], [3, 301, 301]]
    assert cut_episodes(theta, price, click, 7).last == 7
    for bad in ({"n": 8, "drop_partial": True}, {"n": 0}, {"n": 3, "limit": 0}):
        with pytest.raises(ArenaError):
            cut_episodes(theta, price, click, **bad)


def test_check_reports_every_file(tmp_path: Path) -> None:
    campaign(tmp_path / "2997", train=lines_of("theta"))
    write(tmp_path / "2997" / "train.log.txt", log_lines())
    write(tmp_path / "2997" / "featindex.txt", ["truncate\t0", "1:3\t1", "10:other\t2"])
    write(tmp_path / "2997" / "notes.txt", ["nothing to see"])
    write(tmp_path / "1458" / "train.log.txt", log_lines(header=False))
    write(tmp_path / "1458" / "featindex.txt", ["0:1\t0", "1:3"])
    write(tmp_path / "1458" / "test.theta.txt", ["0 1 0.5", "0 400 0.5"])
    write(tmp_path / "LICENSE", ["do as you like"])
    reports = {str(report.path.relative_to(tmp_path)): report for report in check_folder(tmp_path)}
    found = {name: (report.kind, report.ok, report.rows) for name, report in reports.items()}
    assert found == {
        "2997/info.json": ("info", True, 1),
        "2997/train.theta.txt": ("theta", True, 5),
        "2997/test.theta.txt": ("theta", False, 5),  # a copy of the training rows
        "2997/train.log.txt": ("log", True, 5),
        "2997/featindex.txt": ("featindex", True, 3),
        "2997/notes.txt": ("unknown", False, 0),
        "1458/train.log.txt": ("unknown", False, 0),
        "1458/featindex.txt": ("featindex", False, 0),
        "1458/test.theta.txt": ("theta", False, 0),
        "LICENSE": ("other", True, 0),
    }
    for name, part in (
        ("2997/test.theta.txt", "same sha256"),
        ("1458/train.log.txt", "payprice"),
        ("1458/featindex.txt", "featindex.txt:2"),
        ("1458/test.theta.txt", "test.theta.txt:2: price 400"),
        ("2997/train.theta.txt", "1 clicks"),
    ):
        assert part in reports[name].message
    with pytest.raises(ArenaError, match="is not a folder"):
        check_folder(tmp_path / "nowhere")


def test_a_hundred_thousand_rows_in_a_third_of_a_second(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = zip(rng.integers(0, 2, 100_000).tolist(), rng.integers(0, 301, 100_000).tolist(), rng.random(100_000).tolist(), strict=True)
    path = write(tmp_path / "test.theta.txt", [f"{c} {p} {t!r}" for c, p, t in rows])

    def seconds() -> float:
        start = process_time()
        read_rows(path)
        return process_time() - start

    assert min(seconds() for _ in range(3)) < 0.3


def test_the_real_rows_and_their_bounds() -> None:
    try:
        folder = find_folder(DATA, "rtbcontrol", "1458")
    except ArenaError:
        pytest.skip("no rtbcontrol rows below ARENA_DATA")
    found = load_campaign(folder, campaign="1458")
    known = found.history
    assert (known.impressions, known.cost, known.clicks) == (100_000, 6_450_617, 79)
    assert known.mean_theta == pytest.approx(6.42e-4, abs=1e-6) and known.ctr == 79 / 100_000
    assert [known.budget(c0, 1000) for c0 in (1 / 32, 1 / 8)] == [2015, 8063]
    cut = cut_episodes(found.theta, found.price, found.click, 1000)
    assert (cut.theta.shape, cut.last, found.warnings) == ((100, 1000), 1000, ())
    for budget, total in ((2015, 41.629840), (8063, 46.669442)):
        assert lp_bound(cut.theta, cut.price, np.full(100, budget)).sum() == pytest.approx(total, abs=5e-7)


@pytest.mark.parametrize("name", ["1458", "3358", "3427", "3476"])
def test_the_published_totals_are_read(tmp_path: Path, name: str) -> None:
    source = DATA / "bidding" / "ipinyou" / name / "info.json"
    if not source.is_file():
        pytest.skip(f"no info.json of campaign {name} below ARENA_DATA")
    (tmp_path / "info.json").write_bytes(source.read_bytes())
    write(tmp_path / "test.theta.txt", [f"0 50 {TRAIN[name].ctr}"])
    known = load_campaign(tmp_path, campaign=name).history
    assert (known.impressions, known.clicks, known.cost) == (TRAIN[name].impressions, TRAIN[name].clicks, TRAIN[name].cost)
    assert known.price_counts.sum() == known.impressions and known.price_counts @ np.arange(301) == known.cost
