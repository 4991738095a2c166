"""Builders of tours, routes and packings: textbook rules, local search, exact solvers, BQ-NCO. docs/combinatorial.md."""

from arena.registry import AgentSpec

_A = "agents.combinatorial"
_TSP, _ATSP, _CVRP, _OP, _KP = (f"combinatorial/{problem}*" for problem in ("tsp", "atsp", "cvrp", "op", "kp"))

AGENTS = (
    AgentSpec("nearest-neighbour", f"{_A}.textbook:Textbook", "classical", "the nearest node that is left (and still fits)", (_TSP, _ATSP, _CVRP)),
    AgentSpec("farthest-insertion", f"{_A}.construct:FarthestInsertion", "classical", "the farthest node next, where it costs least", (_TSP, _ATSP)),
    AgentSpec(
        "random-insertion", f"{_A}.construct:RandomInsertion", "classical", "nodes in random order, each where it costs least", (_TSP, _ATSP, _CVRP)
    ),
    AgentSpec("local-search", f"{_A}.local_search:LocalSearch", "classical", "2-opt and Or-opt, asymmetric 3-opt; neighbour lists", (_TSP, _ATSP)),
    AgentSpec(
        "iterated-local-search", f"{_A}.local_search:IteratedSearch", "classical", "the same from 1000 local kicks", (_TSP, _ATSP),
    ),
    AgentSpec("lkh", f"{_A}.solvers:Lkh", "classical", "LKH 3 (extra `lkh`, not for commercial use)", (_TSP, _ATSP)),
    AgentSpec("savings", f"{_A}.savings:Savings", "classical", "Clarke and Wright, then exchanges within and between routes", (_CVRP,)),
    AgentSpec("sweep", f"{_A}.savings:Sweep", "classical", "customers by angle, then exchanges within and between routes", (_CVRP,)),
    AgentSpec("sisr", f"{_A}.sisr:Sisr", "classical", "SISR: stretches of routes taken out and put back, 100,000 times", (_CVRP,)),
    AgentSpec("pyvrp", f"{_A}.solvers:PyVrp", "classical", "PyVRP, 1000 iterations", (_CVRP, _OP, _TSP)),
    AgentSpec("pyvrp-16k", f"{_A}.solvers:PyVrp", "classical", "PyVRP, 16,000 iterations", (_CVRP, _OP, _TSP), {"iterations": 16_000}),
    AgentSpec("prize-ratio", f"{_A}.textbook:Textbook", "classical", "the reachable node of most prize per distance", (_OP,)),
    AgentSpec("prize-insertion", f"{_A}.orienteering:PrizeInsertion", "classical", "insertion by squared prize per detour", (_OP,)),
    AgentSpec("iterated-insertion", f"{_A}.orienteering:IteratedInsertion", "classical", "drop a stretch, shorten, insert anew", (_OP,)),
    AgentSpec("ratio-greedy", f"{_A}.textbook:Textbook", "classical", "items by value per weight, each that fits", (_KP,)),
    AgentSpec("knapsack-dp", f"{_A}.knapsack:DynamicProgramming", "classical", "the optimum, by dynamic programming over the capacity", (_KP,)),
    AgentSpec("branch-and-bound", f"{_A}.knapsack:BranchAndBound", "classical", "branch and bound, at most 10^6 nodes", (_KP,)),
    AgentSpec(
        "bq_nco", f"{_A}.bq_nco:BqNco", "learned", "BQ-NCO: a transformer sees what is left and chooses the next", (_TSP, _CVRP, _OP, _KP),
        trainable=True, weights="weights/bq_nco",
    ),
    AgentSpec(
        "bq_nco-beam", f"{_A}.bq_nco:BqNco", "learned", "BQ-NCO with a beam of 16", (_TSP, _CVRP, _OP, _KP),
        {"decode": "beam"}, weights="weights/bq_nco",
    ),
)  # fmt: skip
