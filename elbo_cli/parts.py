"""A part of a measurement, which one of many commands made, as a file.

A part is a table with a row for each datum, .parquet or .csv, that any reader of tables opens. What it is a part of
stands in the Parquet's metadata, or in the CSV's first line behind a `#`, sealed with a checksum of both.
"""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from elbo_cli import __version__
from elbo_cli.data.files import reading
from elbo_cli.errors import UserError, need_extra
from elbo_cli.files import looking, write_whole
from elbo_cli.gap.findings import Weighed
from elbo_cli.gap.jobs import Job, blocks, columns, pack
from elbo_cli.ranks import rows_of

if TYPE_CHECKING:
    import pandas as pd  # a second to import: where it is used

KEY, SEAL = "elbo", "sha256"
LONGEST = 2**20  # bytes of a CSV's first line


@dataclass(frozen=True, slots=True)
class Shard:
    """Which of how many parts, from 1."""

    number: int
    of: int

    @classmethod
    def of_text(cls, text: str) -> "Shard":
        """The shard that `i/n` means.

        Raises:
            UserError: it means none.
        """
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise UserError(f"--shard {text} is no part: type i/n with i from 1 to n, as --shard 1/4.")
        return cls(int(number), int(of))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def jobs(self, N: int, K: int) -> list[Job]:
        """The blocks of N data that are this part's: consecutive and whole, for a block is the unit of noise.

        Raises:
            UserError: there are fewer blocks than parts.
        """
        cut = blocks(N)
        if self.of > len(cut):
            raise UserError(
                f"--shard {self}: {N:,} data are {len(cut):,} blocks of {len(cut[0])}, which are not cut further. "
                f"Give --shard i/{len(cut)} at most."
            )
        mine = range(len(cut))[rows_of(len(cut), self.number - 1, self.of)]
        return [Job(n, K, cut[n]) for n in mine]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a part is a part of. All but the last four must be the same in all parts of a measurement."""

    elbo: str = __version__
    torch: str = torch.__version__
    checkpoint: str  # digest of its file
    split: str
    data: str  # digest of the split
    examples: int  # N, of the whole measurement
    latents: int  # D
    method: str
    K: int
    proposal: str
    temperatures: int
    seed: int
    rows: int
    threads: int
    device: str
    delta: float
    tolerance: float
    shard: tuple[int, int]
    named: tuple[str, str]  # checkpoint and data, as they were called
    again: str  # the command
    seconds: float


OWN = ("shard", "named", "again", "seconds")


@dataclass(frozen=True, slots=True)
class Part:
    """An opened part."""

    path: Path
    about: About
    table: Tensor  # float64 [n, columns]

    @property
    def shard(self) -> Shard:
        """Which of how many."""
        return Shard(*self.about.shard)


def write_part(path: Path, weighed: Sequence[Weighed], about: About) -> None:
    """Write what was weighed, whole or not at all.

    Raises:
        RunError: the system refuses.
    """
    import pandas as pd

    table = torch.cat([pack(each) for each in weighed])
    frame = pd.DataFrame(table.numpy(), columns=columns(about.K))
    frame.insert(0, "index", torch.cat([each.index for each in weighed]).numpy())
    text = json.dumps(asdict(about))
    sealed = {KEY: text, SEAL: _seal(text, table)}
    write_whole(path, (_parquet if path.suffix == ".parquet" else _csv)(frame, sealed))


def _seal(text: str, table: Tensor) -> str:
    return hashlib.sha256(text.encode() + table.nan_to_num(nan=1e300).numpy().tobytes()).hexdigest()


def _csv(frame: "pd.DataFrame", sealed: dict[str, str]) -> bytes:
    head = f"# {json.dumps(sealed)}\n"
    return (head + frame.to_csv(index=False, lineterminator="\n", na_rep="nan")).encode()


def _parquet(frame: "pd.DataFrame", sealed: dict[str, str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(sealed), buffer)
    return buffer.getvalue()


def read_part(path: Path) -> Part:
    """Open a part and check it.

    Raises:
        UserError: it is none, is damaged, or was written by another version of elbo.
    """
    with looking(path):
        if not path.is_file():
            raise UserError(f"There is no part {path}. Give the files that elbo gap --shard wrote.")
    with reading(path):
        frame, sealed = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    if KEY not in sealed or SEAL not in sealed:
        raise UserError(
            f"{path} is no part of a measurement: write one with elbo gap CHECKPOINT --shard 1/4 --out FILE."
        )
    with reading(path):
        about = _about(path, json.loads(sealed[KEY]))
        table = torch.from_numpy(frame[columns(about.K)].to_numpy(dtype="float64", copy=True))
        if _seal(sealed[KEY], table) != sealed[SEAL]:
            raise UserError(f"{path} is not as elbo wrote it: its checksum is another. Measure that part again.")
    return Part(path, about, table)


def _about(path: Path, found: dict[str, Any]) -> About:
    if found.get("elbo") != __version__:
        raise UserError(
            f"{path} was written by elbo {found.get('elbo')}, and this is {__version__}. "
            "Merge with the version that measured, or measure again."
        )
    return About(**found | {"shard": tuple(found["shard"]), "named": tuple(found["named"])})


def _read_parquet(path: Path) -> "tuple[pd.DataFrame, dict[str, str]]":
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise need_extra("pyarrow", "parquet", "A part as Parquet") from error
    table = pq.ParquetFile(path).read()
    metadata = table.schema.metadata or {}
    return table.to_pandas(), {key.decode(): value.decode() for key, value in metadata.items()}


def _read_csv(path: Path) -> "tuple[pd.DataFrame, dict[str, str]]":
    import pandas as pd

    with path.open(encoding="utf-8") as file:
        head = file.readline(LONGEST)
        sealed = json.loads(head[1:]) if head.startswith("# {") else {}
        rows = csv.DictReader(file) if sealed else []  # float() is exact; pandas' reader is not in every version
        return pd.DataFrame([{name: float(cell) for name, cell in row.items()} for row in rows]), sealed
