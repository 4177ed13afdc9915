"""Several processes that share one command, as torchrun starts them: on this machine, bound to localhost alone."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen

from tests.cli.command import ROOT, Answer

Words = Sequence[str | Path]


def port() -> int:
    """A port that is free now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """What a process of several needs to know, but for its rank."""
    home = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return os.environ | home | {"GLOO_SOCKET_IFNAME": "lo", "ELBO_PATIENCE": "60"} | more


def company(n: int, *words: str | Path, cwd: Path, **more: str) -> "list[Popen[str]]":
    """`python -m WORDS` in n processes that find each other, running."""
    shared = {"WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port())} | more
    return [
        subprocess.Popen(
            [sys.executable, "-m", *map(str, words)],
            cwd=cwd,
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **shared),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n)
    ]


def answers(running: "list[Popen[str]]") -> list[Answer]:
    """What each of them ended with."""
    told = [process.communicate(timeout=120) for process in running]
    return [Answer(process.returncode, *words) for process, words in zip(running, told, strict=True)]


def together(n: int, *commands: Words, cwd: Path) -> list[Answer]:
    """Commands of elbo, each in n processes, to the last; what the first process said. The others are silent."""
    text = json.dumps([(str(port()), [str(word) for word in words]) for words in commands])
    first, *others = ([Answer(**a) for a in json.loads(told.out)] for told in _run(n, text, cwd))
    assert all(answer.code == 0 for answer in first), [answer.err for answer in first]
    assert all((other.code, other.out, other.err) == (0, "", "") for each in others for other in each), others
    return first


def _run(n: int, text: str, cwd: Path) -> list[Answer]:
    found = answers(company(n, "tests.scale.child", text, cwd=cwd))
    assert not any(each.code for each in found), found
    return found
