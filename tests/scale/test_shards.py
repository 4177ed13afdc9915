"""`elbo gap` in parts and in two processes: to the last bit what one process finds, or a refusal by name."""

import json
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from elbo_cli.errors import UserError
from elbo_cli.gap.importance import weigh_blocks
from elbo_cli.gap.jobs import Job, blocks, pack, unpack
from elbo_cli.gap.settings import DATA_TILE, Settings
from elbo_cli.merging import _refuse_strangers, merged
from elbo_cli.parts import OWN, About, Shard, read_part
from elbo_cli.ranks import rows_of
from elbo_cli.runtime import finished
from tests.cli.command import Answer, elbo
from tests.gap.runs import split_of
from tests.oracles import CASES
from tests.scale.processes import together

N = 180  # digits of the test split: five blocks of 32, and 20 more
WAY = ("--samples", "70", "--method", "importance")
WORDS = ("--data", "--device", "--method", "--proposal", "--shard", "--split")  # options that take no number


def told(answer: Answer) -> dict[str, object]:
    """The JSON of an answer without what a clock says."""
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    return {key: value for key, value in found.items() if key != "seconds"}


@pytest.fixture(scope="module")
def whole(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], bytes]:
    """What one process finds, as JSON and as rows."""
    out = tmp_path_factory.mktemp("whole") / "rows.csv"
    return told(elbo("gap", trained, *WAY, "--json", "--out", out)), out.read_bytes()


