"""Run, Scenario, Queue and Register on the five stores and on a home in which agents really played."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dashboard_stores import BUILDERS, ODD_AGENTS, ODD_TASK, many
from sqlalchemy import update
from streamlit.testing.v1 import AppTest

from arena import registration, registry, settings
from arena.cli import main
from arena.errors import ArenaError
from arena.evaluation import request
from arena.store import open_store
from arena.store.schema import jobs

ROOT = Path(__file__).parents[2]
APP = ROOT / "dashboard" / "app.py"
PAGES = ("run", "scenario", "queue", "register")
TASK = "bidding/tiny-v1"


def page(name: str, **query: object) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.switch_page(f"app_pages/{name}.py")
    for key, value in query.items():
        app.query_params[key] = str(value)
    app.run()
    assert not app.exception, app.exception
    return app


def texts(app: AppTest) -> str:
    """Everything that is read as Markdown."""
    kinds = (app.markdown, app.caption, app.title, app.subheader, app.info, app.warning, app.error, app.success)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def shown(app: AppTest) -> str:
    """Everything that is shown as it is."""
    return "\n".join(str(element.value) for kind in (app.text, app.code) for element in kind)


@pytest.fixture
def made(home: Path):
    """Fill the home with one of the stores: `made("failed")`."""

    def build(name: str) -> object:
        with open_store(None, home) as store:
            return BUILDERS[name](store)

    return build


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which lin and pid have played the tiny task (runs 1 and 2); not to be written to."""
    folder = tmp_path_factory.mktemp("played")
    before, cwd = dict(os.environ), os.getcwd()
    try:
        os.environ["ARENA_HOME"] = str(folder)
        os.chdir(folder)
        settings._flags.clear()
        assert main(["run", "-q", "--engine", "inline", "-t", TASK, "-a", "lin", "-a", "pid"]) == 0
    finally:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(before)
        settings._flags.clear()
    return folder


@pytest.fixture
def known(played: Path, home: Path) -> Path:
    """The test's own copy of it."""
    shutil.copytree(played, home)
    return home


# ---- every page on every store -------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", PAGES)
@pytest.mark.parametrize("there", [False, True], ids=["no store", "empty store"])
def test_nothing_yet(home: Path, which: str, there: bool) -> None:
    if there:
        open_store(None, home).close()
    app = page(which)
    if which == "register":
        assert {box.label for box in app.selectbox} == {"Agent", "Agent to play"}  # an agent may well be the first thing in a store
    else:
        assert "arena run -t bidding/tiny-v1" in app.code[0].value and not app.dataframe
    assert home.exists() == there  # looking creates nothing


@pytest.mark.parametrize("which", PAGES)
@pytest.mark.parametrize("name", ["failed", "single", "odd"])
def test_every_page_on_the_stores(made, which: str, name: str) -> None:
    made(name)
    for query in ({}, {"id": 1, "task": "dom/task-v1", "i": 3, "run": 1}):
        page(which, **query)


def test_markup_is_shown_as_it_is_written(made, home: Path) -> None:
    made("odd")
    with open_store(None, home) as store:
        odd = store.runs()[0]["id"]
        store.enqueue("run", {"task": "<b>t</b>", "agent": "*a*", "seed": 0})
        store.enqueue("register", {"kind": "http", "name": "<i>n</i>", "source": "x"})
        store.write(lambda c: c.execute(update(jobs).values(status="failed", result={"message": "<b>no</b> :red[x]", "checks": []})))
    run = page("run", id=odd)
    assert ODD_AGENTS[-1] in shown(run)
    assert "<b>detail</b>\n**two**" in [code.value for code in run.code]
    assert list(run.dataframe[0].value["message"]) == ["<b>message</b> [x](javascript:y) :tada:"]
    scenario = page("scenario", task=ODD_TASK)
    assert set(scenario.dataframe[0].value["agent"]) == {f"{name}@1" for name in ODD_AGENTS}
    job = page("register", job=2)
    assert "<b>no</b> :red[x]" in shown(job) and "register <i>n</i> (http)" in shown(job)
    queue = page("queue")
    assert list(queue.dataframe[0].value["came to"]) == ["<b>no</b> :red[x]"] * 2
    for app in (run, scenario, job, queue):
        assert not any(piece in texts(app) for piece in ("<b>", "<i>", "javascript", ":red[", ":tada:"))


