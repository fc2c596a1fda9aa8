"""Figures of one load: medians over the rounds, and ratios within a round, to the C loop and to the best peer."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from bench.peers.run import Row

OURS, LIMIT = "catalyst", "c-loop"
NET = {"W1": "net_publish_us", "W2": "net_delivery_us", "W3": "net_delivery_us", "W4": "net_delivery_us"}
IN_ALL = {load: field.removeprefix("net_") for load, field in NET.items()}
# What else is compared: the field, and which end of it is the good one.
OTHERS: dict[str, tuple[str, Callable[..., float]]] = {
    "W5": ("net_delivery_us", min), "W5 filtered": ("net_delivery_us", min), "W6": ("per_s", max),
    "W7": ("rss_kib_per_connection", min), "W9": ("took_s", min), "W10": ("per_s", max),
}  # fmt: skip


def compared(rows: list[Row]) -> list[Row]:
    """The rows of one load, each with `x_c` and `x_best` of its own round; those of W1 to W4 also with `.._in_all`."""
    return [row | ratios(row, [other for other in rows if other["round"] == row["round"]]) for row in rows]


def ratios(row: Row, beside: list[Row]) -> Row:
    """What a row is in relation to those of the same round."""
    load = row["load"]
    if load in NET:
        net, in_all = (against(row, beside, field, min) for field in (NET[load], IN_ALL[load]))
        return net | {f"{name}_in_all": ratio for name, ratio in in_all.items()}
    found = against(row, beside, *OTHERS[load]) if load in OTHERS else {}
    if load == "W10" and (synced := middle(beside, "per_s", "nats-server, fsync", "pipelined")):
        found["x_fsync"] = row["per_s"] / synced
    return found


def against(row: Row, beside: list[Row], field: str, best: Callable[..., float]) -> Row:
    """The ratios of one field; under W10 only the same way of publishing is compared."""
    if row.get(field) is None:
        return {}
    alike = [other for other in beside if other.get(field) and (row["load"] != "W10" or way(other) == way(row))]
    limit = [other[field] for other in alike if other["system"] == LIMIT]
    peers = [other[field] for other in alike if is_peer(other["system"])]
    found = {"x_c": row[field] / limit[0]} if limit else {}
    return found | ({"x_best": row[field] / best(peers)} if peers else {})


def way(row: Row) -> str:
    """The first word of the way to publish: single, pipelined, batches."""
    return str(row.get("way", "")).split(",")[0].split(" ")[0]


def is_peer(system: str) -> bool:
    """Whether people use it today."""
    return system != OURS and not system.startswith(LIMIT)


def middle(rows: list[Row], field: str, system: str = OURS, way: str = "") -> float | None:
    """The median over the rounds; `way` is a part of the row's."""
    values = [row[field] for row in rows
              if row["system"] == system and way in row.get("way", "") and row.get(field) is not None]  # fmt: skip
    return median(values) if values else None


def ratio_to(rows: list[Row], field: str, other: str, way: str = "", other_way: str = "") -> float | None:
    """The median of ours to another system's, each within its round."""
    found = []
    for round in {row["round"] for row in rows}:
        mine = [row for row in rows if row["round"] == round]
        ours, theirs = middle(mine, field, OURS, way), middle(mine, field, other, other_way or way)
        if ours is not None and theirs:
            found.append(ours / theirs)
    return median(found) if found else None
