"""The index of all targets: what each is for, at which scales, for which of the advisor's prices.

Owns: `bills_of` and the page `README.md`. Knows nothing of what a set is made of.
"""

from __future__ import annotations

from catalyst_signals.advisor.costing import dollars, total
from catalyst_signals.advisor.tables import Bill, bills
from catalyst_signals.deploy import Target, targets

_HEAD = """# Where to run Catalyst

Made by `catalyst deploy all --out deploy`: every target at its first scale. Do not edit it by hand, its sources are in
`src/catalyst_signals/deploy/`. For an installation of your own: `catalyst deploy TARGET --out DIR`, then the page of
that target.

Prices are dollars a month, named as `catalyst advise` names them; it says what they are made of, and which target fits
your users, signals, budget and hours.

| target | what for | scales | what it costs |
|---|---|---|---|
"""


def index_of() -> str:
    """The page, with a line for each target."""
    rows = (
        f"| [`{target.name}`]({target.name}.md) | **{target.title}**. {target.about} | {', '.join(target.scales)} "
        f"| {'; '.join(map(_priced, bills_of(target))) or '-'} |"
        for target in targets().values()
    )
    return _HEAD + "\n".join(rows) + "\n"


def bills_of(target: Target) -> list[Bill]:
    """What each of its scales costs; the advisor has not one for every scale of every platform."""
    return [
        bill for scale in target.scales for bill in bills() if (bill.platform, bill.scale) == (target.platform, scale)
    ]


def _priced(bill: Bill) -> str:
    return f"{bill.scale}: {bill.name}, {dollars(*total(bill))}"
