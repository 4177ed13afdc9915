"""A full disk, a folder that is read-only or goes away, handles and file sizes at their limit, two at once."""

import ctypes
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.reliability.child import Ended, elbo, fork, unsaid
from benchmarks.reliability.kill import CONFIGS
from benchmarks.reliability.tally import Tally, counting
from elbo_cli import checkpoint
from elbo_cli.errors import UserError

TRIES = 160
NOBODY = 65534
LINES_TO_SEE = 2  # epochs that a run has done before something happens to it
MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096


def run(count: int | None) -> Iterator[Tally]:
    """Each misfortune some times over, at sizes and instants of its own."""
    times = max(1, (count or TRIES) // len(MISFORTUNES))
    with tempfile.TemporaryDirectory() as place:
        folder, dice = Path(place), random.Random(1)
        folder.chmod(0o755)
        (folder / "run.yaml").write_text(CONFIGS["ledger"])
        for name, misfortune in MISFORTUNES.items():
            with counting(name) as tally:
                for i in range(times):
                    home = folder / name.replace(" ", "-") / str(i)
                    home.mkdir(parents=True)
                    try:
                        tally.count(f"{name} {i}", misfortune(home, folder / "run.yaml", dice))
                    except PermissionError as error:
                        tally.skipped = f"this machine does not let us: {error}"
                        break
            yield tally


def _words(config: Path, out: Path, *more: str) -> list[str | Path]:
    return ["train", "--config", config, "--out", out, "--device", "cpu", "train.epochs=100000", *more]


def _in_time(config: Path, home: Path, mischief: Callable[[Path, int], None]) -> Ended:
    """A run to which something happens once it has a few epochs: to its folder, or to the process by its number."""
    out = home / "run"
    child = fork(lambda: elbo(*_words(config, out)), home.with_suffix(".log"))
    _epochs(out, LINES_TO_SEE)
    mischief(out, child.pid)
    return child.wait(30)


def _epochs(out: Path, wanted: int) -> None:
    """Wait until so many epochs are on the disk."""
    end = time.perf_counter() + 60
    while time.perf_counter() < end:
        metrics = out / "metrics.csv"
        if metrics.exists() and metrics.read_bytes().count(b"\n") > wanted:
            return
        time.sleep(0.01)


def _good(ended: Ended, out: Path, code: int = 1) -> str | None:
    """A sentence, the exit code, and every checkpoint that is there still loads."""
    if lost := unsaid(ended, (code,)):
        return lost
    for path in out.glob("[!.]*.safetensors"):
        try:
            checkpoint.read(path)
        except UserError as error:
            return f"the checkpoint is lost: {error}"
    return None


def full_disk(home: Path, config: Path, dice: random.Random) -> str | None:
    """A file system of a few kB: full at the first write, or at one after thousands of rows."""
    size = dice.randint(2, 34) * 4096
    _mount("tmpfs", home, 0, f"size={size}")
    try:
        ended = fork(lambda: elbo(*_words(config, home / "run")), home.with_suffix(".log")).wait(90)
        if "Traceback" not in ended.said and ended.killed:
            return f"did not end on a disk of {size} bytes"
        return _good(ended, home / "run")
    finally:
        _unmount(home)


def read_only(home: Path, config: Path, dice: random.Random) -> str | None:
    """The file system is remounted read-only under the run."""

    def over(out: Path, _: int) -> None:
        # the run holds its lock open for writing, and a mount with such a file stays writable: so a second one over it
        _mount("", out, MS_BIND, source=out)
        _mount("", out, MS_BIND | MS_REMOUNT | MS_RDONLY)

    try:
        return _good(_in_time(config, home, over), home / "run")
    finally:
        _unmount(home / "run")


def not_ours(home: Path, config: Path, dice: random.Random) -> str | None:
    """A user without rights: refused before any work, exit code 2."""
    _refuse_unless_root()

    def work() -> None:
        _become_nobody(config, home)
        elbo(*_words(config, home / "run"))

    return _good(fork(work, home.with_suffix(".log")).wait(30), home / "run", 2)


def rights_taken(home: Path, config: Path, dice: random.Random) -> str | None:
    """A user whose folder is made read-only under the run."""
    _refuse_unless_root()
    os.chown(home, NOBODY, NOBODY)
    out = home / "run"

    def work() -> None:
        _become_nobody(config, home)
        elbo(*_words(config, out))

    child = fork(work, home.with_suffix(".log"))
    _epochs(out, LINES_TO_SEE)
    out.chmod(0o555)
    try:
        return _good(child.wait(30), out)
    finally:
        out.chmod(0o755)


def removed(home: Path, config: Path, dice: random.Random) -> str | None:
    """Somebody removes the run's folder while it trains."""
    return _good(_in_time(config, home, lambda out, _: shutil.rmtree(out, ignore_errors=True)), home / "run")


def no_handles(home: Path, config: Path, dice: random.Random) -> str | None:
    """Not a file handle is left to open one more file with."""

    def exhaust(_: Path, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (dice.randint(0, 4), 4096))

    return _good(_in_time(config, home, exhaust), home / "run")


def small_files(home: Path, config: Path, dice: random.Random) -> str | None:
    """A limit on the size of a file, as quotas set one."""
    out = home / "run"
    size = dice.randint(0, 40_000)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does by itself
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        elbo(*_words(config, out))

    log = home.with_suffix(".log")
    reader, writer = os.pipe()  # the limit is on files, also on the one that the words go to

    def piped() -> None:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        work()

    child = fork(piped, log)
    os.close(writer)
    os.set_blocking(reader, False)
    said = b""
    end = time.perf_counter() + 90
    while time.perf_counter() < end:
        try:
            if not (more := os.read(reader, 65536)):
                break
            said += more
        except BlockingIOError:
            time.sleep(0.01)
    os.close(reader)
    ended = child.wait(5)
    return _good(Ended(ended.code, said.decode(errors="replace"), ended.seconds), out)


def two_at_once(home: Path, config: Path, dice: random.Random) -> str | None:
    """A second process in the folder is refused; when the first has been killed, a third goes on."""
    out, refused = home / "run", list[Ended]()

    def second(out: Path) -> None:
        refused.append(fork(lambda: elbo("train", "--resume", out), home.with_suffix(".2.log")).wait(60))
        refused.append(fork(lambda: elbo(*_words(config, out)), home.with_suffix(".3.log")).wait(60))

    child = fork(lambda: elbo(*_words(config, out)), home.with_suffix(".log"))
    _epochs(out, LINES_TO_SEE)
    second(out)
    child.signal(signal.SIGKILL)
    ended = child.wait(10)
    if not ended.killed:
        return f"the first ended by itself: {ended}"
    for each in refused:
        if lost := unsaid(each, (2,)):
            return lost
    reached = checkpoint.read(out / "last.safetensors").header.last.epoch
    third = fork(lambda: elbo("train", "--resume", out, f"train.epochs={reached + 1}"), home.with_suffix(".4.log"))
    # a run of 100,000 epochs may be cut short: train.epochs may change
    return unsaid(third.wait(60), (0,))


MISFORTUNES: dict[str, Callable[[Path, Path, random.Random], str | None]] = {
    "full disk": full_disk,
    "read-only under the run": read_only,
    "folder of another user": not_ours,
    "rights taken under the run": rights_taken,
    "folder removed under the run": removed,
    "file handles exhausted": no_handles,
    "file size limited": small_files,
    "two in one folder": two_at_once,
}


def _refuse_unless_root() -> None:
    if os.getuid():
        raise PermissionError("becoming another user needs root")


def _become_nobody(config: Path, home: Path) -> None:
    """Import all that a run imports, since Python itself may lie where nobody reads; then be nobody."""
    with suppress(SystemExit):
        elbo("train", "--config", config, "--out", f"{home}.warm", "--device", "cpu", "train.epochs=1")
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _mount(kind: str, target: Path, flags: int, options: str = "", source: Path | None = None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [str(source or kind or "none").encode(), str(target).encode(), kind.encode()]
    if libc.mount(*words, flags, options.encode()):
        raise PermissionError(f"mount: {os.strerror(ctypes.get_errno())}")


def _unmount(target: Path) -> None:
    subprocess.run(["umount", "-l", str(target)], check=False)