@pytest.fixture(scope="module")
def parts(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three parts, as Parquet and as CSV."""
    folder = tmp_path_factory.mktemp("parts")
    paths = [folder / name for name in ("part-1.parquet", "part-2.csv", "part-3.parquet")]
    for n, path in enumerate(paths, 1):
        assert elbo("gap", trained, *WAY, "--shard", f"{n}/3", "--out", path).code == 0
    return paths


def test_parts_merged_are_the_whole_to_the_bit(
    parts: list[Path], whole: tuple[dict[str, object], bytes], tmp_path: Path
) -> None:
    """Also its curve, certificate and verdict; in any order, and whatever the file's kind."""
    found = told(elbo("gap", "--merge", *reversed(parts), "--json", "--out", tmp_path / "rows.csv"))
    assert found == whole[0]
    assert (tmp_path / "rows.csv").read_bytes() == whole[1]


def test_two_processes_find_what_one_finds_to_the_bit(
    trained: Path, whole: tuple[dict[str, object], bytes], tmp_path: Path
) -> None:
    """With K draws, and with a tolerance, whose pilots the processes tell each other."""
    # 130 data: those of a process, and their fits, stay with it, 128 at a time
    tolerance = ("gap", trained, "--tolerance", "0.5", "--method", "importance", "--limit", "130", "--json")
    fixed = ("gap", trained, *WAY, "--json", "--out", "rows.csv")
    first, second = together(2, fixed, tolerance, cwd=tmp_path)
    assert told(first) == whole[0]
    assert (tmp_path / "rows.csv").read_bytes() == whole[1]
    assert told(second) == told(elbo(*tolerance))


@pytest.mark.parametrize("proposal", ["auto", "posterior"])
def test_a_table_keeps_all_that_findings_are_made_of(proposal: str) -> None:
    model = CASES["crude"].build()
    split, settings = split_of(model.data(40)), Settings(K=70, proposal=proposal)
    jobs = [Job(n, 70, index) for n, index in enumerate(blocks(40))]
    for weighed in finished(weigh_blocks(model, split, settings, jobs)):
        again = unpack(weighed.index, pack(weighed), 70, proposal == "posterior")
        for name in ("gap", "se_gap", "steps", "alarms"):
            assert torch.equal(getattr(weighed, name), getattr(again, name))
        for name in ("log_px", "se_log_px", "ess", "khat", "max_weight", "var_log_w", "jackknife", "curve"):
            assert torch.equal(getattr(weighed.proposal, name), getattr(again.proposal, name))
        assert torch.equal(weighed.own.elbo, again.own.elbo)


@pytest.mark.parametrize(("N", "n"), [(1, 1), (33, 2), (1000, 7), (180, 6)])
def test_shards_are_whole_blocks_and_all_of_them_once(N: int, n: int) -> None:
    jobs = [job for number in range(1, n + 1) for job in Shard(number, n).jobs(N, 5)]
    assert [job.number for job in jobs] == list(range(len(blocks(N))))
    assert torch.cat([job.index for job in jobs]).tolist() == list(range(N))
    assert all(int(job.index[0]) == DATA_TILE * job.number for job in jobs)


def test_parts_differ_by_one_at_most() -> None:
    sizes = [s.stop - s.start for s in (rows_of(17, part, 5) for part in range(5))]
    assert sum(sizes) == 17
    assert max(sizes) - min(sizes) == 1


def test_a_part_that_is_missing_is_named_with_the_command_that_makes_it(parts: list[Path]) -> None:
    answer = elbo("gap", "--merge", parts[0], parts[2])
    assert answer.code == 2
    assert "missing: 2/3" in answer.err
    assert "--samples 70 --shard 2/3 --out part-2.parquet" in answer.err
    assert "--seed 0 --threads 1" in answer.err


def test_a_part_that_is_there_twice_is_named(parts: list[Path], tmp_path: Path) -> None:
    twin = shutil.copy(parts[0], tmp_path / "again.parquet")
    with pytest.raises(UserError, match=r"part-1.parquet and .*again.parquet are both shard 1/3"):
        merged([*parts, twin])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seed", "1"), "seed is 1 there and 0 here"),
        (("--samples", "71"), "--samples is 71 there and 70 here"),
        (("data.binarize=threshold",), "data's digest"),
    ],
)
def test_a_part_of_another_measurement_is_named(
    options: tuple[str, ...], said: str, parts: list[Path], trained: Path, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.csv"
    base = [word for word in WAY if not (options[0] == "--samples" and word in WAY[:2])]
    assert elbo("gap", trained, *base, *options, "--shard", "3/3", "--out", stranger).code == 0
    with pytest.raises(UserError, match=r"stranger.csv is of another measurement than .*part-1.parquet") as found:
        merged([parts[0], parts[1], stranger])
    assert said in str(found.value)


@pytest.mark.parametrize("name", [f.name for f in fields(About) if f.name not in OWN])
def test_nothing_that_decides_the_numbers_may_differ(name: str, parts: list[Path]) -> None:
    first, second = read_part(parts[0]), read_part(parts[1])
    other = replace(second, about=replace(second.about, **{name: "another"}))
    with pytest.raises(UserError, match=r"part-2.csv is of another measurement .* is another there"):
        _refuse_strangers([first, other])
    _refuse_strangers([first, second])


def test_a_part_of_another_checkpoint_is_named(parts: list[Path], trained: Path, tmp_path: Path) -> None:
    other = trained / "last.safetensors"
    assert elbo("gap", other, *WAY, "--shard", "3/3", "--out", tmp_path / "p.csv").code == 0
    with pytest.raises(UserError, match="the checkpoint's digest is"):
        merged([*parts[:2], tmp_path / "p.csv"])


def test_other_pieces_are_named(parts: list[Path], trained: Path, tmp_path: Path) -> None:
    assert elbo("gap", trained, *WAY, "--shard", "2/2", "--out", tmp_path / "half.csv").code == 0
    with pytest.raises(UserError, match=r"half.csv is shard 2/2, but .* is 1/3"):
        merged([parts[0], tmp_path / "half.csv"])


def test_a_changed_number_is_seen(parts: list[Path], tmp_path: Path) -> None:
    text = parts[1].read_text()
    bad = tmp_path / "bad.csv"
    bad.write_text(text.replace("-2", "-3", 1) if text.count("-2") else text.replace("1", "2", 1))
    with pytest.raises(UserError, match=r"bad.csv"):
        read_part(bad)


def test_a_part_of_another_version_is_refused(parts: list[Path], tmp_path: Path) -> None:
    old = tmp_path / "old.csv"
    old.write_text(parts[1].read_text().replace('{\\"elbo\\": \\"', '{\\"elbo\\": \\"0.0.', 1))
    with pytest.raises(UserError, match=r"old.csv was written by elbo 0\.0\."):
        read_part(old)


def test_what_is_no_part_is_told(trained: Path, parts: list[Path], tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0]})
    frame.to_csv(tmp_path / "a.csv")
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "cut.parquet").write_bytes(parts[0].read_bytes()[:100])
    (tmp_path / "cut.csv").write_bytes(parts[1].read_bytes()[:100])
    for name in ("a.csv", "a.parquet", "cut.parquet", "cut.csv", "none.csv"):
        answer = elbo("gap", "--merge", tmp_path / name)
        assert answer.code == 2, name
        assert name in answer.err
        assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shard", "0/3", "--out", "p.csv"), "--shard 0/3 is no part"),
        (("--shard", "4/3", "--out", "p.csv"), "--shard 4/3 is no part"),
        (("--shard", "third", "--out", "p.csv"), "type i/n"),
        (("--shard", "1/3"), "needs a file"),
        (("--shard", "1/7", "--out", "p.csv"), "6 blocks of 32"),
        (("--shard", "1/3", "--out", "p.csv", "--tolerance", "0.1"), "--tolerance needs all data"),
        (("--shard", "1/3", "--out", "p.csv", "--strict"), "--strict needs all data"),
        (("--shard", "1/3", "--out", "p.csv", "--sandwich", "2"), "--sandwich needs all data"),
        (("--shard", "1/3", "--out", "p.csv", "--method", "exact"), "not cut into shards"),
        (("--merge", "--samples", "5"), "leave --samples out"),
        (("--merge", "--delta", "0.05"), "leave --delta out"),
        (("--merge", "--seed", "1", "--limit", "3"), "leave --limit, --seed out"),
    ],
)
def test_a_mistake_is_told_before_the_work(
    words: tuple[str, ...], said: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = elbo("gap", trained, *words)
    assert answer.code == 2
    assert said in answer.err
    assert not list(tmp_path.iterdir())


def test_whatever_would_have_to_be_measured_is_refused_of_parts(trained: Path) -> None:
    """Also where what is typed is the default."""
    asked = elbo("gap", "--help").out
    options = set(re.findall(r"^  +(?:-\w, )?(--[a-z-]+)", asked, re.MULTILINE))
    kept = {"--merge", "--out", "--strict", "--json", "--explain", "--help"}
    assert options > kept | {"--threads", "--device", "--data", "--split", "--proposal", "--method", "--tile"}
    for option in options - kept:
        value = [] if option in ("--split-gap", "--flow") else ["auto"] if option in WORDS else ["1"]
        answer = elbo("gap", "--merge", trained, option, *value)
        assert (answer.code, answer.out) == (2, ""), option
        assert f"as they were measured: leave {option} out" in answer.err, option


def test_annealing_is_cut_too(trained: Path, tmp_path: Path) -> None:
    way = ("--method", "ais", "--samples", "2", "--temperatures", "4", "--limit", "40")
    for n in (1, 2):
        assert elbo("gap", trained, *way, "--shard", f"{n}/2", "--out", tmp_path / f"{n}.csv").code == 0
    found = told(elbo("gap", "--merge", tmp_path / "1.csv", tmp_path / "2.csv", "--json"))
    once = told(elbo("gap", trained, *way, "--json"))
    for word in ("advice",):  # the command to type next is another
        found.pop(word), once.pop(word)
    assert found == once
