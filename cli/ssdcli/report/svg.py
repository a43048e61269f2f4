"""Small charts as SVG, coloured by the page's style sheet so that they follow light and dark."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ssdcli.report.html import Safe, tag

LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 40
COLOURS = 6
LETTER, SIDE_SPACE = 8.5, 70
"""Width of a letter of a title, and of the words beside it, px."""


@dataclass(frozen=True)
class Axis:
    """An axis: its label, its ends, and where it has ticks with which texts."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0 at the low end, 1 at the high one."""
        if self.logarithmic:
            low, high = math.log(self.low), math.log(self.high)
            return (math.log(max(value, self.low)) - low) / (high - low)
        return (value - self.low) / (self.high - self.low)


def shares(label: str) -> Axis:
    """An axis from 0 to 1."""
    return Axis(label, 0, 1, [(tick / 5, f"{tick / 5:g}") for tick in range(6)])


def counts(label: str, most: float) -> Axis:
    """A logarithmic axis of whole numbers of at most `most`, from just below 1."""
    powers = range(max(1, math.ceil(math.log10(max(most, 2)))) + 1)
    return Axis(label, 0.7, 10.0 ** powers[-1], [(10.0**power, f"{10**power:,}") for power in powers], True)


def linear(label: str, low: float, high: float) -> Axis:
    """An axis with three to seven round ticks."""
    span = max(high - low, 1e-9)
    step = 10 ** math.floor(math.log10(span / 3))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [(number * step, f"{number * step:.10g}") for number in range(first, max(last, first + 1) + 1)]
    return Axis(label, ticks[0][0], ticks[-1][0], ticks)


@dataclass
class Chart:
    """A chart that is drawn into, piece by piece.

    Attributes:
        title: above it.
        text: what a reader who does not see it should know.
        x, y: its axes.
        side: a few words at the right of the title.
        size: width and height, px where the page shows it at its own size.
    """

    title: str
    text: str
    x: Axis
    y: Axis
    side: str = ""
    size: tuple[int, int] = (360, 260)
    _parts: list[Safe] = field(default_factory=list)

    def line(self, points: Iterable[tuple[float, float]], kind: str, tip: str | None = None) -> None:
        """A line through points; those that would not be told apart are left out."""
        path: list[tuple[float, float]] = []
        placed = [self._at(*point) for point in points]
        for place in placed:
            if not path or place == placed[-1] or max(abs(place[0] - path[-1][0]), abs(place[1] - path[-1][1])) >= 0.5:
                path.append(place)
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
        self._parts.append(tag("polyline", _tip(tip), points=text, class_=kind))

    def dot(self, x: float, y: float, kind: str, tip: str | None = None) -> None:
        """A point."""
        left, top = self._at(x, y)
        self._parts.append(tag("circle", _tip(tip), cx=_px(left), cy=_px(top), r=4, class_=f"dot {kind}"))

    def bar(self, span: tuple[float, float], height: float, kind: str, tip: str | None = None) -> None:
        """A bar on the x axis."""
        (left, top), right, bottom = self._at(span[0], height), self._at(span[1], 0)[0], self.size[1] - BOTTOM
        whole = {"x": _px(left), "y": _px(top), "width": _px(right - left), "height": _px(max(bottom - top, 0))}
        self._parts.append(tag("rect", _tip(tip), class_=kind, **whole))

    def markup(self) -> Safe:
        """The chart as an element."""
        width, height = self.size
        room = width - LEFT - RIGHT - SIDE_SPACE * bool(self.side)
        frame = {"x": LEFT, "y": TOP, "width": width - LEFT - RIGHT, "height": height - TOP - BOTTOM}
        parts = [
            tag("text", tag("title", self.title), _short(self.title, room), x=LEFT, y=15, class_="title"),
            tag("text", self.side, x=width - RIGHT, y=15, text_anchor="end", class_="side") if self.side else None,
            *self._ticks(),
            *self._parts,
            tag("rect", class_="frame", **frame),
            tag("text", self.x.label, x=(LEFT + width - RIGHT) / 2, y=height - 4, text_anchor="middle"),
            tag(
                "text",
                self.y.label,
                transform=f"translate(11 {(TOP + height - BOTTOM) / 2}) rotate(-90)",
                text_anchor="middle",
            ),
        ]
        text = f"{self.title}: {self.text}"
        return tag("svg", parts, class_="chart", viewBox=f"0 0 {width} {height}", role="img", aria_label=text)

    def _ticks(self) -> Iterable[Safe]:
        width, height = self.size
        for value, text in self.y.ticks:
            top = _px(self._at(self.x.low, value)[1])
            yield tag("line", x1=LEFT, x2=width - RIGHT, y1=top, y2=top, class_="grid")
            yield tag("text", text, x=LEFT - 6, y=float(top) + 4, text_anchor="end")
        for value, text in self.x.ticks:
            left = _px(self._at(value, self.y.low)[0])
            yield tag("line", x1=left, x2=left, y1=TOP, y2=height - BOTTOM, class_="grid")
            yield tag("text", text, x=left, y=height - BOTTOM + 15, text_anchor="middle")

    def _at(self, x: float, y: float) -> tuple[float, float]:
        width, height = self.size
        left = LEFT + self.x.place(x) * (width - LEFT - RIGHT)
        return left, height - BOTTOM - self.y.place(y) * (height - TOP - BOTTOM)


def _px(value: float) -> str:
    return f"{value:.1f}"


def _short(title: str, space: float) -> str:
    """A title, cut off where it would not fit into so many px."""
    most = int(space / LETTER)
    return title if len(title) <= most else title[: most - 1] + "…"


def _tip(text: str | None) -> Safe | None:
    """What a browser shows of an element when it is pointed at."""
    return tag("title", text) if text else None


def legend(names: Sequence[str]) -> Safe:
    """The lines of several series and their names."""
    return tag(
        "ul",
        [
            tag(
                "li",
                tag(
                    "svg",
                    tag("line", x1=1, x2=33, y1=7, y2=7, class_=f"series s{place % COLOURS}"),
                    viewBox="0 0 34 14",
                    aria_hidden="true",
                ),
                name,
            )
            for place, name in enumerate(names)
        ],
        class_="legend",
    )
