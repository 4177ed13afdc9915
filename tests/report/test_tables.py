"""The screen of `elbo gap`: what it says where a number is none, and what its certificate says."""

import math
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from elbo_cli.records import Certificate, CurvePoint, Estimate, GapFindings
from elbo_cli.report.tables import curve_table, gap_screen, identity_bar

FINE = GapFindings(
    examples=3,
    samples=16,
    elbo=Estimate(-12.0, 1.0, 0.1),
    log_px=Estimate(-10.0, 1.0, 0.1),
    gap=Estimate(2.0, 0.1, 0.1),
    certified=Certificate(-11.0, 0.5, 0.05),
    curve=(CurvePoint(1, -12.0, 0.1), CurvePoint(4, -11.0, 0.1), CurvePoint(16, -10.0, 0.1)),
    rho=1.0,
    remainder=math.inf,
    khat_median=0.4,
)
NOTHING = Estimate(-math.inf, math.nan, math.inf)


def shown(what: RenderableType) -> str:
    console = Console(file=StringIO(), width=120)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


def screen(found: GapFindings) -> str:
    return shown(gap_screen(found, data="data", split="test", about=""))


def test_the_bar_and_the_dots_are_there_where_numbers_are() -> None:
    assert shown(identity_bar(FINE)).count("▓") == round(46 * 2 / 12)
    assert [line.count("·") for line in shown(curve_table(FINE)).splitlines() if "●" in line] == [0, 10, 20]


@pytest.mark.parametrize("first", [-12.0, -math.inf])
def test_where_a_weight_was_zero_there_is_neither_bar_nor_dot(first: float) -> None:
    """One draw of zero weight makes an ELBO of -inf, and a datum without a weight all of the curve."""
    curve = tuple(CurvePoint(k, bound, math.nan) for k, bound in ((1, first), (4, -math.inf), (16, -10.0)))
    found = replace(FINE, elbo=NOTHING, gap=Estimate(math.inf, math.nan, math.inf), curve=curve)
    text = screen(found)
    assert "▓" not in text
    assert text.count("●") == (2 if first == -12.0 else 0)
    lost = screen(replace(found, log_px=NOTHING, curve=tuple(CurvePoint(k, -math.inf, math.nan) for k in (1, 4, 16))))
    assert "●" not in lost


def test_each_half_of_the_certificate_holds_by_itself_and_the_screen_says_so() -> None:
    assert "With probability 95%, each: mean log p(x) of these data >= -11.000, gap >= 0.500" in screen(FINE)
    alone = replace(FINE, certified=Certificate(-11.0, None, 0.05))
    assert "With probability 95%: mean log p(x) of these data >= -11.000\n" in screen(alone)
