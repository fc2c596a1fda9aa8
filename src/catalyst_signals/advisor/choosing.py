"""The decision matrix's own helpers, under their names and in its words, and where its flowcharts lead.

Owns: its code and its charts as they stand there, with every hole closed, and what we say beside them.
Law: where its code answers, that is the answer; where it says nothing, the rule before it goes on.
"""

from __future__ import annotations

from catalyst_signals.advisor.costing import best_that_fits, or_any, recommended, total
from catalyst_signals.advisor.sizing import limit, size_of, whole, yes_or_no
from catalyst_signals.advisor.tables import Bill, Scale, options, sizes

DIRECT, PUBSUB, STREAMS, KAFKA = "None (direct WebSocket)", "Redis Pub/Sub", "Redis Streams", "Apache Kafka"

FREE = "Local development or Railway.app (free tier)"
PAAS = "Railway.app or Heroku"
DROPLET = "DigitalOcean Droplet ($12/mo)"
MANAGED = "DigitalOcean Managed Services ($120/mo)"
FARGATE = "AWS ECS Fargate ($300-400/mo)"
LARGE = "AWS ECS + Auto-scaling + Multi-AZ ($800+/mo)"

PRICES: dict[str, tuple[float, float | None]] = {  # As the answers say; of the first two as its tables do.
    FREE: (0, 5), PAAS: (5, 10), DROPLET: (12, 12), MANAGED: (120, 120), FARGATE: (300, 400), LARGE: (800, None),
}  # fmt: skip


class Answer(str):
    """What a helper of the matrix says, word for word, and what we say to the same question.

    `low` and `high` are dollars a month of what the matrix says, None where it has no figure. `best_that_fits` is the
    name of what does fit, where that does not.
    """

    __slots__ = ("best_that_fits", "fits_budget", "high", "low", "ours", "why")
    ours: str
    low: float | None
    high: float | None
    fits_budget: bool
    best_that_fits: str | None
    why: str


def choose_message_queue(users: int, signals_per_day: int, need_replay: bool) -> Answer:
    """The matrix's answer; ours follows users and signals, since replay comes from the store whatever the broker.

    Raises:
        InvalidRequest: an argument is no number from 0, or no yes or no.
    """
    whole("users", users)
    whole("signals_per_day", signals_per_day)
    yes_or_no("need_replay", need_replay)
    said, scale = _queue(users, signals_per_day, need_replay), size_of(users, signals_per_day)
    option = options("queue")[sizes()[scale].stack["queue"].pick]
    ours = said if said in (option.name, *option.also) else option.name
    why = f"{sizes()[scale].stack['queue'].why}: {users:,} users and {signals_per_day:,} signals a day are {scale}"
    if need_replay:
        why += "; replay comes from the store at every size, so it forces no broker"
    free = 0.0 if said == DIRECT else None
    return _answer(said, ours=ours, low=free, high=free, fits_budget=True, best_that_fits=None, why=why)


def choose_deployment(users: int, budget: float | None, devops_hours: float | None) -> Answer:
    """The matrix's answer and whether it fits; None for budget or hours is no limit.

    Raises:
        InvalidRequest: an argument is no number from 0.
    """
    whole("users", users)
    limit("budget", budget)
    limit("devops_hours", devops_hours)
    return deployment_for(size_of(users, 0), users, budget, devops_hours)


def deployment_for(scale: Scale, users: int, budget: float | None, devops_hours: float | None) -> Answer:
    """The same where the size is known, by signals too: the matrix asks users only."""
    said = _deployment(users, or_any(budget), or_any(devops_hours))
    low, high = PRICES[said]
    bill, fits_budget = recommended(scale, budget, devops_hours), low <= or_any(budget)
    return _answer(
        said, ours=f"{bill.name} ({_price(*total(bill))})", low=low, high=high, fits_budget=fits_budget,
        best_that_fits=None if fits_budget else best_that_fits(scale, budget, devops_hours).name,
        why=_why(bill, budget, devops_hours),
    )  # fmt: skip


def _answer(said: str, **known: object) -> Answer:
    answer = Answer(said)
    for name, value in known.items():
        setattr(answer, name, value)
    return answer


def _queue(users: int, signals: int, replay: bool) -> str:
    """Its code: it answers always, since who has at most 100 users or needs replay has answered before the end."""
    if users <= 5 and not replay:
        return DIRECT
    if users <= 20 and not replay:
        return PUBSUB
    if users <= 100 or signals < 5000:
        return STREAMS
    return KAFKA


def _deployment(users: int, budget: float, hours: float) -> str:
    """Its code, whose last rule but one ends at $500 and leaves what is above without an answer: there it goes on."""
    if users <= 5 and budget < 10:
        return FREE
    if users <= 20 and hours < 4:
        return PAAS
    if users <= 20 and budget < 50:
        return DROPLET
    if users <= 100 and hours < 8:
        return MANAGED
    if users <= 100:
        return FARGATE
    return LARGE


def _why(bill: Bill, budget: float | None, hours: float | None) -> str:
    limits = [f"${budget:,.0f} a month" if budget is not None else "any budget"]
    limits += [f"{hours:g} hours a week" if hours is not None else "any number of hours"]
    given = " and ".join(limits)
    return f"{bill.name} is what we take for {bill.scale} with {given}; it needs {bill.hours:g} hours a week"


def _price(low: float, high: float | None) -> str:
    if high is None:
        return f"${low:,.0f}+/mo"
    return f"${low:,.0f}/mo" if low == high else f"${low:,.0f}-{high:,.0f}/mo"


# --- The three flowcharts and the cache tree -------------------------------------------------------------------------


def chart_of_users(users: int) -> str:
    """Where "How many users?" leads. 5, 20 and 100 belong to the smaller size; the chart has nothing for 100."""
    return {
        "mvp": "MVP Stack (SQLite, Local/Railway)",
        "small": "Small Stack (PostgreSQL, DO Droplet)",
        "medium": "Medium Stack (Redis Streams, ECS)",
        "large": "Large Stack (Kafka, Multi-region)",
    }[size_of(users, 0)]


def chart_of_budget(budget: float | None) -> str:
    """Where "What's your budget?" leads. $10, $50 and $500 stand in two bands each: they belong to the smaller."""
    dollars = or_any(budget)
    if dollars <= 10:
        return "Local or Railway.app"
    if dollars <= 50:
        return "DigitalOcean or Heroku"
    return "AWS ECS or DO Managed" if dollars <= 500 else "Full AWS with auto-scaling"


def chart_of_experience(hours: float | None) -> str:
    """Where "DevOps experience?" leads; none is below 4 hours a week, basic below 8, as its helper counts."""
    if or_any(hours) < 4:
        return "Use PaaS (Railway, Heroku)"
    return "DigitalOcean or simple AWS" if or_any(hours) < 8 else "AWS ECS, Kubernetes"


def cache_tree(users: int, *, persistent: bool, several: bool) -> str:
    """Where "Do you need persistence?" leads. It has nothing for 100 users: they are Medium, as fewer are."""
    if not persistent:
        return "In-memory dict (MVP)" if size_of(users, 0) == "mvp" and not several else "Memcached (production)"
    if not several:
        return "Redis"
    return "Redis Sentinel (HA)" if users <= 100 else "Redis Cluster (sharding)"
