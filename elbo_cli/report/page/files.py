"""The page and the files behind it, each written whole."""

from pathlib import Path

from elbo_cli.files import make_folder, write_whole
from elbo_cli.report.figures.style import Figure, alone
from elbo_cli.report.page.single import Report


def write_report(report: Report, path: Path) -> list[Path]:
    """Write the page to `path`, and its figures into the folder of the same name without ending.

    Returns:
        What was written, the page first.

    Raises:
        RunError: the system refuses.
    """
    folder = path.with_suffix("")
    make_folder(folder)
    written = [path]
    for figure in report.figures:
        files = (
            {f"{p.name}.{end}": content for p in figure.panels for end, content in (("svg", alone(p)), ("png", p.png))}
            if isinstance(figure, Figure)
            else {f"{figure.name}.png": figure.sheet}
        )
        for name, content in files.items():
            write_whole(folder / name, content)
            written.append(folder / name)
    write_whole(path, report.page)
    return written
