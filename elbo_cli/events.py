"""metrics.csv as TensorBoard reads it: one event for each row, a tag for each column that it measured."""

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import fields
from importlib.util import find_spec

from elbo_cli.errors import need_extra
from elbo_cli.records import EpochRecord

FILE = "events.out.tfevents.0.elbo"  # TensorBoard takes any name with tfevents in it
TAGS = {  # groups of TensorBoard's; what is not listed stands alone
    column.name: column.name.replace("_", "/", 1) if column.name.startswith(("train_", "valid_")) else column.name
    for column in fields(EpochRecord)
    if column.name not in ("epoch", "step", "seconds")
}


def refuse_missing() -> None:
    """Insist that events can be written, before the long work begins.

    Raises:
        UserError: the package is not installed.
    """
    if find_spec("tensorboardX") is None:
        raise need_extra("tensorboardX", "tensorboard", "train.log_to with tensorboard")


def beginning(started: float) -> bytes:
    """What an events file begins with; `started` is the run's, in seconds since 1970."""
    from tensorboardX.proto.event_pb2 import Event

    return _framed(Event(wall_time=started, file_version="brain.Event:2").SerializeToString())


def events(records: Iterable[EpochRecord], started: float) -> bytes:
    """The rows as events: of the epoch, at the time that training had taken. The same rows are the same bytes."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    frames = []
    for record in records:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(record) if math.isfinite(value)]
        event = Event(wall_time=started + record.seconds, step=record.epoch, summary=Summary(value=values))
        frames.append(_framed(event.SerializeToString()))
    return b"".join(frames)


def _scalars(record: EpochRecord) -> Iterator[tuple[str, float]]:
    """What the row measured; of several numbers in a cell, each latent's has a tag of its own."""
    for name, tag in TAGS.items():
        value = getattr(record, name)
        if isinstance(value, tuple):
            yield from ((f"{tag}/{j}", each) for j, each in enumerate(value))
        elif value is not None:
            yield tag, value


def _framed(data: bytes) -> bytes:
    """A TFRecord: length, its checksum, the data, theirs."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """CRC-32C, masked as TFRecord has it."""
    from tensorboardX.crc32c import crc32c

    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
