"""`elbo sweep`: every run once, whoever is killed; workers that share one journal; mistakes told before the work."""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytest.importorskip("optuna")

from elbo_cli.config.errors import ConfigError
from elbo_cli.config.sweeps import load_sweep
from elbo_cli.errors import RunError, UserError
from elbo_cli.journal import Session
from elbo_cli.runs import RunFolder
from elbo_cli.sweep import worker
from elbo_cli.sweep.crew import crowded, processes
from elbo_cli.sweep.study import DONE, FAILED, POINT, SEED, VALUES, Trials
from elbo_cli.sweep.worker import work
from tests.cli.command import TINY, elbo
from tests.scale.processes import environment

CPU = torch.device("cpu")
WIDE = ", ".join(f"k{i}: [1, 2]" for i in range(9000))  # 2^9000 has more digits than Python prints
GRID = """\
config: tiny.yaml
seeds: [0, 1, 2]
folder: {folder}
space:
  optim.lr: [1e-3, 1e-2]
  model.latent_dim: [2, 3]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text.format(folder=folder / "runs"))
    return path


def finished(runs: Path, epochs: int) -> dict[str, str]:
    """The metrics of the runs that are whole, as they were written: a clock in them tells a run that is repeated."""
    found = {path.parent.name: path.read_text() for path in sorted(runs.glob("trial-*/metrics.csv"))}
    return {name: text for name, text in found.items() if text.count("\n") == epochs + 1}


def workers(path: Path, n: int) -> "list[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "elbo_cli", "sweep", str(path), "--worker"]
    return [subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL) for _ in range(n)]


def test_twelve_runs_killed_twice_are_finished_with_nothing_repeated_and_nothing_lost(folder: Path) -> None:
    """By two workers on one journal, both of which are killed, twice; a third one does the rest."""
    path, runs, epochs = written(folder, GRID), folder / "runs", 12
    (folder / "tiny.yaml").write_text(TINY.replace("epochs: 2", f"epochs: {epochs}"))
    kept: dict[str, str] = {}
    for wanted in (2, 5):
        running = workers(path, 2)
        end = time.monotonic() + 90
        while len(finished(runs, epochs)) < wanted and time.monotonic() < end:
            time.sleep(0.02)
        for process in running:
            process.kill()
            process.wait()
        kept |= finished(runs, epochs)
    assert 5 <= len(kept) < 12, "killed in the middle of the work"
    assert elbo("sweep", path, "--worker").code == 0
    after = finished(runs, epochs)
    assert len(after) == 12
    assert {name: after[name] for name in kept} == kept
    trials = Trials(load_sweep(path)).all()
    assert [trial.state.name for trial in trials] == [DONE] * 12
    points = {(*trial.user_attrs[VALUES].values(), trial.user_attrs[SEED]) for trial in trials}
    assert len(points) == 12
    for trial in trials:
        records = RunFolder(runs / f"trial-{trial.number:04}").records()
        assert [record.epoch for record in records] == list(range(1, epochs + 1))
        assert trial.value == max(record.score for record in records)


def test_a_sweep_ends_in_the_comparison_and_again_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(folder, GRID.replace("[0, 1, 2]", "[0, 1]").replace("[2, 3]", "[2]"))
    monkeypatch.setattr(
        "elbo_cli.commands.sweeping.run_here", lambda plan, left, device: elbo("sweep", path, "--worker")
    )
    answer = elbo("sweep", path, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["runs"], found["failed"]) == (4, 0)
    assert found["comparison"]["split"] == "valid"
    assert [len(config["runs"]) for config in found["comparison"]["configs"]] == [2, 2]
    assert "annot be told" in found["comparison"]["verdict"], "two seeds tell no configs apart"
    monkeypatch.setattr("elbo_cli.commands.sweeping.run_here", lambda *_: pytest.fail("it is finished"))
    again = json.loads(elbo("sweep", path, "--json").out)
    assert again == found


def test_a_random_search_draws_the_same_points_for_every_worker(folder: Path) -> None:
    text = "config: tiny.yaml\nsearch: random\ntrials: 30\nfolder: {folder}\nspace:\n"
    text += "  optim.lr: {{low: 1e-4, high: 1e-2, log: true}}\n  model.latent_dim: {{low: 2, high: 9}}\n"
    points = load_sweep(written(folder, text)).points()
    assert points == load_sweep(folder / "sweep.yaml").points()
    rates = [float(point["optim.lr"]) for point in points]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert 8 <= sum(rate < 1e-3 for rate in rates) <= 22, "uniform in the logarithm"
    assert {int(point["model.latent_dim"]) for point in points} <= set(range(2, 10))


def test_a_search_that_proposes_trains_every_seed_of_a_point(folder: Path) -> None:
    text = "config: tiny.yaml\nsearch: tpe\ntrials: 2\nseeds: [4, 7]\nfolder: {folder}\n"
    text += "space:\n  optim.lr: {{low: 1e-4, high: 1e-2, log: true}}\n  model.encoder.hidden: [[8], [16, 8]]\n"
    plan = load_sweep(written(folder, text))
    told = list(work(plan, Trials(plan), CPU))
    assert [each.why for each in told] == [""] * 4
    trials = Trials(plan).all()
    by_point = {point: [t for t in trials if t.user_attrs[POINT] == point] for point in (0, 2)}
    for same in by_point.values():
        assert [t.user_attrs[SEED] for t in same] == [4, 7]
        assert same[0].params == same[1].params
    assert by_point[0][0].params != by_point[2][0].params
    assert Trials(plan).left() == 0


def test_a_whole_number_is_never_rounded_out_of_its_range(folder: Path) -> None:
    """2^63 - 1 is no float, and the nearest one is 2^63."""
    text = "config: tiny.yaml\nsearch: random\ntrials: 200\nspace:\n"
    text += f"  train.patience: {{{{low: {2**63 - 2}, high: {2**63 - 1}}}}}\n"
    assert {int(point["train.patience"]) for point in load_sweep(written(folder, text)).points()} == {2**63 - 1}


@pytest.mark.parametrize("search", ["grid", "tpe"])
def test_a_worker_killed_while_it_asks_loses_no_value(
    search: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna writes a trial's parameters one by one: a kill between two of them leaves a trial that runs with one."""
    plan = load_sweep(written(folder, GRID.replace("[0, 1, 2]", "[0]") + f"search: {search}\ntrials: 3\n"))
    trials = Trials(plan)
    first, *_ = trials._distributions().items()
    trials.study.ask(fixed_distributions=dict([first]))
    after = Trials(plan)
    points = []
    while (claimed := after.claim()) is not None:
        points.append(claimed.point)
        after.tell(claimed, -1.0)
    assert len(points) == (4 if search == "grid" else 3)
    assert all(set(point) == set(plan.space) for point in points)
    assert Trials(plan).left() == 0