@pytest.mark.parametrize(
    ("which", "query"),
    [
        ("run", {"id": "none"}), ("run", {"id": 77}), ("run", {"id": "-1"}), ("run", {"before": "x", "status": "odd"}), ("run", {"id": "9" * 400}),
        ("scenario", {"task": "no/such", "i": "1e9", "run": 99}), ("scenario", {"i": 10**9, "replay": "maybe"}), ("scenario", {"run": "١"}),
        ("register", {"job": 3}), ("register", {"kind": "pickle", "agent": "nobody"}), ("queue", {"id": "<b>"}),
    ],
)  # fmt: skip
def test_what_the_address_cannot_mean_is_told_and_left_out(made, which: str, query: dict[str, object]) -> None:
    made("single")
    app = page(which, **query)
    if which in ("run", "scenario") or "job" in query:
        assert app.info and "address" in app.info[0].value
    for key, value in query.items():
        kept = which == "queue" or (which, key) in (("register", "agent"), ("scenario", "replay"))
        assert kept or app.query_params.get(key) != str(value)


# ---- Run -----------------------------------------------------------------------------------------------------------


def test_runs_are_listed_in_pages(home: Path) -> None:
    with open_store(None, home) as store:
        many(store, agents=120, domains=1, tasks=1, n=20, measured=0)
    first = page("run").dataframe[0].value
    assert list(first["run"]) == list(range(120, 70, -1)) and set(first["status"]) == {"✓ complete"}
    second = page("run", before=71).dataframe[0].value
    assert list(second["run"]) == list(range(70, 20, -1))
    assert list(page("run", before=21).dataframe[0].value["run"]) == list(range(20, 0, -1))
    assert not page("run", status="failed").dataframe and page("run", status="failed").info[0].value == "No such runs."


def test_a_failed_run_says_why(made) -> None:
    run = made("failed")
    app = page("run", id=run)
    assert {metric.label: metric.value for metric in app.metric} == {
        "scenarios": "10", "failed": "1 (10 %)", "chunks": "1 of 2", "computing time": "0.1 s", "verified": "not yet",
    }  # fmt: skip
    log, failures, strip, lineup, *_ = [element.value for element in app.dataframe]
    assert list(log["message"]) == ["the kernel broke"]
    assert list(failures.iloc[0][["scenario", "step", "role", "code", "detail"]]) == [3, 7, "player", "agent.crash", "boom of lin"]
    assert list(strip["scenario"])[0] == 3 and list(strip["failed"]) == [True] + 4 * [False]  # only what was played, worst first
    assert lineup["isolation"][0] == "inline" and lineup["p99 ms"][0] == pytest.approx(2**17.5 / 1e6) and lineup["decisions"][0] == 5
    assert f"arena resume {run}" in app.code[0].value
    drawn = json.loads(app.get("plotly_chart")[1].proto.spec)["data"][0]["y"]  # binary, as Plotly sends arrays
    assert np.frombuffer(base64.b64decode(drawn["bdata"]), drawn["dtype"]).tolist() == [1, 2, 1, 1]


