"""TensorBoard's events are metrics.csv in another form, whatever was killed, and change nothing else."""

import struct
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import RecordWriter

from elbo_cli import config as configs
from elbo_cli import events
from elbo_cli.config.errors import ConfigError
from elbo_cli.errors import UserError
from elbo_cli.journal import journal, resume, start
from elbo_cli.records import EpochRecord, Tick
from elbo_cli.runs import RunFolder
from tests.test_journal import CONFIG, kept

CPU = torch.device("cpu")
BOTH = "train.log_to=[csv, tensorboard]"
ROW = EpochRecord(epoch=3, seconds=2.5, lr=1e-3, train_elbo=-90.5, train_kl=float("nan"), valid_elbo=-91.25)


def read(path: Path) -> Iterator[Event]:
    """The events of a file; a frame that is cut short ends them, as it does in TensorBoard."""
    data = path.read_bytes()
    while len(data) >= 12:
        (length,) = struct.unpack("<Q", data[:8])
        if len(data) < length + 16:
            return
        yield Event.FromString(data[12 : 12 + length])
        data = data[length + 16 :]


def trained(folder: Path, *overrides: str, until: int | None = None) -> RunFolder:
    session = start(configs.loads(CONFIG, overrides=overrides), "test", folder, CPU)
    for event in journal(session):
        if not isinstance(event, Tick) and event.epoch == until:
            break
    return session.folder


def test_a_frame_is_what_tensorboardx_itself_writes(tmp_path: Path) -> None:
    for data in (b"", b"123456789", bytes(range(256)) * 5):
        writer = RecordWriter(str(tmp_path / "frames"))
        writer.write(data)
        writer.close()
        assert events._framed(data) == (tmp_path / "frames").read_bytes()


def test_a_row_is_an_event_with_a_tag_for_each_measured_number(tmp_path: Path) -> None:
    (tmp_path / "events").write_bytes(events.beginning(100.0) + events.events([ROW], 100.0))
    first, event = read(tmp_path / "events")
    assert first.file_version == "brain.Event:2"
    assert (event.step, event.wall_time) == (3, 102.5)
    found = {value.tag: value.simple_value for value in event.summary.value}
    told = {"train/elbo": -90.5, "valid/elbo": -91.25, "lr": 1e-3, "beta": 1.0}
    assert {tag: found[tag] for tag in told} == pytest.approx(told)
    assert not {"train/kl", "valid/log_px", "epoch", "seconds"} & found.keys()  # nan, empty, and the event's own


def test_the_latents_of_a_cell_have_tags_of_their_own(tmp_path: Path) -> None:
    row = replace(ROW, kl_per_latent=(0.5, 0.25))
    (tmp_path / "events").write_bytes(events.events([row], 100.0))
    (event,) = read(tmp_path / "events")
    found = {value.tag: value.simple_value for value in event.summary.value}
    assert (found["kl_per_latent/0"], found["kl_per_latent/1"]) == (0.5, 0.25)


def test_every_column_has_a_tag_but_those_that_are_the_events_own() -> None:
    assert set(events.TAGS) == {f.name for f in fields(EpochRecord)} - {"epoch", "step", "seconds"}
    assert len(set(events.TAGS.values())) == len(events.TAGS)


def test_the_events_of_a_run_are_its_rows(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", BOTH)
    found = {event.step: event for event in read(run.events) if event.step}
    for record in run.records():
        values = {value.tag: value.simple_value for value in found.pop(record.epoch).summary.value}
        assert values["train/elbo"] == pytest.approx(record.train_elbo)
        assert values.get("valid_gap".replace("_", "/")) == pytest.approx(record.valid_gap)
    assert not found
    assert run.events in run.files()


@pytest.mark.parametrize("harm", ["none", "torn", "row ahead", "gone"])
def test_a_resumed_run_has_the_events_of_its_rows_whatever_a_kill_left(tmp_path: Path, harm: str) -> None:
    run = trained(tmp_path / "run", BOTH, until=3)
    content = run.events.read_bytes()
    if harm == "torn":
        run.events.write_bytes(content[:-7])
    elif harm == "row ahead":
        run.events.write_bytes(content + events.events([replace(ROW, epoch=9)], 0.0))
    elif harm == "gone":
        run.events.unlink()
    for _ in journal(resume(run.path, [], CPU)):
        pass
    assert run.events.read_bytes().startswith(content)
    assert [event.step for event in read(run.events)] == [0] + [record.epoch for record in run.records()]


def test_events_change_no_bit_of_the_run(tmp_path: Path) -> None:
    plain, both = trained(tmp_path / "plain"), trained(tmp_path / "both", BOTH)
    assert kept(plain.path) == kept(both.path)
    assert not plain.events.parent.exists()


def test_a_resumed_run_may_begin_to_write_events_of_all_its_epochs(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", until=2)
    for _ in journal(resume(run.path, [BOTH], CPU)):
        pass
    assert [event.step for event in read(run.events)] == [0] + [record.epoch for record in run.records()]


def test_without_the_package_the_extra_is_named_and_no_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elbo_cli.events.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'elbo-cli\[tensorboard\]'"):
        trained(tmp_path / "run", BOTH)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["[tensorboard]", "[]", "[csv, csv]"])
def test_metrics_csv_cannot_be_left_out(value: str) -> None:
    with pytest.raises(ConfigError, match="is what a run is resumed and reported from"):
        configs.loads(CONFIG, overrides=[f"train.log_to={value}"])
