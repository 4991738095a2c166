"""The README's own agent and environment do what it says."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_ten_line_agent_plays(tmp_path):
    agent = next(block for block in blocks() if "class Pacer" in block)
    (tmp_path / "my_bidder.py").write_text(agent)
    lines = [line for line in agent.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 10
    command = [str(Path(sys.executable).with_name("arena")), "run", "-t", "bidding/tiny-v1", "-a", "my_bidder.py:Pacer", "-a", "const"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    board = done.stdout.splitlines()
    place = {name: next(i for i, line in enumerate(board) if re.search(rf"\b{name}\b", line)) for name in ("pacer", "const")}
    assert place["pacer"] < place["const"], "the README's agent beats a constant bid"


def test_the_environment_of_the_readme_can_be_made():
    code = next(block for block in blocks() if "gymnasium" in block)
    names: dict = {}
    exec(code, names)
    observation, _ = names["env"].reset(seed=0)
    assert names["env"].observation_space.contains(observation)
