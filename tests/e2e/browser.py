"""A headless Chromium that a test controls through the pipe of its DevTools protocol."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.cluster import wait_for
from tests.e2e.test_metrics import tool

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]


def _pipe() -> list[int]:
    """Return both ends of a pipe, above the descriptors that the browser uses."""
    ends = []
    for low in os.pipe():
        ends.append(fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(low)
    return ends


class Browser:
    """One page. Close it, or use it in a `with` statement."""

    def __init__(self, folder: Path, size: str = "1200,1100", flags: Sequence[str] = ()) -> None:
        """Use `folder` for the profile."""
        (commands, self._out), (self._in, answers) = _pipe(), _pipe()
        # It reads commands from descriptor 3 and writes answers to 4; it ends when the pipe does.
        argv = [tool("bash"), "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash", tool("chromium"), *FLAGS, *flags]
        argv += [f"--user-data-dir={folder}/profile", f"--window-size={size}", "--remote-debugging-pipe", "about:blank"]
        with (folder / "browser.log").open("wb") as log:
            self._process = subprocess.Popen(
                argv, pass_fds=[commands, answers], stderr=log, stdout=log, start_new_session=True
            )
        os.close(commands)
        os.close(answers)
        self._ids = itertools.count(1)
        self._rest = b""
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Return the value of an expression."""
        result = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true. A page that is still loading has no values yet."""
        wait_for(
            lambda: self.run(f"(() => {{ try {{ return Boolean({script}); }} catch {{ return false; }} }})()"), script
        )

    def press(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        box = self.run(f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect(); "
                       "return [b.x + b.width / 2, b.y + b.height / 2]; })()")  # fmt: skip
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type into the focused element."""
        self._call("Input.insertText", text=text)

    def picture(self, path: Path) -> None:
        """Write a PNG of the visible page."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                data = os.read(self._in, 65536)
                assert data, "the browser has ended"
                self._rest += data
            line, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
