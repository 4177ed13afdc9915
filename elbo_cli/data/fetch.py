"""Fetch a published file once, with its checksum."""

from collections.abc import Sequence
from pathlib import Path

from elbo_cli.data.files import first_line
from elbo_cli.errors import UserError, need_extra

TIMEOUT = 30  # seconds without an answer


def fetch(urls: Sequence[str], checksum: str, target: Path) -> None:
    """Fetch `target` from the first of `urls` that has it; it appears whole and with the right checksum, or not at all.

    `checksum` is `sha256:HEX`.

    Raises:
        UserError: pooch is not installed, or no mirror answered with the file that was published.
    """
    try:
        import pooch
    except ImportError as error:
        raise need_extra("pooch", "download", f"Fetching {target.name}") from error
    failures = []
    for url in urls:
        try:
            downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
            pooch.retrieve(url, checksum, fname=target.name, path=target.parent, downloader=downloader)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
            failures.append(f"{url}: {first_line(error)}")
        else:
            return
    raise UserError(
        f"{target.name} could not be fetched ({'; '.join(failures)}). "
        f"Get it by other means, put it in {target.parent}, and type the same command again."
    )
