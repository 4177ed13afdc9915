"""How many cores this process may use, and whether others want them too. The standard library only."""

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of work in a period, or max


def cores() -> int:
    """The cores that this process may use: those of its affinity, or of its container's quota if they are fewer."""
    visible = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(visible, _quota(QUOTA)))


def _quota(path: Path) -> int:
    try:
        work, period = path.read_text().split()
        return math.ceil(int(work) / int(period))
    except (OSError, ValueError):  # no container, or one without a quota
        return 1024


def crowded(threads: int, processes: int = 1) -> str | None:
    """A sentence where more is to run at a time than there are cores; None where there is room.

    Threads that wait for each other's products spin: two processes of two threads on two cores were measured to take
    26 times as long as two of one thread.

    Args:
        threads: of each of our processes.
        processes: how many of ours are about to run on this machine.
    """
    room, ours = cores(), threads * processes
    if ours > room:
        return (
            f"{ours} threads are to share {_counted(room)}, and would wait for each other: expect it to be slow. "
            f"Type threads={max(1, room // processes)}."
        )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if room < (os.cpu_count() or 1) or ours + load <= room + 0.5:  # the load is of the whole machine
        return None
    cure = "Type threads=1, or wait." if threads > 1 else "Expect it to be slow."
    return f"This machine of {_counted(room)} has work for {load:.1f} already, beside {threads} of ours. {cure}"


def _counted(room: int) -> str:
    return f"{room} core{'s' * (room > 1)}"