def test_two_workers_never_have_one_trial(folder: Path) -> None:
    plan = load_sweep(written(folder, GRID))
    one, other = Trials(plan), Trials(plan)
    claims = [worker.claim() for _ in range(7) for worker in (one, other)]
    held = [claim.number for claim in claims if claim is not None]
    assert sorted(held) == list(range(12))


def test_a_run_that_fails_is_told_and_the_others_go_on(folder: Path) -> None:
    text = "config: tiny.yaml\nfolder: {folder}\nspace:\n  optim.lr: [1e30, 1e-3]\n"
    path = written(folder, text)
    assert elbo("sweep", path, "--worker").code == 0
    states = [trial.state.name for trial in Trials(load_sweep(path)).all()]
    assert states == [FAILED, DONE]
    answer = elbo("sweep", path)
    assert answer.code == 0
    assert "trial-0000: failed. The loss is not finite" in answer.out


def test_a_run_that_no_memory_holds_is_told_and_the_others_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nothing foresaw is the trial's own too: left open, it would end every worker that takes it up."""
    plan = load_sweep(written(folder, GRID.replace("[0, 1, 2]", "[0]")))
    trains = worker.journal

    def hungry(session: Session) -> Iterator[object]:
        if session.folder.path.name == "trial-0001":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10^15 bytes.")
        return trains(session)

    monkeypatch.setattr(worker, "journal", hungry)
    told = list(work(plan, Trials(plan), CPU))
    assert [bool(each.why) for each in told] == [False, True, False, False]
    assert "not enough memory" in told[1].why
    assert [trial.state.name for trial in Trials(plan).all()] == [DONE, FAILED, DONE, DONE]


