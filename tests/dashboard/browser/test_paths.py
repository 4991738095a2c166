"""The main paths through the dashboard, in a real browser on a real server: what AppTest cannot see."""

from __future__ import annotations

import csv
import io
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from dashboard_stores import ODD_AGENTS, ODD_DUEL, ODD_TASK

from arena.store import open_store

TASK = "bidding/tiny-v1"
EVERY = ("", "leaderboard", "compare", "run?id=4", "scenario?task=bidding/tiny-v1&i=2&run=4", "agent", "task", "ratings", "register", "queue")


def query(visit) -> dict[str, list[str]]:
    return parse_qs(urlsplit(visit.page.url).query)


def test_from_the_overview_to_a_comparison(visit) -> None:
    visit.go()
    visit.page.get_by_test_id("stTopNavLink").filter(has_text="Leaderboard").click()
    visit.page.wait_for_url("**/leaderboard*")
    visit.settle()
    box = visit.page.get_by_role("combobox").nth(1)
    box.click()
    visit.page.get_by_role("option", name=ODD_TASK).click()
    visit.page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("task") == [ODD_TASK])  # picking writes the address
    visit.go(f"leaderboard?task={TASK}")
    visit.cell(0, 0, x=20)
    visit.cell(0, 1, x=20)
    visit.page.get_by_role("link", name=re.compile("^Compare .*pid")).click()
    visit.page.wait_for_url("**/compare*")
    visit.settle()
    chosen = query(visit)
    assert chosen["task"] == [TASK] and {"a", "b"} <= set(chosen)
    verdict = visit.page.get_by_test_id("stMain").inner_text()
    assert "pid" in verdict
    visit.page.reload()
    visit.settle()
    again = query(visit)
    assert again == chosen and visit.page.get_by_test_id("stMain").inner_text() == verdict


def test_a_run_with_failures_leads_to_the_replay_of_one(visit) -> None:
    visit.go("run")
    visit.page.get_by_test_id("stNumberInputField").fill("4")
    visit.page.keyboard.press("Enter")
    visit.page.get_by_role("heading", name="Run 4").wait_for()
    visit.page.get_by_text("Environment").wait_for()
    visit.settle()
    assert query(visit) == {"id": ["4"]}
    text = visit.page.get_by_test_id("stMain").inner_text()
    assert "3 (19 %)" in text and "3 agent.illegal" in text
    visit.page.get_by_text("Failures", exact=True).scroll_into_view_if_needed()
    visit.cell(0, 1)  # the second failure: scenario 7
    visit.page.get_by_role("link", name=re.compile("^Scenario 7")).click()
    visit.page.wait_for_url("**/scenario*")
    visit.settle()
    assert query(visit) == {"task": [TASK], "i": ["7"], "run": ["4"]}
    visit.page.get_by_text("Replay", exact=True).click()
    visit.page.get_by_text("It failed at step 40").wait_for(timeout=60_000)
    visit.settle()
    assert query(visit)["replay"] == ["true"]
    assert visit.page.locator("[data-testid=stPlotlyChart] .main-svg").count() >= 2 * 5  # the agents' dots and four figures of the domain
    assert visit.page.locator("[data-testid=stPlotlyChart]").nth(1).inner_text().count("budget") >= 1


