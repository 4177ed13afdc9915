"""What eyes see: whole numbers in a pipe, and on a terminal a table and bars that fit it."""

import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import fields, replace
from fcntl import ioctl
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from elbo_cli.records import EpochRecord, Tick
from elbo_cli.report.live import Bars, Left, curve, epoch_table, line, watch
from elbo_cli.report.sparkline import sparkline
from elbo_cli.screen import Screen
from tests.cli.command import ROOT, TINY, elbo, process

CUT = ("…", "...")
SHOWN = EpochRecord(
    epoch=1,
    step=29,
    seconds=0.25,
    lr=1e-3,
    train_elbo=-1234.5678,
    train_reconstruction=-1200.0,
    train_kl=34.5678,
    valid_elbo=-103.4512,
    valid_reconstruction=-80.2,
    valid_kl=23.2512,
    valid_log_px=-97.1234,
    valid_gap=6.3278,
    delta_log_px=0.4099,
    delta_gap=-312.2254,
    active_units=50,
)


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Standard output of the main job in pipes: of 80 columns, and of 40, where the tables have more."""
    here = tmp_path_factory.mktemp("piped")
    (here / "tiny.yaml").write_text(TINY)
    jobs = {
        "train": ("train", "--config", "tiny.yaml", "--out", "run"),
        "evaluate": ("evaluate", "run"),
        "gap": ("gap", "run", "--samples", "20", "--limit", "20"),
    }
    columns = {"train": "80", "evaluate": "80", "gap": "40"}
    answers = {name: process(*words, cwd=here, COLUMNS=columns[name]) for name, words in jobs.items()}
    assert [answer.err for answer in answers.values()] == ["", "", ""]
    return {name: answer.out for name, answer in answers.items()}


def test_a_pipe_gets_no_escape_byte_and_no_number_that_is_cut(piped: dict[str, str]) -> None:
    for text in piped.values():
        assert "\x1b" not in text
        assert [mark for mark in CUT if mark in text] == []


def test_a_pipe_gets_one_line_of_key_and_value_for_each_epoch(piped: dict[str, str]) -> None:
    lines = [text for text in piped["train"].splitlines() if text.startswith("epoch=")]
    assert [text.split()[0] for text in lines] == ["epoch=1", "epoch=2"]
    for text in lines:
        pairs = dict(word.split("=") for word in text.split())
        assert pairs.keys() <= {f.name for f in fields(EpochRecord)}
        assert pairs.keys() >= {"train_elbo", "valid_elbo", "valid_log_px", "valid_gap", "delta_log_px", "lr"}
        assert all(re.fullmatch(r"[+-]?\d+(\.\d+)?(e-\d+)?", value) for value in pairs.values()), text


def test_a_pipe_that_knows_no_greek_stops_nobody(tmp_path: Path, trained: Path) -> None:
    answer = process("gap", trained, "--samples", "4", "--limit", "4", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert answer.code == 0, answer.err
    assert "ELBO" in answer.out


def test_a_reader_that_goes_away_is_no_traceback(trained: Path, tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m elbo_cli evaluate '{trained}' --json --limit 3 | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "3 data of digits" in ended.stderr
    assert "Error" not in ended.stderr


def test_what_json_cannot_say_is_null_wherever_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(as_json=True).emit({"a": float("nan"), "b": [{"c": float("-inf")}, (1.5,)], "d": None, "e": 3})
    assert capsys.readouterr().out == '{"a": null, "b": [{"c": null}, [1.5]], "d": null, "e": 3}\n'


class Log(StringIO):
    """A file that knows how much of it has left the buffer."""

    flushed = ""

    def flush(self) -> None:
        self.flushed = self.getvalue()


def test_every_line_has_left_the_buffer_when_its_epoch_is_over() -> None:
    log = Log()
    for epoch, _ in enumerate(watch(iter([SHOWN, SHOWN]), Console(file=log, force_terminal=False), 2), 1):
        assert log.flushed.count("epoch=1 ") == epoch


def test_a_line_keeps_its_digits_and_leaves_out_what_was_not_measured() -> None:
    text = line(replace(SHOWN, valid_log_px=None))
    assert "train_elbo=-1234.57 " in text
    assert "delta_gap=-312.225" in text
    assert "valid_log_px" not in text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200])
def test_the_table_cuts_no_number_at_any_width_and_keeps_within_it(width: int) -> None:
    text = drawn(epoch_table([SHOWN, replace(SHOWN, epoch=100)], width, None), width)
    assert [mark for mark in CUT if mark in text] == []
    assert max(map(len, text.splitlines())) <= width
    assert "100" in text


def test_the_table_has_units_and_at_80_columns_the_ledger() -> None:
    text = drawn(epoch_table([replace(SHOWN, train_elbo=-99.1, delta_gap=-1.5)], 80, None), 80)
    assert "nats per datum" in text
    for number in ("-99.10", "-103.45", "-80.20", "23.25", "-97.12", "6.33", "+0.41", "-1.50", " 50"):
        assert number in text
    units = text.splitlines()[3].split()
    assert units == ["nats↑", "nats↑", "nats↑", "nats≥0", "nats↑", "nats≥0", "nats", "nats", "units"]


def test_the_curve_rises_with_the_elbo_and_stands_between_its_first_value_and_its_last() -> None:
    values = [-200.0, -110.0, -104.0, -103.0, -102.0, -101.0, -100.0]
    text = curve(values, 80, replace(SHOWN, epoch=7)).plain
    assert text == " valid ELBO -200.00 ▁▁▅▆▇▇█ -100.00 nats, best at epoch 7"


def test_a_long_curve_is_thinned_to_its_room_and_a_narrow_screen_has_none() -> None:
    values = [float(epoch) for epoch in range(1000)]
    assert all(len(curve(values, width, SHOWN).plain) == width for width in (60, 80, 140))
    assert curve(values, 30, SHOWN).plain == " valid ELBO 0.00  999.00 nats"


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([1.0], "▁"), ([2.0, 2.0], "▁▁"), ([math.nan, 1.0, 2.0], " ▁█"), ([math.nan], " ")],
)
def test_a_sparkline_of_little_is_no_error(values: list[float], line: str) -> None:
    assert sparkline(values, 10) == line


def test_the_curve_of_a_resumed_run_begins_with_its_first_sitting() -> None:
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24)
    before = [replace(SHOWN, epoch=epoch, valid_elbo=-300.0 + epoch) for epoch in (1, 2)]
    assert [*watch(iter([replace(SHOWN, epoch=3)]), console, 3, 2, before[-1], before)]
    assert re.search(r"valid ELBO -299\.00 ▁.█ -103\.45 nats, best at epoch 3", plain(out.getvalue()))


def test_columns_that_were_not_measured_are_left_out() -> None:
    blind = replace(SHOWN, valid_log_px=None, valid_gap=None, delta_log_px=None, delta_gap=None)
    assert "gap" not in drawn(epoch_table([blind], 80, None), 80)


def test_the_best_epoch_is_bold() -> None:
    best = replace(SHOWN, epoch=2)
    out = StringIO()
    table = epoch_table([SHOWN, best], 80, best)
    Console(file=out, force_terminal=True, width=80, legacy_windows=False).print(table)
    bold = [text for text in out.getvalue().splitlines() if "\x1b[1m" in text and "-103.45" in text]
    assert len(bold) == 1
    assert plain(bold[0]).split()[0] == "2"


def plain(text: str) -> str:
    """The text without colours and movements of the cursor."""
    return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)


def drawn(table: object, width: int) -> str:
    out = StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


def test_the_bars_go_on_inside_an_epoch_and_begin_again_with_the_next() -> None:
    bars = Bars(Console(file=StringIO()), 10, 4)
    whole, inside = bars.shown.tasks
    bars.tick(Tick(done=50, total=100, what="epoch 5"))
    assert (whole.completed, whole.total) == (4.5, 10)
    assert (inside.completed, inside.total, inside.description) == (50, 100, "epoch 5")
    bars.tick(Tick(done=100, total=100, what="epoch 5"))
    assert inside.description == "measuring"
    bars.turn(5)
    assert whole.completed == 5
    assert (inside.completed, inside.finished, inside.description) == (0, False, "epoch 6")


def test_the_time_left_is_told_once_it_is_known_and_forgotten_with_the_epoch() -> None:
    clock = iter(range(1000))
    console = Console(file=StringIO())
    bars = Bars(console, 3, 0, get_time=lambda: float(next(clock)))
    whole, inside = bars.shown.tasks
    left = next(column for column in bars.shown.columns if isinstance(column, Left))
    assert left(whole).plain == left(inside).plain == ""
    for done in (25, 50, 75):
        bars.tick(Tick(done=done, total=100, what="epoch 1"))
        assert re.fullmatch(r"(\d:\d\d:\d\d left)?", left(inside).plain)
    assert left(whole).plain.endswith(" left")
    bars.turn(1)
    assert left(inside).plain == ""
    assert left(whole).plain.endswith(" left")


def test_a_best_epoch_from_before_the_stop_stays_the_best() -> None:
    def out(best: EpochRecord | None) -> str:
        console = Console(file=StringIO(), force_terminal=True, width=80, height=24)
        assert [*watch(iter([replace(SHOWN, epoch=6)]), console, 6, 5, best)]
        return str(console.file.getvalue())

    assert "\x1b[1m" in out(None).rpartition("-80.20")[0].rpartition("\n")[2]
    assert "\x1b[1m" not in out(replace(SHOWN, valid_elbo=-1.0)).rpartition("-80.20")[0].rpartition("\n")[2]


def test_watching_passes_every_record_on_and_closes_the_bars() -> None:
    def events() -> Iterator[EpochRecord | Tick]:
        for epoch in (1, 2):
            yield Tick(done=1, total=2, what=f"epoch {epoch}")
            yield replace(SHOWN, epoch=epoch)

    for terminal in (True, False):
        out = StringIO()
        console = Console(file=out, force_terminal=terminal, width=80, height=24)
        assert [record.epoch for record in watch(events(), console, 2)] == [1, 2]
        assert ("\x1b[?25h" in out.getvalue()) is terminal  # the cursor is back


@pytest.mark.parametrize("command", [("evaluate",), ("gap", "--samples", "20", "--limit", "20")], ids=lambda c: c[0])
def test_a_screen_of_80_columns_shows_every_number_whole(
    command: tuple[str, ...], trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    answer = elbo(*command, trained)
    assert answer.code == 0
    text = plain(answer.out)
    assert [mark for mark in CUT if mark in text] == []
    assert max(map(len, re.split(r"[\r\n]+", text))) <= 80


def test_a_terminal_shows_table_and_bars_and_gets_its_cursor_back(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    text = on_a_terminal("train", "--config", "tiny.yaml", "--out", "run", cwd=tmp_path, columns=80, rows=24)
    assert "nats per datum" in text
    assert re.search(r"epochs +━+ [012]/2 ", plain(text))
    assert "\x1b[?25h" in text.rpartition("\x1b[?25l")[2]
    assert "…" not in text
    assert "Best epoch" in text


def on_a_terminal(*words: str, cwd: Path, columns: int, rows: int) -> str:
    """All that a command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    running = subprocess.Popen(
        [sys.executable, "-m", "elbo_cli", *words],
        cwd=cwd,
        env=environment | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "LANG": "C.UTF-8"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    pieces = []
    while piece := _read(ours):
        pieces.append(piece)
    os.close(ours)
    assert running.wait(timeout=60) == 0
    return b"".join(pieces).decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""
