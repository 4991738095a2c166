"""A real server over a home in which agents really played, a worker beside it, and chromium; all end with the tests of this process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dashboard_stores import ODD_AGENTS, ODD_DUEL, duels, odd

from arena import settings
from arena.cli import main
from arena.cli.payoffs import rate_pool
from arena.store import open_store

BAD = Path(__file__).parents[2] / "agents_bad"
TASK = "bidding/tiny-v1"
COMMAND = "import sys; from arena.cli import main; sys.exit(main())"
READY = "[data-testid='stApp'][data-test-connection-state='CONNECTED'][data-test-script-state='notRunning']"


@dataclass
class World:
    """Where the server is, and the home it shows. Runs 1 to 3: const, lin, pid on the tiny task; 4: one that fails every fifth scenario."""

    url: str
    home: Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("browser")
    home = folder / "home"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARENA_", "STREAMLIT_"))}
    variables = kept | {"ARENA_HOME": str(home), "OMP_NUM_THREADS": "1"}
    before, cwd = dict(os.environ), os.getcwd()
    try:
        os.environ.clear()
        os.environ.update(variables)
        os.chdir(folder)
        settings._flags.clear()
        agents = [word for agent in ("const", "lin", "pid", f"{BAD / 'moody.py'}:Moody") for word in ("-a", agent)]
        assert main(["run", "-q", "--engine", "inline", "-t", TASK, *agents]) == 3  # some scenarios failed, as they should
    finally:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(before)
        settings._flags.clear()
    with open_store(None, home) as store:
        odd(store)
        rate_pool(store, duels(store, ODD_AGENTS, ODD_DUEL))
    words = [sys.executable, "-c", COMMAND, "dashboard", "--port", "0", "--no-browser", "--with-worker", "--json"]
    log = (folder / "log").open("w")
    server = subprocess.Popen(words, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        lines: list[str] = []
        assert server.stdout is not None
        while not lines or lines[-1] != "}\n":
            lines.append(server.stdout.readline())
            assert lines[-1], (folder / "log").read_text()
        yield World(json.loads("".join(lines))["url"], home)
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0
        log.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium is installed: apt-get install chromium")
    sync = pytest.importorskip("playwright.sync_api", reason="the Python client of Playwright is not installed")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """One page of the browser on the server; `errors` is what its console complained of."""

    page: object
    url: str
    errors: list[str] = field(default_factory=list)

    def go(self, path: str = "") -> None:
        self.page.goto(f"{self.url}/{path}")
        self.settle()

    def settle(self) -> None:
        """Until nothing is drawn any more. What was clicked just now may not have begun yet."""
        self.page.wait_for_timeout(200)
        self.page.wait_for_selector(READY, timeout=30_000)
        self.page.wait_for_function("!document.querySelector('[data-testid=stSkeleton], [data-stale=true]')", timeout=30_000)
        assert self.page.locator("[data-testid=stException]").count() == 0, self.page.locator("[data-testid=stException]").first.inner_text()

    def cell(self, table: int, row: int, x: int = 60) -> None:
        """Click into a row of a table, which is drawn on a canvas; `x` pixels from its left."""
        self.page.locator("[data-testid=stDataFrame]").nth(table).click(position={"x": x, "y": 35 * (row + 1) + 17})
        self.settle()


@pytest.fixture
def visit(world: World, chromium: object, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A fresh page; options of the context come by `pytest.mark.parametrize("visit", [{...}], indirect=True)`."""
    context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | getattr(request, "param", {})))
    page = context.new_page()
    found = Visit(page, world.url)
    # Streamlit looks for its own addresses below the page's first, and is told 404
    page.on("console", lambda m: m.type == "error" and "/_stcore/" not in str(m.location.get("url")) and found.errors.append(m.text))
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("dialog", lambda dialog: (found.errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    yield found
    context.close()
    assert found.errors == []
