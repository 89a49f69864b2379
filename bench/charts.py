"""Bars, for a terminal and for a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_BAR = 40  # characters
_LABEL, _WIDEST, _ROW, _GAP = 230, 340, 20, 34  # pixels
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.t{font-weight:bold}rect{fill:#4a7fb5}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a chart: its label, what decides the length, and the text beside it."""

    label: str
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars that are compared with one another."""

    title: str
    bars: Sequence[Bar]

    @property
    def longest(self) -> float:
        """The value of the longest bar."""
        return max((bar.value for bar in self.bars), default=0.0) or 1.0


def bar(value: float, longest: float) -> str:
    """A bar of characters, as long as ``value`` is beside ``longest``."""
    return "█" * max(1, round(value / longest * _BAR))


def draw(chart: Chart) -> None:
    """Print a chart, unless it is empty."""
    if not chart.bars:
        return
    print(f"\n{chart.title}")
    widest = max(len(each.label) for each in chart.bars)
    for each in chart.bars:
        print(f"  {each.label:{widest}} {bar(each.value, chart.longest)} {each.text}")


def svg(charts: Sequence[Chart]) -> str:
    """One picture of the charts, one below the other. The same charts give the same bytes."""
    parts, top = [], 0
    for chart in charts:
        parts.append(f'<text class="t" x="0" y="{top + 16}">{escape(chart.title)}</text>')
        for number, each in enumerate(chart.bars):
            parts.append(_svg_row(each, chart.longest, top + 24 + number * _ROW))
        top += len(chart.bars) * _ROW + _GAP
    width = _LABEL + _WIDEST + 180
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>\n"])


def _svg_row(each: Bar, longest: float, top: int) -> str:
    length = max(1, round(each.value / longest * _WIDEST))
    return (
        f'<text x="0" y="{top + 14}">{escape(each.label)}</text>'
        f'<rect x="{_LABEL}" y="{top + 3}" width="{length}" height="{_ROW - 6}"/>'
        f'<text x="{_LABEL + length + 6}" y="{top + 14}">{escape(each.text)}</text>'
    )
