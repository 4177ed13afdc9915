"""`elbo gap` with every q(z|x) and p(z): each method against the trapezoid rule on the same two latents."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli import checkpoint
from elbo_cli.checkpoint import Header
from elbo_cli.data.split import Split
from elbo_cli.evaluation import evaluate
from elbo_cli.gap.annealing.ais import ais
from elbo_cli.gap.exact.closed_form import knows, linear_gaussian
from elbo_cli.gap.exact.method import applies, exact
from elbo_cli.gap.findings import Weighed
from elbo_cli.gap.importance import Plan, weigh_block
from elbo_cli.gap.jobs import Job
from elbo_cli.gap.proposals.recipes import PROPOSALS
from elbo_cli.gap.proposals.refine import refine
from elbo_cli.gap.sandwich import sandwich
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.split_gap import split_gap
from elbo_cli.models.architecture import Architecture
from elbo_cli.models.choices import Choices
from elbo_cli.models.likelihoods import LIKELIHOODS, Options
from elbo_cli.models.perceptrons import mlp_decoder, mlp_encoder
from elbo_cli.models.posteriors import POSTERIORS
from elbo_cli.models.priors import PRIORS
from elbo_cli.models.vae import VAE
from elbo_cli.records import EpochRecord, GapFindings
from elbo_cli.runtime import finished
from tests.gap.runs import split_of
from tests.models.families import ALL, pixels, vae
from tests.statistics import outside, within

N, SEED = 3, 5
SOME = {"q: lowrank_normal", "q: maf", "q: two layers", "p: mixture", "p: vamp", "p: realnvp"}  # in every run
KINKED = "p: nsf"  # no grid comes to rest on the knots of a spline: the trapezoid rule does not take such a prior


def tame(name: str) -> VAE:
    """Flows as a prior near enough to a normal that a few draws resolve something."""
    return vae(ALL[name], scale=0.25 if name.startswith("p: ") else 0.35).eval()


def data() -> Tensor:
    return pixels(N + 9)[9:]


@pytest.fixture(scope="module")
def truths() -> dict[str, Tensor]:
    """Log p(x) of the data under each model, [N], by a grid of 500 x 500 midpoints."""
    edges = torch.linspace(-14, 14, 501, dtype=torch.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    z = torch.cartesian_prod(middle, middle)
    found = {}
    with torch.no_grad():
        for name in ALL:
            model = tame(name)
            px_z = model.likelihood(z.unsqueeze(1))
            log_pxz = px_z.log_prob(data()) + model.prior().log_prob(z).unsqueeze(1)
            found[name] = log_pxz.logsumexp(0) + 2 * torch.log(edges[1] - edges[0])
    return found


def column(found: GapFindings, name: str) -> Tensor:
    return torch.tensor([getattr(row, name) for row in found.rows], dtype=torch.float64)


@pytest.mark.parametrize("name", ALL)
def test_the_trapezoid_rule_takes_every_family_but_kinked_priors(name: str, truths: dict[str, Tensor]) -> None:
    model = tame(name)
    rule = applies(model, data())
    if name == KINKED:
        assert rule is None
        return
    assert rule == "trapezoid"
    found = finished(exact(model, split_of(data()), Settings()))
    torch.testing.assert_close(column(found, "log_px"), truths[name], rtol=0, atol=1e-4)
    assert found.verdict.resolved
    assert (column(found, "se_elbo") > 0).all() == ("nsf" in name or "flows" in name), "the ELBO of a spline is drawn"


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("proposal", ["auto", "refined"])
def test_every_proposal_is_unbiased(name: str, proposal: str, truths: dict[str, Tensor]) -> None:
    """E[exp L_K] = p(x), to 4 % (under the kinked prior, where draws say less, 10 %); a K off by a fifth is seen."""
    model, R = tame(name), 400
    found = weighed(model, data()[:1].expand(R, -1), proposal, K=16)
    off = (found.proposal.log_px - truths[name][0]).exp().view(-1, 1)
    within(off, 1.0, resolve=0.1 if name == KINKED else 0.04)
    outside(off * 16 / 13, 1.0)


def weighed(model: VAE, x: Tensor, proposal: str, K: int) -> Weighed:
    return weigh_block(model, x, Job(0, K, torch.arange(len(x))), Plan(K, PROPOSALS[proposal], SEED))


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in SOME else pytest.mark.slow) for n in ALL])
def test_annealing_and_the_sandwich_hold_log_px_between_them(name: str, truths: dict[str, Tensor]) -> None:
    model, split = tame(name).float(), split_of(data())
    found = finished(ais(model, split, Settings(K=16, temperatures=8)))
    error = (column(found, "log_px") - truths[name]).abs()
    assert (error < 5 * column(found, "se_log_px") + 0.005).all(), error
    assert (column(found, "se_log_px") < 0.2).all(), "blind"
    between = finished(sandwich(model, 64, Settings(K=64)))
    assert between.width.mean > -3 * between.width.se_data
    assert between.width.mean < 0.15
    assert between.log_px_at_least < between.log_px_at_most


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in SOME else pytest.mark.slow) for n in ALL if n.startswith("q: ")]
)
def test_the_gap_of_every_q_is_split(name: str, truths: dict[str, Tensor]) -> None:
    """The best q of the same family lies between q and log p(x), and the halves add up to the gap."""
    model = tame(name).float()
    found = finished(split_gap(model, split_of(data()), Settings(K=300)))
    assert found.family == {"q: diagonal_normal": "diagonal", "q: full_normal": "full"}.get(name, "own")
    noise = 3 * (found.approximation_gap.se_mc or 0.0)
    assert noise < 0.15, "blind"
    assert found.amortisation_gap.mean > 0.05
    assert found.approximation_gap.mean > -noise - 0.01
    if name.endswith("normal"):  # of flows and layers what all data share is drawn and not trained, and good for none
        assert found.approximation_gap.mean < 0.25 + noise
    total = found.amortisation_gap.mean + found.approximation_gap.mean
    assert total == pytest.approx(truths[name].mean().item() - (found.gap.elbo.mean), abs=noise + 0.02)


def test_the_own_search_ends_where_the_best_normal_is_known() -> None:
    """A linear-Gaussian model and a covariance of full rank: the best q is p(z | x), and nothing is left."""
    model, x = linear("lowrank_normal", Choices(rank=2)), torch.randn(20, 2, 4)
    found = finished(split_gap(model.float(), Split("test", x, "numbers"), Settings(K=200)))
    assert found.family == "own"
    assert found.approximation_gap.mean == pytest.approx(0, abs=0.03)
    assert found.amortisation_gap.mean > 0.3
    truth = finished(exact(model, Split("test", x, "numbers"), Settings()))
    assert found.amortisation_gap.mean == pytest.approx(truth.gap.mean, abs=0.02 + 3 * (found.gap.elbo.se_mc or 0.0))


def test_every_decode_of_the_own_search_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each datum; a value with its gradient as 3."""
    counted, likelihood = [0], VAE.likelihood

    def counting(self: VAE, z: Tensor) -> Distribution:
        counted[0] += (3 if z.requires_grad else 1) * z.shape[:-2].numel()
        return likelihood(self, z)

    monkeypatch.setattr(VAE, "likelihood", counting)
    model, x = linear("lowrank_normal", Choices(rank=2)), torch.randn(3, 2, 4).double()
    assert refine(model, x, model.posterior(x), "own", steps=6, seed=0).decodes == counted[0]


