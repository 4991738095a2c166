"""Bidders: classical baselines, planners and learned agents. docs/bidding.md."""

from arena.registry import AgentSpec

_C, _P = "agents.bidding.classical", "agents.bidding.planners"
_ALL = ("bidding/*",)
_BUDGET = tuple(f"bidding/{name}-*" for name in ("tiny", "standard", "drift", "first-price", "large", "real", "ipinyou"))
_TABLES = ("bidding/tiny-*", "bidding/standard-*", "bidding/drift-*", "bidding/real-*", "bidding/ipinyou-*")

AGENTS = (
    AgentSpec("const", f"{_C}:Constant", "classical", "the best constant bid of the history", _ALL),
    AgentSpec("rand", f"{_C}:Random", "classical", "a bid uniform in 0..u", _ALL),
    AgentSpec("mcpc", f"{_C}:Mcpc", "classical", "truthful at the history's cost per click; ignores the budget", _ALL),
    AgentSpec("lin", f"{_C}:Linear", "classical", "linear in the value, slope tuned on history", _ALL),
    AgentSpec("ortb", f"{_C}:Ortb", "classical", "concave in the value: optimal for a fitted win curve under first price", _ALL),
    AgentSpec("ss-mdp", f"{_P}:SsMdp", "classical", "RLB's table without features", _TABLES),
    AgentSpec("rlb", f"{_P}:Rlb", "classical", "RLB: exact dynamic programming over auctions and budget", _TABLES),
    AgentSpec(
        "rlb-joint", f"{_P}:RlbJoint", "classical", "dynamic programming on the joint law of value and price",
        ("bidding/tiny-*", "bidding/standard-*", "bidding/drift-*", "bidding/real-*"),
    ),
    AgentSpec(
        "rlb-nn", "agents.bidding.rlb_nn:RlbNn", "learned", "RLB with a network for the marginal value of budget (MapA)",
        ("bidding/tiny-*", "bidding/standard-*", "bidding/drift-*", "bidding/large-*"), trainable=True, weights="weights/rlb-nn",
    ),
    AgentSpec("resolve", f"{_C}:Resolve", "classical", "re-solves the fluid LP at every auction", _ALL),
    AgentSpec("shaded", f"{_C}:Shaded", "classical", "re-solving with bids shaded for first price", ("bidding/first-price-*",)),
    AgentSpec("dual", f"{_C}:Dual", "classical", "dual descent on the spend, eta 0.01", _ALL),
    AgentSpec("dual-slow", f"{_C}:Dual", "classical", "dual descent, eta 0.003", _ALL, {"eta": 0.003}),
    AgentSpec("dual-fast", f"{_C}:Dual", "classical", "dual descent, eta 0.03", _ALL, {"eta": 0.03}),
    AgentSpec("pid", f"{_C}:Pid", "classical", "PID pacing of the coefficient per slot", _ALL),
    AgentSpec("pid-threshold", f"{_C}:PidThreshold", "classical", "AuctionNet's threshold pacing per slot", _ALL),
    AgentSpec("online-lp", f"{_C}:OnlineLp", "classical", "LP on past auctions, re-solved every slot", _ALL),
    AgentSpec("cpa-cap", f"{_C}:CpaCap", "classical", "budget and cost-per-conversion frontier, re-solved every slot", ("bidding/cpa-*",)),
    AgentSpec(
        "pace-net", "agents.bidding.pace_net:PaceNet", "learned", "re-solving with a learned correction", _BUDGET,
        trainable=True, weights="weights/pace-net",
    ),
)  # fmt: skip
