"""A row for each datum, where the user asked for a table."""

from collections.abc import Sequence
from pathlib import Path

from elbo_cli.report.rows import write_rows
from elbo_cli.screen import Screen


def write(screen: Screen, out: Path | None, rows: Sequence[object], record: type) -> None:
    """Write the rows, and say so."""
    if out is not None:
        write_rows(out, rows, record)
        screen.say(f"Wrote {len(rows):,} rows to {out}")
