"""Headless Chromium from an empty profile and without a network, driven over a pipe."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

COMMAND = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe"),
)
NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120
START = """
import fcntl, os, sys
pair = [fcntl.fcntl(int(text), fcntl.F_DUPFD, 10) for text in sys.argv[1:3]]
os.dup2(pair[0], 3), os.dup2(pair[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Starts a program that reads its commands from file 3 and answers into file 4."""


def find_chromium() -> str:
    """The browser's path; without one the test skips, or fails where SSD_REQUIRE_BROWSER demands it."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    if os.environ.get("SSD_REQUIRE_BROWSER"):
        raise FileNotFoundError("no Chromium is installed; SSD_REQUIRE_BROWSER demands it")
    pytest.skip("no Chromium is installed (Debian's package chromium)")


class Tab:
    """A page that is open, what it wrote to its console, and what it asked to load."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._rest, self._number, self._session = b"", 0, None
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the DevTools protocol and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        number, give_up = self._number, time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
        raise TimeoutError(method)

    def open(self, path: Path, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Loads a file and waits until all of it is there."""
        self.messages, self.requests, self._loaded = [], [], False
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=path.absolute().as_uri())
        give_up = time.monotonic() + PATIENCE
        while not self._loaded:
            assert time.monotonic() < give_up, "the page does not finish loading"
            self._next()

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page; of a promise what it brings."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def image(self, path: Path, whole: bool = True) -> None:
        """Saves what is seen, the whole length of the page or the part in the window, as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._receive, 1 << 20)
            if not more:
                raise EOFError("Chromium ended")
            self._rest += more
        content, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(content)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Log.entryAdded":
            self.messages.append(params["entry"]["text"])
        elif event == "Runtime.consoleAPICalled":
            self.messages.append(" ".join(str(one.get("value")) for one in params["args"]))
        elif event == "Runtime.exceptionThrown":
            self.messages.append(params["exceptionDetails"]["text"])


@contextmanager
def open_tab() -> Iterator[Tab]:
    """A tab of a browser that knows nothing, and forgets everything."""
    command = find_chromium()
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = [str(theirs_in), str(theirs_out), command, *COMMAND, f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            [sys.executable, "-c", START, *arguments],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Tab(ours_out, ours_in)
        finally:
            os.close(ours_out)
            os.close(ours_in)
            process.terminate()
            process.wait(PATIENCE)
