"""A headless Chromium driven over the DevTools protocol, through two pipes: no port, no driver, no further package.

Every request that a page makes and every complaint on its console is kept, so that a test can say there was none.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
    "--force-prefers-reduced-motion", "--hide-scrollbars", "--lang=en",
)  # fmt: skip
SECONDS = 60
# The protocol is spoken over the descriptors 3 and 4, which may be taken by each other.
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, place in zip(ends, (3, 4)):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_browser() -> str | None:
    """Path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """One page."""

    def __init__(self, requests_of: int, answers_of: int) -> None:
        self._to, self._from = requests_of, answers_of
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]  # type: ignore[no-any-return]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], SECONDS)[0]:
                raise TimeoutError("the browser does not answer")
            read = os.read(self._from, 1 << 20)
            if not read:
                raise RuntimeError("the browser ended")
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message

    def show(self, width: int, *, dark: bool = False, scripts: bool = True, height: int = 900) -> None:
        """How wide the window is, which theme the system has, and whether scripts run."""
        phone = width < 500
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Emulation.setScriptExecutionDisabled", value=not scripts)

    def open(self, path: Path, anchor: str = "") -> float:
        """Open a file, wait until it has loaded, and give the seconds that took."""
        # Going from one anchor to another would not load the page again.
        for address in ("about:blank", path.resolve().as_uri() + anchor):
            self.events.clear()
            began = time.monotonic()
            self.send("Page.navigate", url=address)
            while not any(event["method"] == "Page.loadEventFired" for event in self.events):
                self._read()
        return time.monotonic() - began

    def ask(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page, promises waited for."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key and let it go, as a person does."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def point(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Save what is seen as a PNG."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def print_to(self, path: Path) -> None:
        """Print as a PDF on A4."""
        printed = self.send("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(printed["data"]))

    @property
    def requested(self) -> list[str]:
        """Addresses that the page asked for since it was opened, those that its own policy stopped left out."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        failed = [event["params"] for event in self.events if event["method"] == "Network.loadingFailed"]
        stopped = {failure["requestId"] for failure in failed if failure.get("blockedReason") == "csp"}
        return [request["request"]["url"] for request in sent if request["requestId"] not in stopped]

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings since the page was opened."""
        self.ask("1") if self._session else None
        found = []
        for event in self.events:
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled":
                found.append(str(params["args"]))
            elif event["method"] == "Log.entryAdded":
                found.append(str(params["entry"]["text"]))
        return found


@contextmanager
def opened(browser: str, profile: Path, extra: Sequence[str] = ()) -> Iterator[Tab]:
    """A tab of a browser that ends with the block."""
    to_browser, requests_of = os.pipe()
    answers_of, from_browser = os.pipe()
    ends = [str(to_browser), str(from_browser)]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *ends, browser, *FLAGS, f"--user-data-dir={profile}", *extra],
        pass_fds=(to_browser, from_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Tab(requests_of, answers_of)
    finally:
        os.close(requests_of)
        os.close(answers_of)
        process.terminate()
        process.wait(timeout=SECONDS)
