"""Combinatorial optimisation by construction: TSP, ATSP, CVRP, OP and KP, one node at a time. docs/combinatorial.md."""

from arena.registry import DomainSpec, TaskSpec

DOMAIN = DomainSpec(
    name="combinatorial",
    summary="Combinatorial optimisation: build tours, routes and packings one node at a time",
    tasks=(
        TaskSpec("tsp20-tiny-v1", "tiny", 32, "travelling salesman, 20 uniform nodes; exact optimum; seconds", ranked=False),
        TaskSpec("atsp20-tiny-v1", "tiny", 32, "asymmetric travelling salesman, 20 nodes; exact optimum", ranked=False),
        TaskSpec("cvrp20-tiny-v1", "tiny", 32, "vehicle routing, 20 customers, capacity 30; exact optimum", ranked=False),
        TaskSpec("op20-tiny-v1", "tiny", 32, "orienteering, 20 nodes, budget 2; exact optimum", ranked=False),
        TaskSpec("kp50-tiny-v1", "tiny", 32, "knapsack, 50 uniform items, capacity 12,500; exact optimum", ranked=False),
        TaskSpec("tsp100-v1", "standard", 1000, "travelling salesman, 100 uniform nodes (the seed-1234 set's first 1000)"),
        TaskSpec("cvrp100-v1", "standard", 1000, "vehicle routing, 100 customers, capacity 50"),
        TaskSpec("atsp100-v1", "standard", 128, "asymmetric travelling salesman, 100 nodes with triangle inequality"),
        TaskSpec("op100-v1", "standard", 256, "orienteering, 100 nodes, prizes by distance, budget 4"),
        TaskSpec("kp200-hard-v1", "standard", 300, "knapsack, 200 items of Pisinger's three hard classes"),
        TaskSpec("tsp200-v1", "large", 128, "travelling salesman, 200 uniform nodes (the seed-777 set)"),
        TaskSpec("tsp500-v1", "large", 128, "travelling salesman, 500 uniform nodes (the seed-777 set)"),
        TaskSpec("cvrp200-v1", "large", 128, "vehicle routing, 200 customers, capacity 80"),
        TaskSpec("tsplib-real-v1", "real", 17, "TSPLIB95 instances of 16 to 1002 nodes with coordinates, integer distances", needs="tsplib"),
        TaskSpec("cvrplib-x-real-v1", "real", 12, "Uchoa et al.'s X instances of 100 to 1000 customers", needs="cvrplib"),
    ),
    load="domains.combinatorial.tasks:load",
    check="domains.combinatorial.files:check_folder",
    fetch="domains.combinatorial.fetch:fetch",
    figures="domains.combinatorial.figures",
    bench="domains.combinatorial.bench:figures",
    solve="domains.combinatorial.solve",
    suite=("tsp100-v1", "cvrp100-v1", "atsp100-v1", "op100-v1", "kp200-hard-v1"),
)
