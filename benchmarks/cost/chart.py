"""The chart: what a test costs beyond bare pytest, a bar for one process and one for -n 2, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from math import ceil, log10

from . import measures
from .cells import mode
from .contestants import ALL, BARE
from .figures import MICRO, cost
from .measures import Results

MODES = (0, 2)
LABELS, WIDTH, VALUES = 210, 480, 80
BAR, GAP, TOP, BOTTOM = 14, 12, 62, 34
#: The scale's left end, in µs; what is less, or less than nothing by noise, gets the shortest bar.
LEAST = 10.0
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.back { fill: #ffffff; }
.small { font-size: 11px; fill: #59636e; }
.title { font-size: 15px; font-weight: 600; }
.grid { stroke: #d1d9e0; }
.mode0 { fill: #0969da; }
.mode1 { fill: #bc4c00; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .back { fill: #0d1117; }
  .small { fill: #9198a1; }
  .grid { stroke: #3d444d; }
  .mode0 { fill: #4493f8; }
  .mode1 { fill: #db6d28; }
}
"""


@dataclass(frozen=True, slots=True)
class Bars:
    """A contestant's label, and its microseconds for each of `MODES`; None where there is no number."""

    label: str
    values: tuple[float | None, ...]


def chart(results: Results) -> str:
    """Return the SVG of what was measured."""
    groups = []
    for each in ALL:
        if each != BARE:
            seconds = [cost(results, each.name, workers, measures.wall) for workers in MODES]
            groups.append(Bars(each.name, tuple(None if one is None else one * MICRO for one in seconds)))
    title = "What reporting costs a test beyond bare pytest, µs of wall clock, logarithmic"
    return drawing(title, [mode(workers) for workers in MODES], groups)


def drawing(title: str, legend: list[str], groups: list[Bars]) -> str:
    """Return the SVG of labelled bars; dark where the reader's system is."""
    group = len(legend) * BAR + GAP
    height = TOP + group * len(groups) + BOTTOM
    largest = max([LEAST * 10, *(value for each in groups for value in each.values if value is not None)])
    decades = ceil(log10(largest / LEAST))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LABELS + WIDTH + VALUES} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        # A page need not follow the reader's system, as this does: it brings its own ground.
        f'<rect class="back" width="{LABELS + WIDTH + VALUES}" height="{height}"/>',
        f'<text class="title" x="10" y="22">{escape(title)}</text>',
        *_legend(legend),
        *_grid(decades, height),
    ]
    for number, each in enumerate(groups):
        lines += _bars(each, TOP + group * number, decades)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _legend(names: list[str]) -> Iterator[str]:
    for number, name in enumerate(names):
        x = LABELS + 120 * number
        yield f'<rect class="mode{number}" x="{x}" y="36" width="12" height="12"/>'
        yield f'<text class="small" x="{x + 18}" y="46">{escape(name)}</text>'


def _grid(decades: int, height: int) -> Iterator[str]:
    bottom = height - BOTTOM
    for decade in range(decades + 1):
        x = LABELS + WIDTH * decade / decades
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}"/>'
        words = f"{LEAST * 10**decade:,.0f} µs"
        yield f'<text class="small" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{words}</text>'


def _bars(bars: Bars, y: int, decades: int) -> Iterator[str]:
    middle = y + len(bars.values) * BAR / 2 + 4
    yield f'<text text-anchor="end" x="{LABELS - 10}" y="{middle:.1f}">{escape(bars.label)}</text>'
    for number, value in enumerate(bars.values):
        top = y + number * BAR
        width = 0.0 if value is None else max(2.0, WIDTH * log10(max(value, LEAST) / LEAST) / decades)
        words = "not measured" if value is None else f"{value:,.0f}"
        yield f'<rect class="mode{number}" x="{LABELS}" y="{top}" width="{width:.1f}" height="{BAR - 2}"/>'
        yield f'<text class="small" x="{LABELS + width + 5:.1f}" y="{top + BAR - 4}">{words}</text>'
