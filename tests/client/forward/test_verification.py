"""The code of docs/howto-webhooks.md that receivers verify signatures with."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fanmail.forward.delivery import Delivery, signed_headers
from tests.support.deployed import missing
from tests.support.documents import code

HOW_TO = "docs/howto-webhooks.md"
OLD, NEW, OTHER = (f"whsec_{letter * 32}" for letter in "AbZ")
MAIN = """
import {readFileSync} from 'node:fs';
const cases = JSON.parse(readFileSync(0));
console.log(JSON.stringify(cases.map(([headers, body, secrets]) => {
  try { verify(headers, Buffer.from(body, 'base64'), secrets); return true; } catch { return false; }
})));
"""

Case = tuple[dict[str, str], bytes, list[str]]


def keys(*secrets: str) -> list[bytes]:
    return [base64.b64decode(each.removeprefix("whsec_")) for each in secrets]


def cases() -> dict[str, tuple[bool, Case]]:
    """Return requests with the secrets of their receiver, and whether they are to be accepted."""
    body = '{"grün": 7}\n'.encode() + b"\x00\xff"

    def signed(at: float, *secrets: str) -> dict[str, str]:
        delivery = Delivery("4f1c-17", (), body)
        return {name.decode(): value.decode() for name, value in signed_headers(delivery, keys(*secrets), int(at))}

    now = time.time()
    good = signed(now, NEW)
    return {
        "good": (True, (good, body, [NEW])),
        "before the receiver is changed": (True, (signed(now, NEW, OLD), body, [OLD])),
        "a receiver with both": (True, (signed(now, OLD), body, [NEW, OLD])),
        "another secret": (False, (good, body, [OTHER])),
        "another body": (False, (good, body + b" ", [NEW])),
        "another id": (False, (good | {"webhook-id": "4f1c-18"}, body, [NEW])),
        "another time": (False, (good | {"webhook-timestamp": str(int(now) - 1)}, body, [NEW])),
        "too old": (False, (signed(now - 400, NEW), body, [NEW])),
        "too new": (False, (signed(now + 400, NEW), body, [NEW])),
        "no time": (False, (good | {"webhook-timestamp": "x"}, body, [NEW])),
        "another version": (False, (good | {"webhook-signature": "v2" + good["webhook-signature"][2:]}, body, [NEW])),
        "not ASCII": (False, (good | {"webhook-signature": "v1,\u00fc"}, body, [NEW])),
    }


def in_python(given: list[Case], _: Path) -> list[bool]:
    names: dict[str, Any] = {"__name__": "how_to"}
    exec(compile(code(HOW_TO, "python"), HOW_TO, "exec"), names)
    results = []
    for each in given:
        try:
            names["verify"](*each)
            results.append(True)
        except ValueError:
            results.append(False)
    return results


def in_javascript(given: list[Case], folder: Path) -> list[bool]:
    node = shutil.which("node")
    if node is None:
        missing("node")
    (folder / "verify.mjs").write_text(code(HOW_TO, "javascript") + MAIN)
    text = json.dumps([(headers, base64.b64encode(body).decode(), secrets) for headers, body, secrets in given])
    argv = [str(node), str(folder / "verify.mjs")]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.mark.parametrize("run", [in_python, in_javascript])
def test_what_was_signed_is_accepted_and_nothing_else(
    run: Callable[[list[Case], Path], list[bool]], tmp_path: Path
) -> None:
    wanted = cases()
    results = run([case for _, case in wanted.values()], tmp_path)
    assert dict(zip(wanted, results, strict=True)) == {name: accepted for name, (accepted, _) in wanted.items()}
