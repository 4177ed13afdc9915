"""Curves in braille: every dot where it belongs."""

import io

import pytest
from rich.console import Console

from elbo_cli.report.terminal import BLANK, Canvas, plot


def lit(canvas: Canvas) -> set[tuple[int, int]]:
    """The dots that are set, as (column, row from the top)."""
    dots = {1: (0, 0), 2: (0, 1), 4: (0, 2), 64: (0, 3), 8: (1, 0), 16: (1, 1), 32: (1, 2), 128: (1, 3)}
    return {
        (2 * column + x, 4 * row + y)
        for row, line in enumerate(canvas.lines())
        for column, char in enumerate(line.plain)
        for bit, (x, y) in dots.items()
        if (ord(char) - BLANK) & bit
    }


def test_a_rising_line_runs_from_below_left_to_above_right() -> None:
    canvas = Canvas(4, 2)  # 8 by 8 dots
    canvas.draw([(0.0, 0.0), (1.0, 1.0)], 0)
    assert lit(canvas) == {(k, 7 - k) for k in range(8)}


def test_a_single_point_is_a_dot() -> None:
    canvas = Canvas(3, 3)
    canvas.draw([(1.0, 0.0)], 0)
    assert lit(canvas) == {(5, 11)}


def test_what_lies_outside_is_not_drawn() -> None:
    canvas = Canvas(2, 2)
    canvas.draw([(-5.0, 3.0)], 0)
    assert lit(canvas) == set()


@pytest.mark.parametrize("width", [20, 60, 110])
def test_a_plot_keeps_within_its_width_and_names_its_curves(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(plot("ELBO", {"a\x1b[31m": [(1, -100.0), (2, -90.0)], "b": [(1, -95.0)]}, width))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    assert "-100.00" in text
    assert "-90.00" in text
    assert "\x1b" not in text


def test_a_flat_curve_is_drawn_in_the_middle() -> None:
    console = Console(file=io.StringIO(), width=40, color_system=None)
    console.print(plot("KL", {"kl": [(1, 2.0), (2, 2.0)]}, 40, 9))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [i for i, line in enumerate(lines[1:10]) if set(line.split("┤")[1]) - {chr(BLANK), " "}] == [4]
