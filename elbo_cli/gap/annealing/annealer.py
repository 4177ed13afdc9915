"""What anneals a block of data: chains from a start by way of temperatures to p(z | x), or back from an exact draw."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from elbo_cli.bounds.annealing import WARM_UP, StepSizes, anneal, schedule, tune
from elbo_cli.bounds.draws import LatentVariableModel, log_joint
from elbo_cli.bounds.hmc import Kernel, Path
from elbo_cli.bounds.weights import WeightStream, WeightSummary
from elbo_cli.errors import UserError, choose
from elbo_cli.gap.annealing.starts import STARTS, Beginning, Start
from elbo_cli.gap.importance import Plan
from elbo_cli.gap.proposals.mixture import Mixture
from elbo_cli.gap.proposals.recipes import PROPOSALS
from elbo_cli.gap.settings import DRAW_TILE, Settings
from elbo_cli.runtime import derive, noise

LEAPFROGS = 3  # to a temperature: 200 of 3 leave a third of the variance that 60 of 10 leave, at the same cost
ACCEPTANCE = 0.8  # that steps are tuned to; it leaves two thirds of the variance that the customary 0.65 leaves
TUNED = 30  # temperatures that steps are tuned at; what lies between is interpolated
CHAINS = 4  # that they are tuned on
ROUNDS = 4  # trajectories of each to a temperature
MEASURED = 256  # draws that the scale of the start is read off
POINT = 3  # decoder evaluations to a point on a trajectory: a value and a gradient, which counts as two
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Course:
    """What all chains share, settled before the first draw because the guarantee needs it settled."""

    start: Start
    T: int  # temperatures
    plan: Plan  # K counts chains

    @classmethod
    def of(cls, settings: Settings) -> "Course":
        """The course that the settings ask for.

        Raises:
            UserError: there is no such start, or no temperature.
        """
        start = choose(STARTS, settings.proposal, "start of annealing (--proposal)")
        if settings.temperatures < 1:
            raise UserError(f"{settings.temperatures} temperatures anneal nothing: give 1 or more, as 1000.")
        plan = Plan(settings.K, PROPOSALS["posterior"], settings.seed, settings.rows, settings.device)
        return cls(start, settings.temperatures, plan)

    @property
    def coarse(self) -> int:
        """Temperatures of the tuning."""
        return min(self.T, TUNED)

    def units(self, runs: int = 1) -> int:
        """How many times the work on a block of data yields: once for each temperature of the tuning and the runs."""
        return self.coarse + runs * -(-self.plan.K // DRAW_TILE) * self.T

    def decodes(self, D: int, runs: int = 1) -> int:
        """Decoder evaluations for each datum: the start's own, the tuning's and the runs'."""
        rounds = WARM_UP + ROUNDS * (self.coarse - 1) if self.coarse > 1 else 0
        tuning, chain = CHAINS * (1 + LEAPFROGS * rounds), 1 + LEAPFROGS * (self.T - 1)
        return self.start.decodes(D) + POINT * (tuning + runs * self.plan.K * chain)


@dataclass(frozen=True, slots=True)
class Annealer:
    """What the chains of one block of data need, all of it found before they begin, from x and other noise."""

    course: Course
    number: int  # of the block, of the noise
    N: int
    start: Beginning
    kernel: Kernel
    steps: StepSizes

    def forwards(self) -> Generator[None, None, Tensor]:
        """Log-weights of chains from the start to p(z | x), [C, N]: E[w] = p(x). Yields at each temperature."""
        return (yield from self._run("forwards", None))

    def backwards(self, z: Tensor) -> Generator[None, None, Tensor]:
        """Log-weights of chains from z [N, D] ~ p(z | x), exact, to the start, [C, N]: E[1 / w] = 1 / p(x)."""
        return (yield from self._run("backwards", z))

    def _run(self, name: str, exact: Tensor | None) -> Generator[None, None, Tensor]:
        plan, betas, tiles = self.course.plan, schedule(self.course.T), []
        for first, strata in enumerate(torch.split(self.start.strata(plan.K), DRAW_TILE)):
            place = ("ais", self.number, name, first)
            with torch.no_grad(), noise(plan.seed, *place, device=plan.device):
                z = self.start.begin(strata, self.N) if exact is None else exact.expand(len(strata), -1, -1)
            seed = derive(plan.seed, *place, "chains")
            run = anneal(self.kernel, z, betas, self.steps, seed=seed, reverse=exact is not None)
            tiles.append((yield from _pausing(run)).log_w)
        return torch.cat(tiles)

    def summary(self, log_w: Tensor) -> WeightSummary:
        """What the log-weights of all chains say, with the errors that their strata give."""
        stream = WeightStream(self.course.plan.K, self.N)
        stream.add(log_w)
        return replace(stream.summary(), se_log_px=self.start.standard_error(log_w).cpu())


def prepare(model: LatentVariableModel, x: Tensor, number: int, course: Course) -> Generator[None, None, Annealer]:
    """Find start, scale and step sizes for a block of data x [N, ...]. Yields at each temperature of the tuning.

    The steps are tuned at up to 30 temperatures with draws and noise that are thrown away, and then frozen.

    Raises:
        NoGradient: the model's log-densities have no gradient by z.
        ArithmeticError: a log-density is nan or +inf where a chain begins.
    """
    plan, N = course.plan, len(x)
    with torch.no_grad(), noise(plan.seed, "ais", number, "start", device=plan.device):
        start = Beginning(course.start.recipe(model, x, model.posterior(x)))
        scale = Mixture(start.components[:1]).sample(MEASURED, N).std(0)
        z = start.sample(CHAINS, N)
    kernel = Kernel(_path(model, x, start), LEAPFROGS, scale)
    seed = derive(plan.seed, "ais", number, "tuning")
    tuning = tune(kernel, z, schedule(course.coarse), seed=seed, target=ACCEPTANCE, rounds=ROUNDS)
    with _needing_gradients():
        steps = yield from _pausing(tuning)
    return Annealer(course, number, N, start, kernel, _between(steps, course.T))


def _pausing(states: Iterator[S]) -> Generator[None, None, S]:
    """Run to the end with a pause after each state, and keep only the last."""
    for state in states:
        last = state
        yield
    return last


def _path(model: LatentVariableModel, x: Tensor, start: Mixture) -> Path:
    def joint(z: Tensor) -> Tensor:
        log_px_z, log_pz = log_joint(model, x, z)
        return log_px_z.double() + log_pz.double()

    return Path(start.log_prob, joint)


class NoGradient(UserError):
    """log p(x, z) cannot be differentiated by z."""


@contextmanager
def _needing_gradients() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "require grad" not in str(error) and "requires grad" not in str(error):  # the second where numpy is asked
            raise
        raise NoGradient(
            "Annealing moves along the gradient of log p(x, z), and this model has none: some step of its prior or its "
            "decoder is not differentiable by z. Type --method importance."
        ) from error


def _between(steps: StepSizes, temperatures: int) -> StepSizes:
    """Step sizes for every temperature of a schedule, from those of a coarser schedule of the same form."""
    if len(steps.values) + 1 == temperatures:
        return steps
    both = torch.stack((steps.values.log(), steps.acceptance)).mT  # [2, N, coarse - 1]
    values, acceptance = interpolate(both, temperatures - 1, mode="linear", align_corners=True).mT
    return replace(steps, values=values.exp(), acceptance=acceptance)
