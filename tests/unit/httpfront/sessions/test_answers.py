"""What clients of sessions are sent."""

from __future__ import annotations

import base64
import json
from typing import Any

from common.protocol import ops
from httpfront.formats.metadata import pack_headers, rfc3339
from httpfront.sessions import operations
from httpfront.sessions.answers import Mailbox, MessageForm, stored
from tests.support.table import table

EPOCH = "0badcafe1"
TIME = 1_700_000_000_000


def run(first: int, *content: bytes, later_ms: int = 0, kind: str = "", attempt: int = 1) -> ops.Run:
    headers = pack_headers([("content-type", kind)]) if kind else b""
    frames = b"".join(len(each).to_bytes(4) + each for each in content)
    return ops.Run(first, len(content), TIME + later_ms, headers, frames, attempt)


@table("leased", [False, True])
@table("apart", [[], [b"\xff"]])
def test_each_message_is_rendered_as_its_run_says(leased: bool, apart: list[bytes]) -> None:
    runs = [
        *(run(3, b"a"), run(4, b"b"), run(5, 'é"\n'.encode(), b"", later_ms=7), run(7, b"c", later_ms=7, attempt=2)),
        *(run(9, b"d", later_ms=7, kind="text/plain"), run(10, b"e", later_ms=8, kind="text/plain"), run(11, b"f")),
        *(run(12, each) for each in apart),
    ]
    expected: list[dict[str, Any]] = []
    for each in runs:
        kind = "text/plain" if each.headers else "application/octet-stream"
        for seq in range(each.first, each.first + each.count):
            members = {"op": "message", "topic": "t", "user": "ü", "id": f"{EPOCH}-{seq}"}
            receipt = {"receipt": f"{EPOCH}-{seq}.{each.attempt}"} if leased else {}
            about = {"time": rfc3339(each.time), "attempt": each.attempt, "type": kind}
            expected.append(members | receipt | about)
    content = ["a", "b", 'é"\n', "", "c", "d", "e", "f"]
    found = MessageForm(Mailbox(b"t", "ü".encode(), "t", "ü"), leased=leased).of_runs(EPOCH, runs)
    assert found.seqs == [3, 4, 5, 6, 7, 9, 10, 11, 12][: len(expected)]
    assert found.sizes == [1, 1, 4, 0, 1, 1, 1, 1, 1][: len(expected)]
    shown = [json.loads(each) for each in found.texts]
    assert [each.pop("text") for each in shown[:8]] == content
    assert [base64.b64decode(each.pop("base64")) for each in shown[8:]] == apart
    assert shown == expected


@table(
    "ref",
    [
        "0",
        "-0",
        "9007199254740992",
        r'"\"}{%d\\"',
        r'"\u0000\u001f\u2028"',
        r'"\ud83d\ude00"',
        '""',
        '"' + "\u00e9" * 64 + '"',
    ],
)
def test_a_ref_comes_back_as_it_came(ref: str) -> None:
    said = operations.decode(b'{"op":"publish","topic":"t","ref":%b}' % ref.encode())
    for subscribers, members in ((0, {}), (2, {"id": f"{EPOCH}-7"})):
        (text,) = stored([said.ref], subscribers, EPOCH, 7)
        assert json.loads(text) == {"op": "ok", "ref": json.loads(ref), "subscribers": subscribers} | members
