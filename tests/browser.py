"""A real browser, without a window and without a package: Chromium's own protocol over two pipes."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
PATIENCE = 60.0  # seconds that an answer may take


def chromium() -> str | None:
    """The browser of this machine, if it has one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Browser:
    """One open page, and all that it said and asked for."""

    to: int
    back: int
    events: list[dict[str, Any]] = field(default_factory=list)
    session: str | None = None
    _number: int = 0
    _rest: bytes = b""

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """A command, and its answer; events that come meanwhile are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        os.write(self.to, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == self._number:
                assert "error" not in said, (method, said["error"])
                return dict(said["result"])
            self.events.append(said)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self.back, 2**16)
            assert piece, "the browser ended"
            self._rest += piece
        text, self._rest = self._rest.split(b"\0", 1)
        return dict(json.loads(text))

    def open(self, url: str, width: int = 1280, dark: bool = False, scale: float = 1.0) -> None:
        """Load a page at a width, in light or dark, to the end."""
        self.session = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": scale, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.ask("Page.navigate", url=url)
        until = time.monotonic() + PATIENCE
        while self.run("document.readyState") != "complete" or self.run("location.href") == "about:blank":
            assert time.monotonic() < until, f"{url} does not load"
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        words = {"expression": script, "returnByValue": True, "awaitPromise": True}
        return self.ask("Runtime.evaluate", **words)["result"].get("value")

    def broken_images(self) -> int:
        """How many pictures do not decode: a header alone already has a size, so that is not enough."""
        each = "[...document.images].map(i => i.decode().then(() => 0, () => 1))"
        return int(self.run(f"Promise.all({each}).then(all => all.reduce((a, b) => a + b, 0))"))

    def requests(self) -> list[str]:
        """Every address that the page asked for, itself first."""
        sent = (e["params"] for e in self.events if e.get("method") == "Network.requestWillBeSent")
        return [params["request"]["url"] for params in sent]

    def complaints(self) -> list[Any]:
        """What it wrote to the console, and every exception."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event["params"] for event in self.events if event.get("method") in kinds]

    def screenshot(self, path: Path) -> None:
        """The whole page as a picture."""
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browsing(program: str) -> Iterator[Browser]:
    """A browser, closed at the end."""
    (read, to), (back, write) = os.pipe(), os.pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:

        def _plumb() -> None:  # the protocol wants the numbers 3 and 4, whatever they are now
            high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        words = [program, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=_plumb, close_fds=False
        )
        os.close(read)
        os.close(write)
        try:
            yield Browser(to, back)
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)
            os.close(to)
            os.close(back)
