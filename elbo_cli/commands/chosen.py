"""What a user chose to measure."""

from dataclasses import dataclass
from shlex import quote

from elbo_cli.runtime import open_device
from elbo_cli.subject import Subject, open_subject


@dataclass(frozen=True, slots=True)
class Named:
    """What was measured, as it is called in a report."""

    checkpoint: str
    data: str
    split: str
    seed: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a user chose to measure, as typed."""

    checkpoint: str
    split: str
    data: str | None
    overrides: tuple[str, ...]
    limit: int | None
    seed: int | None
    threads: int | None
    device: str

    def again(self, advice: str) -> str:
        """The command that follows an advice: the same measurement, with other options."""
        chosen = [f"--data {quote(self.data)}"] if self.data else []
        chosen += [f"--split {self.split}"] if self.split != "test" else []
        chosen += [f"--limit {self.limit}"] if self.limit else []
        return " ".join(["elbo gap", quote(self.checkpoint), *map(quote, self.overrides), *chosen, advice])

    def open(self, data_seed: int | None = None) -> Subject:
        """The model and its data; `data_seed` as in `open_subject`."""
        return open_subject(
            self.checkpoint,
            split=self.split,
            data=self.data,
            overrides=self.overrides,
            limit=self.limit,
            seed=self.seed,
            threads=self.threads,
            device=open_device(self.device),
            data_seed=data_seed,
        )
