"""The plot of a result file, as PNG and SVG beside it. Needs matplotlib only."""

import json
import sys
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

PANELS = {
    "W1": ("net_publish_us", "W1 selective: CPU µs a publish", "less is better"),
    "W2": ("net_delivery_us", "W2 steady: CPU µs a delivery", "less is better"),
    "W3": ("net_delivery_us", "W3 burst: CPU µs a delivery", "less is better"),
    "W4": ("net_delivery_us", "W4 wide: CPU µs a delivery", "less is better"),
    "W7": ("rss_kib_per_connection", "W7 idle: RSS KiB a connection", "less is better"),
    "W10": ("per_s", "W10 publishing: signals a second", "more is better"),
}
OURS, LIMIT, PEER = "#c8501e", "#b5b5b5", "#7d9cbf"
LOG_FROM = 20  # how many times the lowest the highest must be


def main():
    source = Path(sys.argv[1])
    content = json.loads(source.read_text())
    rows = [row for row in content["rows"] if "error" not in row]
    panels = [load for load in PANELS if any(row["load"] == load for row in rows)]
    if not panels:
        return
    plt.rcParams |= {"svg.hashsalt": "catalyst", "font.size": 14, "font.family": "DejaVu Sans"}
    figure, axes = plt.subplots(-(-len(panels) // 2), 2, figsize=(16, 4.6 * -(-len(panels) // 2)), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, load in zip(axes.flat, panels, strict=False):
        field, title, which = PANELS[load]
        draw(axis, named([row for row in rows if row["load"] == load and field in row], field), title, which)
    figure.suptitle(heading(content["about"]), fontsize=14)
    figure.tight_layout(rect=(0, 0, 1, 0.985), h_pad=2.5, w_pad=2)
    for kind in ("png", "svg"):
        figure.savefig(source.with_suffix(f".{kind}"), dpi=100, metadata={"Date": None} if kind == "svg" else None)


def heading(about):
    """What was measured, where, and what the figures have taken off."""
    quick = "QUICK RUN, SMALL COUNTS: it shows that all works, not how fast it is\n" if about["quick"] else ""
    what = "W1 to W4 less what the same publishes cost with nobody listening. Whiskers: lowest and highest round."
    return f"{quick}Catalyst {about['commit']} beside its peers\n{about['machine']}\n{what}"


def named(rows, field):
    """The values of each bar."""
    values = {}
    for row in rows:
        way = row.get("way", "").replace(", 256 in flight", "").replace(", 16 connections", " × 16")
        values.setdefault(row["system"] + (f": {way}" if way else ""), []).append(max(row[field], 0.001))
    return values


def draw(axis, values, title, which):
    """One load: the median of each system, the best on top, with its lowest and highest."""
    best_last = which == "less is better"
    names = sorted(values, key=lambda name: median(values[name]), reverse=best_last)
    middles = [median(values[name]) for name in names]
    spread = [[m - min(values[n]) for m, n in zip(middles, names, strict=True)],
              [max(values[n]) - m for m, n in zip(middles, names, strict=True)]]  # fmt: skip
    colours = [OURS if n.startswith("catalyst") else LIMIT if n.startswith("c-loop") else PEER for n in names]
    bars = axis.barh(names, middles, xerr=spread, color=colours, error_kw={"lw": 1, "ecolor": "#444444"})
    shown = [f"{m:,.2f}" if m < 10 else f"{m:,.1f}" if m < 100 else f"{m:,.0f}" for m in middles]
    axis.bar_label(bars, shown, padding=6, fontsize=13)
    wide = max(middles) > LOG_FROM * min(middles)
    if wide:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(x=0.18)
    axis.set_title(title, fontsize=15, loc="left", fontweight="bold")
    axis.set_xlabel(f"{which}{', log scale' if wide else ''}", fontsize=11, color="#555555")
    axis.spines[["top", "right"]].set_visible(False)
    for label in axis.get_yticklabels():
        if label.get_text().startswith("catalyst"):
            label.set(color=OURS, fontweight="bold")


if __name__ == "__main__":
    main()
