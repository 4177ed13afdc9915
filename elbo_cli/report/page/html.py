"""Pieces of the page. Every text passes through `text`, which escapes it; drawings and pictures are our own."""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from elbo_cli.errors import shown
from elbo_cli.report.figures.style import DARK, LIGHT, Figure
from elbo_cli.report.figures.tiles import Gallery, Tile

PAPER = {"light": {"paper": "#fbfcfd", "card": "#ffffff", "gap": "#aa4a8c"}}
PAPER["dark"] = {"paper": "#101319", "card": "#181d26", "gap": "#e08ec6"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # the page asks the network for nothing


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is under it, as HTML."""

    title: str
    body: str


def text(words: object) -> str:
    """Words as HTML: nothing in them is markup, and control characters are shown as such."""
    return escape(shown(str(words)))


def prose(words: object) -> str:
    """The same, with minus signs where a number is negative."""
    return re.sub(r"(?<![\w.-])-(?=\d)", "\u2212", text(words))


def page(title: str, head: str, sections: Sequence[Section], foot: str) -> str:
    """The whole page."""
    body = "".join(f"<section><h2>{text(s.title)}</h2>{s.body}</section>" for s in sections if s.body)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_css()}</style></head>"
        f"<body><main><header><h1>{text(title)}</h1>{head}</header>{body}<footer>{foot}</footer></main></body></html>\n"
    )


def _css() -> str:
    palettes = {"LIGHT": LIGHT | PAPER["light"], "DARK": DARK | PAPER["dark"]}
    css = Path(__file__).with_name("style.css").read_text("utf-8")
    for name, palette in palettes.items():
        css = css.replace(name, " ".join(f"--{key}: {colour};" for key, colour in palette.items()))
    return css.replace("COUNT", "var(--count)")


def cards(*things: Figure | Gallery | None) -> str:
    """Figures beside one another, where there is room; those of several drawings, and pictures, take a row."""
    return f'<div class="cards">{"".join(_card(thing) for thing in things if thing is not None)}</div>'


def _card(thing: Figure | Gallery) -> str:
    if isinstance(thing, Gallery):
        tiles = "".join(_tile(tile) for tile in thing.tiles)
        body = f'<div class="{thing.kind}">{tiles}</div>'
        return _figure(thing.title, thing.caption, body, 2 if thing.kind == "tiles" else 1)
    drawings = "".join(_labelled(panel.svg, thing.title) for panel in thing.panels)
    return _figure(thing.title, thing.caption, f'<div class="panels">{drawings}</div>', len(thing.panels))


def _figure(title: str, caption: str, body: str, count: int) -> str:
    wide = f' class="wide" style="--count: {count}"' if count > 1 else ' class="lone"'
    return f"<figure{wide}><h3>{text(title)}</h3>{body}<figcaption>{prose(caption)}</figcaption></figure>"


def _labelled(svg: str, title: str) -> str:
    return svg.replace("<svg ", f'<svg role="img" aria-label="{text(title)}" ', 1)


def _tile(tile: Tile) -> str:
    note = f"<span>{prose(tile.note)}</span>" if tile.note else ""
    source = f"data:image/png;base64,{b64encode(tile.png).decode()}"
    return f'<div><img src="{source}" alt="{text(tile.instead)}">{note}</div>'


def numbers(cells: Iterable[tuple[str, str, str]]) -> str:
    """Name, number and a remark, as a row of cards."""
    body = "".join(
        f"<div><dt>{text(name)}</dt><dd>{prose(value)}<small>{prose(remark)}</small></dd></div>"
        for name, value, remark in cells
    )
    return f'<dl class="numbers">{body}</dl>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that a phone can push sideways."""
    head = "".join(f"<th>{text(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{prose(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def code(words: str) -> str:
    """Lines as they are."""
    return f"<pre>{text(words)}</pre>"


def folded(title: str, body: str) -> str:
    """What is seen on demand, and in print."""
    return f"<details><summary>{text(title)}</summary>{body}</details>"
