"""What the tests of files share: one text of each kind, and what is said of a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from arena.errors import ArenaError
from domains.combinatorial.tsplib import read

TSP = """NAME : four
TYPE : TSP
COMMENT : a square: with a colon
DIMENSION : 4
EDGE_WEIGHT_TYPE : EUC_2D
NODE_COORD_SECTION
1 0 0
2 3 4
3 1e+01 0
4 0.5 -2
EOF
"""
VRP = """NAME : small
TYPE : CVRP
DIMENSION : 4
EDGE_WEIGHT_TYPE : EUC_2D
CAPACITY : 10
NODE_COORD_SECTION
1 0 0
2 3 4
3 6 8
4 0 5
DEMAND_SECTION
1 0
2 4
3 5
4 6
DEPOT_SECTION
1
-1
EOF
"""
OP = """NAME : prizes
TYPE : OP
DIMENSION : 3
COST_LIMIT : 12.5
EDGE_WEIGHT_TYPE : EUC_2D
NODE_COORD_SECTION
1 0 0
2 3 4
3 90 0
NODE_SCORE_SECTION
1 7
2 5
3 9
DEPOT_SECTION
1
-1
EOF
"""
MATRIX = "TYPE : {kind}\nDIMENSION : {n}\nEDGE_WEIGHT_TYPE : EXPLICIT\nEDGE_WEIGHT_FORMAT : {layout}\nEDGE_WEIGHT_SECTION\n{numbers}\nEOF\n"


def write(folder: Path, text: str, name: str = "it.tsp") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def refused(path: Path, code: str = "data.format", reader=read) -> str:
    """What is said of a file, which it names, and what to do about it."""
    with pytest.raises(ArenaError) as caught:
        reader(path)
    assert caught.value.code == code and path.name in caught.value.message and caught.value.hint
    return str(caught.value)