@pytest.fixture
def server():
    """A server on this machine: no agent, but it would answer."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(500)

    asked: list[str] = []
    made = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}", asked
    made.shutdown()
    thread.join()
    made.server_close()


def test_registering_from_the_form_to_the_board(visit, world, server) -> None:
    address, asked = server
    page = visit.page
    visit.go("register?kind=HTTP")
    page.get_by_role("textbox", name="Address of its server").fill(address)
    page.get_by_role("textbox", name="Its name here").fill("far")
    page.get_by_role("button", name="Check and register").click()
    page.get_by_text("It was not registered.").wait_for(timeout=60_000)  # drawn by itself when the worker is done
    assert "loopback" in page.get_by_test_id("stMain").inner_text() and asked == []
    page.get_by_role("button", name="Register another agent").click()
    page.get_by_test_id("stMain").get_by_text("built-in", exact=True).click()
    page.get_by_role("combobox", name="Agent", exact=True).wait_for()
    visit.settle()
    page.get_by_role("combobox", name="Agent", exact=True).fill("pid:")
    page.get_by_role("option", name="pid:").click()
    page.get_by_role("textbox", name="Parameter `kp`").fill("0.3")
    page.get_by_role("textbox", name="Its name here").fill("keen")
    page.get_by_role("button", name="Check and register").click()
    page.get_by_text("It is registered.").wait_for(timeout=60_000)
    visit.settle()
    assert page.get_by_role("combobox", name="Agent to play").input_value() == "keen@1"
    page.get_by_role("button", name="Clear all").click()
    page.get_by_role("combobox", name="Tasks").fill("tiny")
    page.get_by_role("option", name=TASK).click()
    page.keyboard.press("Escape")  # close the list
    page.get_by_role("button", name="Queue the runs").click()
    page.get_by_text("1 run is queued").wait_for()
    visit.go("queue")
    page.get_by_text("Jobs that ended").wait_for(timeout=60_000)
    with open_store(None, world.home, read_only=True) as store:
        for _ in range(600):
            lines = {line["agent"]: line for line in store.board(TASK)}
            if "keen" in lines:
                break
            page.wait_for_timeout(100)
        assert lines["keen"]["n"] == 16
    visit.go(f"leaderboard?task={TASK}")
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").filter(has_text="CSV").first.get_by_role("button").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert {row["agent"]: float(row["score"]) for row in rows} == {name: line["headline"] for name, line in lines.items()}
    assert "keen" in {row["agent"] for row in rows}


def test_a_pool_is_picked_and_a_cell_leads_to_its_run(visit) -> None:
    visit.go(f"ratings?task={ODD_DUEL}")
    page = visit.page
    assert page.locator("[data-testid=stPlotlyChart] .main-svg").count() >= 2 * 3  # matrix, means, ratings
    page.get_by_text("has 1000").wait_for()
    page.get_by_test_id("stMultiSelect").get_by_role("button", name=re.compile("^Remove")).first.click()
    page.get_by_text("This pool has not been rated yet.").wait_for()
    visit.settle()
    assert len(query(visit)["a"]) == len(ODD_AGENTS) - 1 and "Pairs played: 25 of 25." in page.get_by_test_id("stMain").inner_text()
    page.reload()
    visit.settle()
    assert "Pairs played: 25 of 25." in page.get_by_test_id("stMain").inner_text()
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").filter(has_text="CSV").first.get_by_role("button").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert len(rows) == 25 and {row["row"] for row in rows} < set(ODD_AGENTS)
    visit.go(rows[1]["run"])
    text = page.get_by_test_id("stMain").inner_text()
    assert f"{rows[1]['row']}@1 as row against {rows[1]['column']}@1 as column" in text
    page.get_by_role("link", name="All matches").click()
    page.wait_for_url("**/ratings*")


def test_markup_stays_text(visit) -> None:
    for path in (f"leaderboard?task={ODD_TASK}", f"scenario?task={ODD_TASK}", "run", "agent", f"task?id={ODD_TASK}", f"ratings?task={ODD_DUEL}"):
        visit.go(path)
        for made in ("b", "i", "u", "script[src]", "img[src*='127.0.0.1']", "a[href^=javascript]", "[style*='color: red']"):
            found = visit.page.locator(f"[data-testid=stMain] {made}")
            assert found.count() == 0, (path, made, found.first.evaluate("e => e.outerHTML"))
    visit.go(f"scenario?task={ODD_TASK}")
    visit.page.locator("[data-testid=stDataFrame]").first.scroll_into_view_if_needed()  # tables are drawn where they are seen
    shown = "name => [...document.querySelectorAll('[data-testid=stDataFrame]')].some(table => table.textContent.includes(name))"
    visit.page.wait_for_function(shown, arg=ODD_AGENTS[0], timeout=20_000)  # the table that screen readers read


@pytest.mark.parametrize("visit", [{"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}], indirect=True)
def test_every_page_fits_a_dark_phone(visit) -> None:
    for path in EVERY:
        visit.go(path)
        width, ground = visit.page.evaluate(
            """[Math.max(document.documentElement.scrollWidth, document.querySelector('[data-testid=stMain]').scrollWidth),
                getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor]"""
        )
        assert width <= 390, path
        assert max(map(int, re.findall(r"\d+", ground)[:3])) < 60, (path, ground)
