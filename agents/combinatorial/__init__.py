"""Builders of tours, routes and packings: textbook rules, local search, exact solvers, BQ-NCO. docs/combinatorial.md."""

from arena.registry import AgentSpec

_T = "agents.combinatorial.textbook:Textbook"
_TSP, _ATSP, _CVRP, _OP, _KP = (f"combinatorial/{problem}*" for problem in ("tsp", "atsp", "cvrp", "op", "kp"))

AGENTS = (
    AgentSpec("nearest-neighbour", _T, "classical", "the nearest node that is left (and still fits)", (_TSP, _ATSP, _CVRP)),
    AgentSpec("prize-ratio", _T, "classical", "the reachable node of most prize per distance", (_OP,)),
    AgentSpec("ratio-greedy", _T, "classical", "items by value per weight, each that fits", (_KP,)),
)
