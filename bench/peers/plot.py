"""The plot of a result file, as PNG and SVG beside it. Needs matplotlib only."""

import json
import sys
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = {
    "W2": ("net_delivery_us", "W2 steady: CPU us a delivery"),
    "W3": ("net_delivery_us", "W3 burst: CPU us a delivery"),
    "W4": ("net_delivery_us", "W4 wide: CPU us a delivery"),
    "W1": ("net_publish_us", "W1 selective: CPU us a publish"),
    "W7": ("rss_kib_per_connection", "W7 idle: RSS KiB a connection"),
    "W10": ("per_s", "W10 publish: signals a second"),
}
OURS, LIMIT, PEER = "#c8501e", "#9a9a9a", "#3b6ea5"


def main() -> None:
    source = Path(sys.argv[1])
    content = json.loads(source.read_text())
    rows = [row for row in content["rows"] if "error" not in row]
    panels = [(load, *PANELS[load]) for load in PANELS if any(row["load"] == load for row in rows)]
    if not panels:
        return
    plt.rcParams["svg.hashsalt"] = "catalyst"
    figure, axes = plt.subplots((len(panels) + 1) // 2, 2, figsize=(13, 3.4 * ((len(panels) + 1) // 2)), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (load, field, title) in zip(axes.flat, panels, strict=False):
        draw(axis, [row for row in rows if row["load"] == load and field in row], field, title)
    about = content["about"]
    figure.suptitle(
        f"{about['at'][:10]}, {about['machine']}{', QUICK: small counts' if about['quick'] else ''}", fontsize=8
    )
    figure.tight_layout()
    for kind in ("png", "svg"):
        figure.savefig(source.with_suffix(f".{kind}"), dpi=110, metadata={"Date": None} if kind == "svg" else None)


def draw(axis, rows, field, title):
    """One load: the median of each system, with its lowest and highest."""
    values = {}
    for row in rows:
        values.setdefault(row["system"] + (f": {row['way']}" if row.get("way") else ""), []).append(max(row[field], 0))
    names = sorted(values, key=lambda name: median(values[name]), reverse=True)
    middles = [median(values[name]) for name in names]
    spread = [[m - min(values[n]) for m, n in zip(middles, names, strict=True)],
              [max(values[n]) - m for m, n in zip(middles, names, strict=True)]]  # fmt: skip
    colours = [OURS if n.startswith("catalyst") else LIMIT if n.startswith("c-loop") else PEER for n in names]
    bars = axis.barh(names, middles, xerr=spread, color=colours, error_kw={"lw": 0.8})
    axis.bar_label(bars, [f" {m:,.2f}" if m < 100 else f" {m:,.0f}" for m in middles], fontsize=7)
    axis.margins(x=0.12)
    axis.set_title(title, fontsize=10)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