def test_trouble_of_the_machine_ends_the_worker_and_leaves_the_run_to_be_taken_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load_sweep(written(folder, GRID.replace("[0, 1, 2]", "[0]")))
    trains = worker.journal

    def full(session: Session) -> Iterator[object]:
        raise RunError("Cannot write metrics.csv: no space left on device.") from OSError(28, "no space left")

    monkeypatch.setattr(worker, "journal", full)
    with pytest.raises(RunError, match="no space left"):
        next(work(plan, Trials(plan), CPU))
    monkeypatch.setattr(worker, "journal", trains)
    gc.collect()  # the claim of a worker that ended is let go of with it
    assert [each.why for each in work(plan, Trials(plan), CPU)] == [""] * 4


def test_data_that_are_gone_fail_no_run(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(TINY.replace("name: digits", f"name: arrays, path: {folder}/mine.npy"))
    path = written(folder, GRID)
    answer = elbo("sweep", path)
    assert answer.code == 2
    assert "mine.npy does not exist" in answer.err
    assert {trial.state.name for trial in Trials(load_sweep(path)).all()} == {"WAITING"}


def test_a_folder_holds_one_sweep(folder: Path) -> None:
    Trials(load_sweep(written(folder, GRID)))
    with pytest.raises(UserError, match="holds another sweep"):
        Trials(load_sweep(written(folder, GRID.replace("1e-2", "1e-1"))))


def test_a_database_serves_as_well(folder: Path) -> None:
    text = GRID.replace("[0, 1, 2]", "[0]").replace("[2, 3]", "[2]") + f"storage: sqlite:///{folder}/sweep.db\n"
    plan = load_sweep(written(folder, text))
    assert len(list(work(plan, Trials(plan), CPU))) == 2
    assert (folder / "sweep.db").exists()
    assert Trials(plan).claim() is None


@pytest.mark.slow
def test_jobs_of_a_cluster_are_workers(folder: Path) -> None:
    """By submitit's executor for this machine; on SLURM it is the same call."""
    pytest.importorskip("submitit")
    text = GRID.replace("[0, 1, 2]", "[0]") + "slurm: {{jobs: 2, minutes: 5, cluster: local}}\n"
    answer = elbo("sweep", written(folder, text), "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["runs"] == 4


def test_cores_are_shared_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elbo_cli.sweep.crew.cores", lambda: 8)
    plan = load_sweep(written(folder, GRID))
    assert processes(plan, left=12) == 8
    assert processes(plan, left=1) == 1
    assert not crowded(plan, left=12)
    (folder / "tiny.yaml").write_text(TINY + "threads: 3\n")
    assert processes(load_sweep(written(folder, GRID)), left=12) == 2
    wide = load_sweep(written(folder, GRID + "processes: 3\n"))
    assert "They need 9 cores and there are 8" in crowded(wide, left=12)
    assert "processes: 2" in crowded(wide, left=12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("space: {optim.lr: [1]}", "a sweep needs config: FILE"),
        ("config: tiny.yaml", "a sweep needs space"),
        ("config: none.yaml\nspace: {optim.lr: [1e-3]}", "There is no file"),
        ("config: tiny.yaml\nserch: grid\nspace: {optim.lr: [1e-3]}", "sweep.yaml:2: serch: no such key"),
        ("config: tiny.yaml\nsearch: gird\nspace: {optim.lr: [1e-3]}", "Did you mean 'grid'?"),
        ("config: tiny.yaml\nspace:\n  optim.lrr: [1e-3]", "sweep.yaml:3: space.optim.lrr: no such key"),
        ("config: tiny.yaml\nspace:\n  optim.lr: [1e-3, fast]", "found 'fast', allowed: a number > 0"),
        ("config: tiny.yaml\nspace:\n  optim.lr: 1e-3", "found 1e-3, allowed: a list of values"),
        ("config: tiny.yaml\nspace:\n  optim.lr: []", "allowed: a list of values"),
        ("config: tiny.yaml\nspace:\n  optim.lr: {low: 1e-3, high: 1}", "a grid has no range"),
        ("config: tiny.yaml\nsearch: random\nspace:\n  optim.lr: {low: 1, high: 0.1}", "are no range"),
        ("config: tiny.yaml\nsearch: random\nspace:\n  optim.lr: {low: 0, high: 1, log: true}", "needs low above 0"),
        ("config: tiny.yaml\nsearch: random\nspace:\n  optim.lr: {lo: 0, high: 1}", "allowed: low, high and log"),
        ("config: tiny.yaml\nspace:\n  seed: [0, 1]", "list seeds"),
        ("config: tiny.yaml\nspace: [optim.lr]", "allowed: config keys to vary"),
        ("config: tiny.yaml\nspace: {optim.lr: [1e-3, 0.001]}", "0.001 is listed twice"),
        ("config: tiny.yaml\nseeds: [1, 2, 1]\nspace: {optim.lr: [1e-3]}", "1 is listed twice"),
        ("config: tiny.yaml\nspace: {'data.path=x': [1]}", "no such key: it is empty, or has an '=' in it"),
        ("config: tiny.yaml\nprocesses: 1000000000\nspace: {optim.lr: [1e-3]}", "from 1 to 1024"),
        ("config: tiny.yaml\nslurm: {jobs: 1000000000}\nspace: {optim.lr: [1e-3]}", "from 1 to 1024"),
        ("config: tiny.yaml\ntrials: 1000000000\nspace: {optim.lr: [1e-3]}", "from 1 to 10000"),
        (f"config: tiny.yaml\nspace: {{{WIDE}}}", "a grid of countless runs is more than 10,000"),
        (f"config: tiny.yaml\nsearch: random\nspace: {{{WIDE}}}", "18,000 values are more than 10,000"),
        ("config: tiny.yaml\nsearch: tpe\ntrials: 9999\nseeds: [1, 2]\nspace: {optim.lr: [1]}", "a tpe of 19,998 runs"),
        ("config: tiny.yaml\nsearch: tpe\nspace: {optim.lr: {low: -.inf, high: .inf}}", "two finite numbers"),
        ("config: tiny.yaml\nsearch: tpe\nspace: {optim.lr: {low: -1e308, high: 1e308}}", "two finite numbers"),
        ("config: tiny.yaml\nseeds: []\nspace: {optim.lr: [1e-3]}", "seeds"),
        ("config: tiny.yaml\nspace: {model.latent_dim: [2], model.latent_dim: [3]}", "given twice"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, said: str, folder: Path) -> None:
    path = folder / "sweep.yaml"
    path.write_text(text)
    answer = elbo("sweep", path)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert sorted(each.name for each in folder.iterdir()) == ["sweep.yaml", "tiny.yaml"], "nothing is made"


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    text = "config: tiny.yaml\nspace:\n  optim.lr: [-1, fast]\n  model.likelihood: [bernouli]\n"
    with pytest.raises(ConfigError) as told:
        load_sweep(written(folder, text))
    lines = str(told.value).splitlines()
    assert any("sweep.yaml:3: space.optim.lr" in line and "-1" in line for line in lines)
    assert any("fast" in line for line in lines)
    assert any("sweep.yaml:4: space.model.likelihood" in line and "bernoulli" in line for line in lines)
