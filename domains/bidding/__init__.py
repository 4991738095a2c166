"""Real-time bidding in display advertising: one campaign, one budget, N auctions in sequence. docs/bidding.md."""

from arena.registry import DomainSpec, TaskSpec

CAMPAIGNS = ("1458", "2259", "2261", "2821", "2997", "3358", "3386", "3427", "3476")

DOMAIN = DomainSpec(
    name="bidding",
    summary="Real-time bidding: win the most value within one campaign's budget",
    tasks=(
        TaskSpec("tiny-v1", "tiny", 16, "2 campaigns, 100 auctions; exact integer bound; seconds", ranked=False),
        TaskSpec("standard-v1", "standard", 1920, "6 campaigns x 5 budgets x 64 episodes of 1000 auctions, second price"),
        TaskSpec("drift-v1", "standard", 768, "prices and values change once within the episode"),
        TaskSpec("first-price-v1", "standard", 960, "pay what you bid: needs shading"),
        TaskSpec("cpa-v1", "standard", 64, "48 slots, a budget and a limit on the cost per conversion"),
        TaskSpec("large-v1", "large", 120, "100,000 auctions: no exact table fits"),
        TaskSpec("real-1458-v1", "real", 300, "100,000 real auctions of campaign 1458, replayed", needs="rtbcontrol"),
        *(TaskSpec(f"ipinyou-{c}-v1", "real", 0, f"your iPinYou files of campaign {c}, replayed", needs="ipinyou") for c in CAMPAIGNS),
    ),
    load="domains.bidding.tasks:load",
    check="domains.bidding.files:check_folder",
    figures="domains.bidding.figures",
    bench="domains.bidding.bench:figures",
    suite=("standard-v1", "drift-v1", "first-price-v1"),
)