def linear(family: str, choices: Choices, prior: str = "standard_normal", D: int = 2) -> VAE:
    """A linear decoder, a Gaussian likelihood, float64."""
    torch.manual_seed(1)
    visible, nothing = LIKELIHOODS["gaussian"]((2, 4), Options("shared")), Architecture(hidden=())
    q = POSTERIORS[family](D, choices)
    encoder = mlp_encoder((2, 4), Architecture(hidden=(5,)), q.size)
    return VAE(encoder, mlp_decoder(D, nothing, (1, 2, 4)), PRIORS[prior](D, choices), q, visible).double()


@pytest.mark.parametrize("family", ["diagonal_normal", "lowrank_normal", "full_normal"])
def test_a_linear_gaussian_model_stays_exact_with_any_normal_q(family: str) -> None:
    """The KL of each covariance in closed form is the one of the dense matrices."""
    model, x = linear(family, Choices(rank=2), D=3), torch.randn(6, 2, 4)
    truth = linear_gaussian(model)
    assert truth is not None
    q = model.posterior(x.double())
    assert knows(q)
    dense = torch.distributions.MultivariateNormal(
        q.mean, q.variance.diag_embed() if family == "diagonal_normal" else q.covariance_matrix
    )
    ours = torch.distributions.MultivariateNormal(
        truth.posterior_mean(x.double().flatten(1)), precision_matrix=truth.precision
    )
    expected = torch.distributions.kl_divergence(dense, ours)
    torch.testing.assert_close(truth.gap(x.double().flatten(1), q)[0], expected.detach(), rtol=0, atol=1e-8)
    found = finished(exact(model, Split("test", x, "numbers"), Settings()))
    assert "closed form" in found.verdict.reason
    assert (found.approximation_gap is None) == (family == "lowrank_normal"), "its least KL has no formula"
    if family == "full_normal":
        assert found.approximation_gap is not None
        assert found.approximation_gap.mean == 0


@pytest.mark.parametrize("prior", [name for name in PRIORS if name != "standard_normal"])
def test_another_prior_is_not_taken_for_the_standard_normal(prior: str) -> None:
    choices = Choices(components=3, pseudo_inputs=torch.randn(3, 2, 4), transforms=2)
    assert linear_gaussian(linear("diagonal_normal", choices, prior)) is None
    assert linear_gaussian(linear("diagonal_normal", choices)) is not None


def test_a_flow_as_q_leaves_log_px_of_a_linear_model_in_closed_form() -> None:
    model, x = linear("flow", Choices(transforms=2)), torch.randn(6, 2, 4)
    found = finished(exact(model, Split("test", x, "numbers"), Settings()))
    assert "closed form" in found.verdict.reason
    assert found.gap.mean > 0


@pytest.mark.parametrize("name", ALL)
def test_a_checkpoint_holds_all_of_it(name: str, tmp_path: Path) -> None:
    """Written and read, it evaluates to the same number in another model of the same config."""
    model, split = vae(ALL[name]).float(), split_of(pixels(12))
    header = Header("", (5,), "", EpochRecord(), None, None)
    checkpoint.write(tmp_path / "a.safetensors", header, model.state_dict(), {})
    twin = vae(ALL[name], seed=3).float()
    kept = checkpoint.read(tmp_path / "a.safetensors").weights()
    twin.load_state_dict(kept)
    assert kept.keys() == model.state_dict().keys()
    ours, theirs = (evaluate(m, split, data="x", samples=3, seed=0, device=torch.device("cpu")) for m in (model, twin))
    assert ours == theirs
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(iter(other.parameters())).add_(0.1)
    assert evaluate(other, split, data="x", samples=3, seed=0, device=torch.device("cpu")) != ours
