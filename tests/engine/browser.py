"""A real Chromium for what only a browser can show: pages from files, keys and wheel, the console, pictures.

It is spoken to in the DevTools protocol over two pipes (``--remote-debugging-pipe``: one JSON text and a NUL each), so that no
driver, no socket and no library is needed. Nothing is downloaded: without a Chromium on the PATH there is none.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--disable-extensions", "--hide-scrollbars", "--force-color-profile=srgb",
)  # fmt: skip
_ANSWER_S = 50


def found():
    """The browser's path; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One headless browser, until it is closed."""

    def __init__(self, path, folder):
        self._reads, far_out = os.pipe()
        far_in, self._writes = os.pipe()
        flags = [*FLAGS, f"--user-data-dir={folder}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # it refuses to run as root with one

        # It reads from 3 and writes to 4. From 10 on none of the two can be in the other's way.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (far_in, far_out)]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}', "bash", path, *flags, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=ends,
        )
        for end in (*ends, far_in, far_out):
            os.close(end)
        self._held = b""
        self._last = 0
        self.events = []
        self.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])

    def close(self):
        """End it, and wait for its end."""
        for pipe in (self._writes, self._reads):
            os.close(pipe)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def call(self, method, session=None, **params):
        """The answer to one command; events that come before it are kept."""
        self._last += 1
        asked = {"id": self._last, "method": method, "params": params}
        if session is not None:
            asked["sessionId"] = session
        os.write(self._writes, json.dumps(asked).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._last:
                assert "error" not in said, (method, said["error"])
                return said["result"]
            self.events.append(said)

    def until(self, method, session):
        """Wait for an event, which may have come already."""
        while not any(one.get("method") == method and one.get("sessionId") == session for one in self.events):
            self.events.append(self._next())

    def _next(self):
        ends_s = time.monotonic() + _ANSWER_S
        while b"\0" not in self._held:
            ready, _, _ = select.select([self._reads], [], [], max(0.0, ends_s - time.monotonic()))
            assert ready, f"the browser said nothing for {_ANSWER_S} s"
            read = os.read(self._reads, 1 << 20)
            assert read, "the browser has gone"
            self._held += read
        text, _, self._held = self._held.partition(b"\0")
        return json.loads(text)

    def open(self, path, *, width=1440, height=900, dark=False):
        """A file of this machine in a window of that size, loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        page = Page(self, session)
        self.call("Emulation.setFocusEmulationEnabled", session, enabled=True)
        page.size(width, height)
        page.scheme(dark=dark)
        page.call("Page.navigate", url=Path(path).resolve().as_uri())
        self.until("Page.loadEventFired", session)
        return page


class Page:
    """One window of it."""

    def __init__(self, browser, session):
        self._browser, self._session = browser, session

    def call(self, method, **params):
        """A command to this window."""
        return self._browser.call(method, self._session, **params)

    def size(self, width, height):
        """The window's, in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)  # fmt: skip

    def scheme(self, *, dark):
        """The colours that the user prefers."""
        wish = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[wish])

    def run(self, script):
        """The value of an expression in the page; a promise's, once it is there."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def painted(self):
        """Two frames on: what was asked for is drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def middle(self, selector):
        """The middle of an element that has been scrolled to, in the window's pixels."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'}); const b = e.getBoundingClientRect();"
            " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        return tuple(box)

    def mouse(self, kind, x, y, **more):
        """``mousePressed``, ``mouseReleased``, ``mouseMoved`` or ``mouseWheel``."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x, y, *, times=1):
        """A click of the left button."""
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, x, y, button="left", clickCount=count)

    def drag(self, start, end, **more):
        """Press, move, let go."""
        self.mouse("mousePressed", *start, button="left", buttons=1, clickCount=1, **more)
        for part in (0.3, 0.7, 1.0):
            at = [a + (b - a) * part for a, b in zip(start, end, strict=True)]
            self.mouse("mouseMoved", *at, button="left", buttons=1, **more)
        self.mouse("mouseReleased", *end, button="left", clickCount=1, **more)

    def key(self, name, text=""):
        """One key, down and up."""
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name)

    def write(self, text):
        """As if typed into what has the focus."""
        self.call("Input.insertText", text=text)

    def picture(self, path, *, whole=True):
        """A PNG of the window, or of the whole page."""
        clip = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
        made = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)
        Path(path).write_bytes(base64.b64decode(made["data"]))

    def complaints(self):
        """What the console has of errors and warnings, exceptions, and what the page's policy has refused."""
        told = []
        for one in self._browser.events:
            if one.get("sessionId") != self._session:
                continue
            what, params = one["method"], one["params"]
            if what == "Runtime.exceptionThrown":
                told.append(params["exceptionDetails"])
            elif what == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                told.append(params["entry"]["text"])
            elif what == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                told.append(params["args"])
        return told

    def asked_for(self):
        """Every address that the page has asked for."""
        return [
            one["params"]["request"]["url"]
            for one in self._browser.events
            if one.get("sessionId") == self._session and one["method"] == "Network.requestWillBeSent"
        ]
