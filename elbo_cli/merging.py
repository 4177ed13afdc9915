"""The parts of a measurement put together again, and refused by name where they do not belong together."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch

from elbo_cli.errors import UserError
from elbo_cli.gap.findings import Weighed
from elbo_cli.gap.jobs import unpack
from elbo_cli.gap.methods import HALVES
from elbo_cli.gap.settings import Settings
from elbo_cli.parts import OWN, About, Part, Shard, read_part
from elbo_cli.records import GapFindings

WORDS = {"checkpoint": "the checkpoint's digest", "data": "the data's digest", "rows": "--tile", "K": "--samples"}


def merged(paths: Sequence[Path]) -> tuple[About, GapFindings]:
    """The findings of all parts: what one process would have found, to the last bit.

    Raises:
        UserError: a part is missing, is there twice, or belongs to another measurement; the sentence names it.
    """
    parts = [read_part(path) for path in paths]
    _refuse_strangers(parts)
    _refuse_holes(parts)
    about = replace(parts[0].about, seconds=sum(part.about.seconds for part in parts))
    weighed = [each for part in sorted(parts, key=lambda part: part.about.shard) for each in _weighed(part)]
    found = HALVES[about.method].conclude(weighed, about.latents, settings_of(about))
    return about, found


def settings_of(about: About) -> Settings:
    """The settings that a part was measured with."""
    known = {f.name for f in fields(Settings)} & {f.name for f in fields(About)} - {"device"}
    return Settings(**{name: getattr(about, name) for name in known})


def _weighed(part: Part) -> list[Weighed]:
    about = part.about
    jobs, alike = part.shard.jobs(about.examples, about.K), HALVES[about.method].alike(settings_of(about))
    tables = torch.split(part.table, [len(job.index) for job in jobs])
    return [unpack(job.index, table, about.K, alike) for job, table in zip(jobs, tables, strict=True)]


def _refuse_strangers(parts: Sequence[Part]) -> None:
    """Insist that all parts are of one measurement."""
    first = parts[0]
    for part in parts[1:]:
        for name in (f.name for f in fields(About) if f.name not in OWN):
            here, there = getattr(part.about, name), getattr(first.about, name)
            if here != there:
                raise UserError(
                    f"{part.path} is of another measurement than {first.path}: {WORDS.get(name, name)} is {here} there "
                    f"and {there} here. Merge parts of one measurement alone."
                )
        if part.shard.of != first.shard.of:
            raise UserError(f"{part.path} is shard {part.shard}, but {first.path} is {first.shard}: other pieces.")


def _refuse_holes(parts: Sequence[Part]) -> None:
    """Insist that each part is there, once."""
    seen: dict[int, Part] = {}
    for part in parts:
        twin = seen.setdefault(part.shard.number, part)
        if twin is not part:
            raise UserError(f"{twin.path} and {part.path} are both shard {part.shard}. Give each part once.")
    first = parts[0]
    missing = [Shard(n, first.shard.of) for n in range(1, first.shard.of + 1) if n not in seen]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        command = f"{first.about.again} --samples {first.about.K} --shard {missing[0]}"
        raise UserError(
            f"{'A shard is' if len(missing) == 1 else 'Shards are'} missing: {', '.join(map(str, missing[:5]))}{more}. "
            f"Type: {command} --out part-{missing[0].number}{first.path.suffix}"
        )
