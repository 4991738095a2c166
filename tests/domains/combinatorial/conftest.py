"""Modules that tests of this folder share, each under a name of its own (tests are imported by path)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

for _name in ("combinatorial_worlds", "tsplib_texts"):
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).with_name(f"{_name}.py"))
    sys.modules[_name] = _module = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_module)