def test_the_log_reads_what_is_new_only(made, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made("failed")
    asked = []
    from arena.store import Store

    read = Store.events
    monkeypatch.setattr(Store, "events", lambda self, run_id, after=0, limit=500: asked.append(after) or read(self, run_id, after, limit))
    app = page("run", id=run)
    with open_store(None, home) as store:
        last = store.events(run)[-1]["id"]
        fresh = store.event(run, "info", "more", "said later")
    asked.clear()
    app.run()
    assert asked[0] == last and asked[-1] == fresh
    assert list(app.dataframe[0].value["message"]) == ["said later", "the kernel broke"]


def test_a_run_under_way_is_live_and_a_stalled_one_says_so(made, home: Path) -> None:
    run = made("failed")
    with open_store(None, home) as store:
        store.requeue(run)
        assert "arena worker" in page("run", id=run).code[0].value
        store.acquire(run, "host:1:a")
        app = page("run", id=run)
        assert "Played by host:1:a." in shown(app) and "1 of 2 chunks, about" in app.get("progress")[0].proto.text
        store.renew(run, "host:1:a", lease=-1)
        app = page("run", id=run)
        assert f"arena resume {run}" in app.code[0].value and "stalled" in page("run").dataframe[0].value["status"][0]


# ---- Scenario ------------------------------------------------------------------------------------------------------


def test_one_scenario_of_five_hundred_agents(home: Path) -> None:
    with open_store(None, home) as store:
        many(store, agents=500, domains=1, tasks=1, n=30, measured=500)
        expected = {f"{row['agent']}@1": row["value"] for row in store.scenario(store.task("domain0/task0-v1").id, 7) if row["metric"] == "score"}
    app = page("scenario", task="domain0/task0-v1", i=7)
    table = app.dataframe[0].value
    assert len(table) == 500 and dict(zip(table["agent"], table["score"], strict=True)) == expected
    assert list(table["score"]) == sorted(expected.values(), reverse=True)
    drawn = json.loads(app.get("plotly_chart")[0].proto.spec)["data"][0]
    assert len(drawn["y"]) == 60 and drawn["y"][0] == table["agent"][0]
    assert {m.label: m.value for m in app.metric}["group"] == "south"


def test_a_failed_scenario_of_a_run_on_no_board_can_be_looked_at(made) -> None:
    run = made("failed")
    app = page("scenario", task="dom/task-v1", i=3, run=run)
    assert "No complete ranked run" in app.info[0].value and app.selectbox[-1].options == [f"lin@1, run {run}"]
    app.toggle(key="replay").set_value(True).run()
    assert not app.exception and "cannot be replayed" in app.warning[0].value


def test_replay_derives_what_was_stored_and_draws_it(known: Path) -> None:
    app = page("scenario", task=TASK, i=5, run=2)
    assert app.selectbox[-1].value == 2 and len(app.get("plotly_chart")) == 1
    app = page("scenario", task=TASK, i=5, run=2, replay="true")
    frame = next(e.value for e in app.dataframe if "derived now" in e.value)
    np.testing.assert_array_equal(frame["derived now"], frame["stored"])
    assert len(app.get("plotly_chart")) >= 5
    steps = next(e.value for e in app.dataframe if "step" in e.value)
    assert list(steps["step"]) == list(range(100)) and steps["bidder"].notna().all()


# ---- Queue ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def busy(known: Path) -> Path:
    """Run 3 stalls, run 4 is played, run 5 waits, run 6 was cancelled; job 1 waits."""
    with open_store(None, known) as store:
        task = registry.task(TASK)
        runs = [request(store, task, registry.candidate("rand"), seed=seed).id for seed in range(4)]
        store.acquire(runs[0], "host:1:a", lease=-5)
        store.acquire(runs[1], "host:2:b")
        store.cancel(runs[3])
        store.enqueue("run", {"task": TASK, "agent": "const", "seed": 0})
    return known


def counts(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_the_queue_shows_and_acts(busy: Path) -> None:
    app = page("queue")
    assert counts(app) == {"waiting": "2", "under way": "1", "stalled": "1", "workers": "1"}
    workers, waiting, stopped = (element.value for element in app.dataframe)
    assert list(workers["state"]) == ["at work", "gone"] and list(workers["worker"]) == ["host:2:b", "host:1:a"]
    assert list(waiting["what"]) == ["job 1", "run 5"] and list(stopped["run"]) == [6]
    app.button(key="requeue-3").click().run()
    assert not app.exception and counts(app)["stalled"] == "0" and counts(app)["waiting"] == "3"
    app.button(key="cancel-4").click().run()
    with open_store(None, busy, read_only=True) as store:
        assert [store.run_row(n).status for n in (3, 4, 5)] == ["queued", "cancelled", "queued"]


def test_a_waiting_queue_without_workers_says_so(known: Path) -> None:
    with open_store(None, known) as store:
        store.enqueue("run", {"task": TASK, "agent": "const", "seed": 0})
    app = page("queue")
    assert "Start a worker" in app.warning[0].value and app.code[0].value == "arena worker"


def test_strangers_see_no_actions_and_nothing_of_the_host(busy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(None, busy) as store:
        store.event(4, "error", "agent.crash", f"in {busy}/secret/agent.py: C:\\Users\\me\\agent.py")
    monkeypatch.setenv("ARENA_DASHBOARD_MODE", "public")
    queue = page("queue")
    assert not queue.button and list(queue.dataframe[0].value["worker"]) == ["worker 1", "worker 2"]
    app = page("run", id=4)
    assert app.dataframe[0].value["message"][0] == "in …/agent.py: …/agent.py"
    for seen in (queue, app):
        told = texts(seen) + shown(seen) + "".join(element.value.to_csv() for element in seen.dataframe)
        assert "host:" not in told and str(busy.parent) not in told
    register = AppTest.from_file(str(ROOT / "dashboard" / "app_pages" / "register.py"), default_timeout=60).run()
    assert "only shows" in register.info[0].value and not register.button and not register.selectbox


# ---- Register ------------------------------------------------------------------------------------------------------


def fill(app: AppTest, **values: str) -> AppTest:
    for label, value in values.items():
        next(box for box in app.text_input if label in box.label).set_value(value)
    next(button for button in app.button if button.label == "Check and register").click()
    app.run()
    assert not app.exception
    return app


def test_a_built_in_with_parameters_is_asked_for(home: Path) -> None:
    app = page("register")
    app.selectbox[0].select("pid").run()
    assert [box.placeholder for box in app.text_input][:3] == ["0.15 (float)", "0.02 (float)", "0.0 (float)"]
    app = fill(app, kp="0.3", name="my-pid")
    with open_store(None, home, read_only=True) as store:
        (job,) = store.jobs()
    assert job["spec"] == {"kind": "builtin", "source": "pid(kp=0.3)", "name": "my-pid", "tasks": ["bidding/*"]}
    assert app.query_params["job"] == "1" and "Start one" in app.warning[0].value


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"name": "No Name", "Address": "https://a.org"}, "is no agent name"),
        ({"name": "pid", "Address": "https://a.org"}, "comes with"),
        ({"name": "far", "Address": "ftp://a.org"}, "no URL of an agent"),
        ({"name": "far", "Address": "https://me:secret@a.org"}, "user name or password"),
        ({"name": "far", "Address": "https://a.org", "token": "AWS_SECRET_ACCESS_KEY"}, "no variable whose value may be sent"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_is_refused_at_once(home: Path, values: dict[str, str], says: str) -> None:
    app = fill(page("register", kind="HTTP"), **values)
    assert says in shown(app) and "secret@" not in shown(app)
    with open_store(None, home, read_only=True) as store:
        assert store.jobs() == []


def test_code_is_not_taken_unless_the_owner_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARENA_ALLOW_UPLOAD_CODE", raising=False)
    assert page("register").get("button_group")[0].options == ["built-in", "HTTP", "ONNX"]
    code = b"def act(obs):\n    return 1\n"
    name = hashlib.sha256(code).hexdigest()
    (home / "uploads").mkdir(parents=True)
    (home / "uploads" / f"{name}.py").write_bytes(code)
    spec = {"kind": "file", "name": "mine", "source": f"upload:{name}", "tasks": ["bidding/*"]}
    with open_store(None, home) as store:
        for refused in (spec, {**spec, "kind": "sb3"}):
            with pytest.raises(ArenaError, match="cannot be registered this way"):
                registration.submit(store, refused)
        with pytest.raises(ArenaError, match="folder of this machine"):
            registration.submit(store, {"kind": "builtin", "name": "mine", "source": "pace-net(checkpoint=/)", "tasks": ["bidding/*"]})
        monkeypatch.setenv("ARENA_ALLOW_UPLOAD_CODE", "1")
        assert registration.submit(store, spec).kind == "register"
    assert "Python" in page("register").get("button_group")[0].options


def test_a_job_tells_its_checks_and_what_was_wrong(home: Path) -> None:
    with open_store(None, home) as store:
        job = store.enqueue("register", {"kind": "http", "name": "far", "source": "https://a.org", "tasks": ["bidding/*"]})
        assert store.next_job("w").id == job.id
        store.event(None, "info", "check.spaces", "fit", {"ok": True}, job_id=job.id)
        store.event(None, "error", "check.legal", "bid 999, allowed 0..300", {"ok": False}, job_id=job.id)
        app = page("register", job=job.id)
        assert "A worker is checking it." in shown(app)
        assert app.dataframe[0].value.values.tolist() == [["spaces", "✓ ok", "fit"], ["legal", "✗ broken", "bid 999, allowed 0..300"]]
        checks = [{"rule": "legal", "ok": False, "detail": "bid 999, allowed 0..300"}]
        store.end_job(job.id, "w", "failed", {"code": "agent.contract", "message": "far breaks the contract", "hint": "mend it", "checks": checks})
    app = page("register", job=job.id)
    assert "far breaks the contract\nmend it" in shown(app) and len(app.dataframe[0].value) == 1
    assert not app.selectbox  # no benchmark of what is not there


def test_a_benchmark_is_queued_run_by_run(home: Path) -> None:
    app = page("register", agent="pid")
    app.multiselect[-1].set_value([TASK, "bidding (its suite)"])
    app.number_input[0].set_value(2)
    next(button for button in app.button if button.label == "Queue the runs").click().run()
    assert not app.exception
    suite = registry.domains()["bidding"].suite
    with open_store(None, home, read_only=True) as store:
        specs = [job["spec"] for job in store.jobs()][::-1]
    assert specs == [{"task": t, "agent": "pid", "seed": s} for t in (TASK, *(f"bidding/{name}" for name in suite)) for s in (0, 1)]
    assert f"{len(specs)} runs are queued" in app.success[0].value


# ---- the dashboard runs no agent -----------------------------------------------------------------------------------

LOOK = """
import sys
from streamlit.testing.v1 import AppTest

PAGES = {"overview": {}, "leaderboard": {"task": "bidding/tiny-v1"}, "compare": {"a": "lin@1", "b": "pid@1", "task": "bidding/tiny-v1"},
         "agent": {"id": "1"}, "task": {"id": "bidding/tiny-v1"}, "run": {"id": "2"}, "scenario": {"task": "bidding/tiny-v1", "i": "3"},
         "ratings": {}, "queue": {}, "register": {"kind": "HTTP"}}

def heavy():
    return sorted(m for m in sys.modules if m == "torch" or (m.startswith("agents.") and m.count(".") > 1))

def look(page, query):
    app = AppTest.from_file(sys.argv[1], default_timeout=60)
    app.switch_page(f"app_pages/{page}.py")
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app

for page, query in PAGES.items():
    look(page, query)
    assert not heavy(), (page, heavy())
app = look("register", {})
next(box for box in app.text_input if "name" in box.label).set_value("mine")
next(button for button in app.button if button.label == "Check and register").click()
app.run()
assert not app.exception and "job" in app.query_params and not heavy(), heavy()
assert len(look("scenario", {"task": "bidding/tiny-v1", "i": "3", "replay": "true"}).get("plotly_chart")) > 3
assert heavy() == ["torch"], heavy()
"""


def test_no_page_imports_torch_but_a_replay_and_none_imports_an_agent(known: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOOK, str(APP)], cwd=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
