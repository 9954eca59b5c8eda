"""A page in a real headless Chromium, controlled over its debugging pipe: its complaints, and what it loads."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from base64 import b64decode
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

#: Names of the program; Debian's package is `chromium`.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: Seconds that one page may take, also on a busy machine.
PATIENCE = 120

#: Seconds to wait for complaints of a page that has loaded.
_AFTER = 0.5

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)


@dataclass
class Visit:
    """What happened on a page.

    Attributes
    ----------
    errors : list of str
        Errors and warnings of the console, uncaught exceptions, and what could not be loaded.
    requests : list of str
        Addresses that the page asked for, without those that start with data:.
    dom : str
        The text of its body, as shown.
    broken : list of str
        Alternative texts of images that did not show.
    screenshot : bytes
        PNG of the whole page.
    """

    errors: List[str] = field(default_factory=list)
    requests: List[str] = field(default_factory=list)
    dom: str = ""
    broken: List[str] = field(default_factory=list)
    screenshot: bytes = b""


def find() -> Optional[str]:
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def _profile():
    """A folder for the browser's files, of which its last processes may still write some while it is removed."""
    folder = tempfile.mkdtemp()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def visit(path, dark=False, width=1000) -> Visit:
    """Open a file in Chromium and close it again."""
    program = find()
    assert program
    with _profile() as profile:
        # The browser reads commands from its descriptor 3 and writes to its 4.
        to_browser, commands = os.pipe()
        answers, from_browser = os.pipe()
        words = [program, *_OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},900", "about:blank"]
        line = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
        process = subprocess.Popen(
            ["bash", "-c", line, "bash", *words],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        session = _Session(commands, answers)
        try:
            return session.visit(path.resolve().as_uri(), dark)
        finally:
            session.end()
            process.terminate()
            process.wait(PATIENCE)


class _Session:
    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._number = 0
        self._rest = b""
        self._session: Dict[str, str] = {}
        self._found = Visit()
        self._loaded = False

    def visit(self, address: str, dark: bool) -> Visit:
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask("Page.navigate", url=address)
        deadline = time.monotonic() + PATIENCE
        while not self._loaded:
            self._take(deadline)
        self._wait(_AFTER)
        self._found.dom = self._value("document.body.innerText")
        broken = "Array.from(document.images).filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)"
        self._found.broken = self._value(broken)
        shot = self._ask("Page.captureScreenshot", captureBeyondViewport=True, **self._whole_page())
        self._found.screenshot = b64decode(shot["data"])
        return self._found

    def end(self) -> None:
        for descriptor in (self._commands, self._answers):
            os.close(descriptor)

    def _whole_page(self) -> Dict[str, Any]:
        size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _value(self, expression: str) -> Any:
        return self._ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def _ask(self, method: str, **parameters: Any) -> Dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._take(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while select.select([self._answers], [], [], max(0, deadline - time.monotonic()))[0]:
            self._take(deadline + PATIENCE)

    def _take(self, deadline: float) -> Dict[str, Any]:
        """The next message. What it tells about the page goes into the visit."""
        while b"\0" not in self._rest:
            assert select.select([self._answers], [], [], max(0, deadline - time.monotonic()))[0], "Chromium is silent"
            data = os.read(self._answers, 1 << 20)
            assert data, "Chromium has ended"
            self._rest += data
        line, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, told: Dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self._found.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self._found.errors.append(" ".join(str(part.get("value", part)) for part in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self._found.errors.append(told["entry"]["text"])
        elif method == "Network.loadingFailed":
            self._found.errors.append(told.get("blockedReason") or told["errorText"])
        elif method == "Network.requestWillBeSent" and not told["request"]["url"].startswith("data:"):
            self._found.requests.append(told["request"]["url"])
