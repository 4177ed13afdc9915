"""`elbo gap --shard`: one part of a measurement, in a file."""

import hashlib
import time
from dataclasses import replace

import torch

from elbo_cli.checkpoint import checksum
from elbo_cli.commands.again import spelled, way
from elbo_cli.commands.chosen import Chosen
from elbo_cli.commands.progress import behind_a_bar
from elbo_cli.commands.wanted import Wanted
from elbo_cli.errors import UserError
from elbo_cli.foreign import is_factory
from elbo_cli.gap.importance import latent_size
from elbo_cli.gap.methods import HALVES, weigh
from elbo_cli.gap.proposals.recipes import had
from elbo_cli.gap.settings import Settings
from elbo_cli.parts import About, write_part
from elbo_cli.runs import checkpoint_path
from elbo_cli.screen import Screen
from elbo_cli.subject import Subject


def run_shard(
    screen: Screen, chosen: Chosen, subject: Subject, method: str, settings: Settings, wanted: Wanted
) -> None:
    """Weigh the blocks of data that are this part's, and write down all that findings are made of."""
    assert wanted.shard is not None, "the caller asks"
    if method == "exact":
        raise UserError("--method exact is not cut into shards: it takes a moment. Leave --shard out.")
    method = "importance" if method == "auto" else method
    began = time.perf_counter()
    jobs = wanted.shard.jobs(len(subject.split), settings.K)
    with subject.blamed():
        if method == "importance":  # as one process would call it
            settings = replace(settings, proposal=had(settings.proposal, subject.model, next(subject.split.blocks(1))))
        weighed = behind_a_bar(screen, weigh(method, subject.model, subject.split, settings, jobs))
    about = _about(chosen, subject, method, settings, wanted)
    about = replace(about, seconds=time.perf_counter() - began)
    examples = sum(len(job.index) for job in jobs)
    if wanted.out is not None:
        write_part(wanted.out, weighed, about)
        screen.say(f"Wrote shard {wanted.shard}, {examples:,} of {about.examples:,} data, to {wanted.out}")
        screen.say(f"With all {wanted.shard.of}: elbo gap --merge PART PART ...")
    head = {"checkpoint": subject.name, "data": subject.data, "split": subject.split.name, "method": method}
    screen.emit(head | {"shard": str(wanted.shard), "examples": examples, "seconds": round(about.seconds, 3)})


def _about(chosen: Chosen, subject: Subject, method: str, settings: Settings, wanted: Wanted) -> About:
    assert wanted.shard is not None, "the caller asks"
    assert method in HALVES, method
    return About(
        checkpoint=model_digest(subject),
        split=subject.split.name,
        data=subject.split.digest(),
        examples=len(subject.split),
        latents=latent_size(subject.model),
        method=method,
        K=settings.K,
        proposal=settings.proposal,
        temperatures=settings.temperatures,
        seed=settings.seed,
        rows=settings.rows,
        threads=torch.get_num_threads(),
        device=settings.device.type,
        delta=settings.delta,
        tolerance=settings.tolerance,
        shard=(wanted.shard.number, wanted.shard.of),
        named=(subject.name, subject.data),
        again=chosen.again(_options(method, settings)),
        seconds=0.0,
    )


def _options(method: str, settings: Settings) -> str:
    """What else the command needs to measure a part that is missing."""
    once = {"--seed": settings.seed, "--threads": torch.get_num_threads()}
    return spelled(way(method, settings.proposal, settings.temperatures) | once)


def model_digest(subject: Subject) -> str:
    """A digest of what the model is: of its file, or of a factory's name and weights."""
    if not is_factory(subject.name):
        return hashlib.sha256(checkpoint_path(subject.name).read_bytes()).hexdigest()[:16]
    weights = subject.model.state_dict() if isinstance(subject.model, torch.nn.Module) else {}
    return checksum({name: tensor.cpu() for name, tensor in weights.items()}, subject.name)[:16]


def identity(subject: Subject) -> str:
    """A digest of model and data, and of what else decides the draws."""
    return f"{model_digest(subject)} {subject.split.digest()} {len(subject.split)} {subject.seed}"
