"""Curves in a terminal, in braille dots: eight to a character, and nothing but text."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from elbo_cli.errors import printable
from elbo_cli.report.curves import Points

BLANK = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a braille character, by column and row
STYLES = ("cyan", "yellow", "green", "magenta", "blue", "red")
TICKS = 5  # numbers beside the canvas


def plot(title: str, curves: Mapping[str, Points], width: int, height: int = 16) -> RenderableType:
    """Curves over one another, with numbers beside and below, and their names.

    Args:
        title: what is drawn, with its unit.
        curves: name -> points (x, y), which are joined by straight lines.
        width: characters in all.
        height: lines of the canvas.
    """
    points = [point for curve in curves.values() for point in curve]
    (left, right), (low, high) = (_ends([point[axis] for point in points]) for axis in (0, 1))
    beside = [f"{low + (high - low) * (height - 1 - row) / (height - 1):.2f}" for row in range(height)]
    margin = max(map(len, beside))
    canvas = Canvas(max(8, width - margin - 2), height)
    for number, curve in enumerate(curves.values()):
        canvas.draw([((x - left) / (right - left), (y - low) / (high - low)) for x, y in curve], number)
    marked = {round(k * (height - 1) / (TICKS - 1)) for k in range(TICKS)}
    rows = [
        Text(f"{beside[r] if r in marked else '':>{margin}} ┤").append(line) for r, line in enumerate(canvas.lines())
    ]
    below = f"{left:g}".ljust(canvas.width - len(f"{right:g}")) + f"{right:g}"
    edge = " " * (margin + 2)
    shown = [Text(f"━ {printable(name)}", style=_style(number)) for number, name in enumerate(curves)]
    together = Text("   ").join(shown)
    names = [together] if len(edge) + len(together) <= width else shown
    below_it = [Text(edge).append(name) if name is together else name for name in names]
    return Group(Text(title, style="bold"), *rows, Text(edge + below, style="dim"), *below_it)


def _style(number: int) -> str:
    return STYLES[number % len(STYLES)]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest, never the same."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


class Canvas:
    """A grid of braille characters; each remembers the curve that was there last."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._dots = [[0] * width for _ in range(height)]
        self._owner = [[0] * width for _ in range(height)]

    def draw(self, points: Points, owner: int) -> None:
        """Join points of the unit square, from below left to above right, by straight lines."""
        across, up = 2 * self.width - 1, 4 * self.height - 1
        places = [(round(x * across), round((1 - y) * up)) for x, y in points]
        for (x0, y0), (x1, y1) in zip(places, places[1:] or places, strict=False):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            for step in range(steps + 1):
                self._dot(round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps), owner)

    def _dot(self, x: int, y: int, owner: int) -> None:
        if 0 <= x < 2 * self.width and 0 <= y < 4 * self.height:  # what lies outside is not drawn
            self._dots[y // 4][x // 2] |= DOTS[x % 2][y % 4]
            self._owner[y // 4][x // 2] = owner

    def lines(self) -> list[Text]:
        """The canvas, line by line."""
        return [
            Text.assemble(*((chr(BLANK + dots), _style(owner)) for dots, owner in zip(row, owners, strict=True)))
            for row, owners in zip(self._dots, self._owner, strict=True)
        ]
