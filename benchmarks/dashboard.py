"""What the pages of the dashboard cost: reading the store, running their scripts, appearing in a browser; how long the server takes to start.

    python benchmarks/dashboard.py [--small] [--json]

A synthetic store of 500 agents on 40 boards (32 tasks, 8 suites), 1.9 million measurements, 10^6 of them on the first task; SQLite. Needs chromium.

store: everything read from the database in the first run of the script, its rows made Python objects
first, again: the script, with nothing cached (median of 3, as store) and repeated (of 5); in this process, without a browser
paint: from the click on an address to the page's heading in a browser that has the server's assets, median of 3; drawn: to its last figure
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "dashboard")]
import stores  # noqa: E402  the stores that the pages are tested on

from arena.cli.dashboard import free_port, wait_for  # noqa: E402
from arena.store import open_store  # noqa: E402
from arena.store.database import Database  # noqa: E402

TASK = "domain0/task0-v1"
PAGES = {
    "overview": "", "leaderboard": f"task={TASK}", "leaderboard, a suite": "task=domain0", "compare, 2 agents": f"task={TASK}&a=1&b=2",
    "compare, 8 agents": f"task={TASK}&a=1&b=2&b=3&b=4&b=5&b=6&b=7&b=8", "run, the list": "", "run": "id=1", "scenario": f"task={TASK}&i=7",
    "agent": "id=1", "task": f"id={TASK}", "register": "", "queue": "",
}  # fmt: skip
LIMITS = {"store": 100.0, "again": 300.0, "paint": 1500.0, "start": 5000.0}  # ms
READY = "[data-testid='stApp'][data-test-connection-state='CONNECTED'][data-test-script-state='notRunning']"


def fill(home: Path, small: bool) -> dict[str, int]:
    with open_store(None, home) as store:
        if small:
            stores.many(store, agents=40, domains=2, tasks=2, n=100, other=20, measured=20)
        else:
            stores.many(store)
        counts = store.overview()
        with store.reading() as connection:
            values = connection.exec_driver_sql("SELECT SUM(n) FROM measurements").scalar()
    found = {"measurements": values, "runs": counts["complete"], "agents": counts["agents"], "boards": counts["tasks"]}
    return found | {"standings": counts["standings"]}


# ---- scripts -------------------------------------------------------------------------------------------------------


def scripts() -> dict[str, dict[str, float]]:
    """Milliseconds of each page's script, and of what it reads."""
    from streamlit import cache_data
    from streamlit.testing.v1 import AppTest

    spent = [0.0]
    inner = Database.reading

    @contextmanager
    def timed(self: Database) -> Iterator[Any]:
        begun = time.perf_counter()
        with inner(self) as connection:
            yield connection
        spent[0] += time.perf_counter() - begun

    def page(name: str, query: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=120)
        app.switch_page(f"app_pages/{name.split(',')[0]}.py")
        for part in filter(None, query.split("&")):
            key, _, value = part.partition("=")
            app.query_params[key] = [*app.query_params.get(key, []), value] if key in app.query_params else value
        return app

    def clock(app: AppTest) -> float:
        begun = time.perf_counter()
        app.run()
        assert not app.exception, app.exception
        return 1e3 * (time.perf_counter() - begun)

    Database.reading = timed  # type: ignore[method-assign]
    try:
        for name, query in PAGES.items():  # what is imported once
            page(name, query).run()
        found = {}
        for name, query in PAGES.items():
            reads, firsts = [], []
            for _ in range(3):
                cache_data.clear()
                app, spent[0] = page(name, query), 0.0
                firsts.append(clock(app))
                reads.append(1e3 * spent[0])
            found[name] = {"store": median(reads), "first": median(firsts), "again": median(clock(app) for _ in range(5))}
        return found
    finally:
        Database.reading = inner  # type: ignore[method-assign]


# ---- browser -------------------------------------------------------------------------------------------------------


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, float]]:
    """A server of its own and the milliseconds until it answers."""
    port = free_port(0)
    words = [sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "app.py"), "--server.port", str(port), "--server.headless", "true"]
    with (folder / "log").open("w") as log:
        begun = time.perf_counter()
        process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log)
        try:
            wait_for(f"http://localhost:{port}", process)
            yield f"http://localhost:{port}", 1e3 * (time.perf_counter() - begun)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def browser(address: str) -> dict[str, dict[str, float]]:
    """Milliseconds until a page's heading is there and until nothing changes any more."""
    program = shutil.which("chromium")
    if program is None:
        sys.exit("chromium is needed: apt-get install chromium")
    found: dict[str, dict[str, float]] = {}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        for name, query in PAGES.items():
            times = []
            for _ in range(4):  # the first fills the caches of browser and server
                begun = time.perf_counter()
                page.goto(f"{address}/{name.split(',')[0]}?{query}", wait_until="commit")
                page.locator("h1").first.wait_for(timeout=60_000)
                paint = time.perf_counter()
                page.wait_for_selector(READY, timeout=60_000)
                page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")
                times.append((1e3 * (paint - begun), 1e3 * (time.perf_counter() - begun)))
            paints, drawn = zip(*times[1:], strict=True)
            found[name] = {"paint": median(paints), "drawn": median(drawn)}
        chromium.close()
    return found


def show(report: dict[str, Any]) -> None:
    console = Console()
    table = Table("page, ms", *("store", "first", "again", "paint", "drawn"), title=", ".join(f"{n:,} {what}" for what, n in report["store"].items()))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in report["pages"].items():
        table.add_row(name, *(f"{row[key]:,.0f}" + ("!" if row[key] > LIMITS.get(key, float("inf")) else "") for key in row))
    console.print(table)
    targets = ", ".join(f"{name} {ms:,.0f}" for name, ms in LIMITS.items())
    console.print(f"server start {report['start']:,.0f} ms; targets, ms: {targets}; ! misses one")
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} over the last five minutes")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--small", action="store_true", help="a small store; the figures mean little")
    parser.add_argument("--json", action="store_true", help="one document on standard output")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # Streamlit warns that nobody looks at its scripts
    folder = Path(tempfile.mkdtemp(prefix="arena-dashboard-"))
    os.environ["ARENA_HOME"] = str(folder / "home")
    os.environ.pop("ARENA_STORE", None)
    os.chdir(folder)
    try:
        counts = fill(folder / "home", options.small)
        of_scripts = scripts()
        with server(folder) as (address, start):
            of_browser = browser(address)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    pages = {name: of_scripts[name] | of_browser[name] for name in PAGES}
    report = {"schema": "arena.bench.dashboard/1", "store": counts, "start": start, "pages": pages}
    if options.json:
        print(json.dumps(report | {"machine": {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[1]}}))
    else:
        show(report)
    misses = [name for name, row in pages.items() for key in row if row[key] > LIMITS.get(key, float("inf"))]
    return int(bool(misses) or start > LIMITS["start"])


if __name__ == "__main__":
    sys.exit(main())
