"""How every figure looks: one palette that colour-blind eyes can tell apart, for light and for dark, and no window."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, lightened for a dark page
LIGHT = {
    "ink": "#1b1f27",
    "muted": "#5d6675",
    "rule": "#dfe3e9",
    "blue": "#0072b2",
    "orange": "#d55e00",
    "green": "#009e73",
    "purple": "#aa4a8c",
    "amber": "#c98500",
    "sky": "#3a9bdc",
}
DARK = {
    "ink": "#e7eaf0",
    "muted": "#9aa5b5",
    "rule": "#333b47",
    "blue": "#4db3ef",
    "orange": "#ff8f4a",
    "green": "#35c79b",
    "purple": "#e08ec6",
    "amber": "#f0b73f",
    "sky": "#8fd0ff",
}
SERIES = ("blue", "orange", "green", "purple", "amber", "sky")
SIZE = (4.5, 3.0)  # inches: what a phone shows with letters that can be read
ROW = 40  # letters that a row of names has room for
RC: dict[str, Any] = {
    "svg.fonttype": "none",  # letters stay letters
    "svg.hashsalt": "elbo",  # the same records give the same file
    "font.size": 11,
    "axes.edgecolor": LIGHT["rule"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlecolor": LIGHT["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["rule"],
    "grid.linewidth": 0.7,
    "xtick.color": LIGHT["rule"],
    "ytick.color": LIGHT["rule"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["muted"],
    "text.color": LIGHT["ink"],
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing: as SVG, whose colours are the page's variables, and as PNG on white."""

    name: str
    svg: str
    png: bytes


@dataclass(frozen=True, slots=True)
class Figure:
    """Drawings with a title, and a caption that says what to see in them."""

    title: str
    caption: str
    panels: tuple[Panel, ...] = ()


@dataclass(slots=True)
class Drawing:
    """A panel while it is drawn."""

    name: str
    axes: Axes
    canvas: Canvas
    panels: list[Panel] = field(default_factory=list)

    def legend(self) -> None:
        """Names of what is drawn, below it: there they hide nothing."""
        handles, labels = self.axes.get_legend_handles_labels()
        narrow = len(labels) == 4 or len("".join(labels)) > ROW
        self.canvas.legend(handles, labels, loc="outside lower center", ncols=2 if narrow else min(len(labels), 3))

    @property
    def panel(self) -> Panel:
        """The panel, once `drawing` has ended."""
        return self.panels[0]


@contextmanager
def drawing(name: str, title: str, x: str = "", y: str = "", size: tuple[float, float] = SIZE) -> Iterator[Drawing]:
    """Axes to draw on; afterwards the drawing's `panel` is there. The file's name is `name`."""
    with rc_context(RC):  # type: ignore[arg-type]  # a literal type of three hundred names
        canvas = Canvas(figsize=size, layout="constrained")
        axes = canvas.add_subplot()
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        drawn = Drawing(name, axes, canvas)
        yield drawn
        canvas.draw_without_rendering()
        canvas.set_layout_engine("none")  # laid out once, for both files
        drawn.panels.append(Panel(name, _svg(canvas), _png(canvas)))


def _png(canvas: Canvas) -> bytes:
    file = BytesIO()
    canvas.savefig(file, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def saved(canvas: Canvas, form: str) -> bytes:
    """A drawing in another format of matplotlib's."""
    file = BytesIO()
    canvas.savefig(file, format=form.removeprefix("."))
    return file.getvalue()


def _svg(canvas: Canvas) -> str:
    """The drawing without what a page does not need, its colours as variables with the light ones to fall back on."""
    file = StringIO()
    canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[a-zA-Z]+[a-zA-Z0-9]*_\d+"', "", text)  # several drawings share a page
    for side in ("width", "height"):  # the page says how wide it is
        text = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font: [^;\"]*?(\d[\d.]*px)[^;\"]*", r"font-size: \1", text)
    for name, colour in LIGHT.items():
        text = text.replace(colour, f"var(--{name}, {colour})")
    return text


def alone(panel: Panel) -> str:
    """The SVG as a file of its own: light or dark as its reader is."""
    light, dark = ("".join(f"--{k}:{v};" for k, v in palette.items()) for palette in (LIGHT, DARK))
    style = (
        f"<style>svg{{{light}background:#fff;font-family:system-ui,sans-serif}}"
        f"@media(prefers-color-scheme:dark){{svg{{{dark}background:#14181f}}}}</style>"
    )
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', panel.svg).groups()  # type: ignore[union-attr]  # ours
    svg = panel.svg.replace("<svg ", f'<svg width="{width}pt" height="{height}pt" ', 1)
    head = svg.index(">") + 1
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg[:head] + style + svg[head:]
