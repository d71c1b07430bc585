"""Answers in the OpenAPI description: their headers, bodies and errors. Errors come from `common/errors.py`."""

from __future__ import annotations

from typing import Any

import falcon

from common.errors import ERRORS
from httpfront.formats.coding import ACCEPTED
from httpfront.formats.ndjson import NDJSON
from httpfront.formats.params import MESSAGE_ID
from httpfront.formats.receipts import RECEIPT
from httpfront.middleware.problems import PROBLEM

Json = dict[str, Any]

JSON = falcon.MEDIA_JSON
PLAIN = "text/plain"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"


def ref(kind: str, name: str) -> Json:
    """A reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def pattern(expression: str) -> Json:
    """A string that the expression matches whole."""
    return {"type": "string", "pattern": f"^(?:{expression})$"}


_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_HEADERS: dict[str, tuple[str, Json]] = {
    "Accept-Encoding": ("Which codings are undone.", {"const": ACCEPTED}),
    "Cache-Control": ("It is not to be stored.", {"const": "no-store"}),
    "Content-Security-Policy": ("A browser runs no script of it.", {"const": "sandbox"}),
    "Idempotency-Replayed": ("The key is known: nothing was done, this is the first answer again.", {"const": "true"}),
    "Link": ('`rel="ack"`: the receipt\'s own path; `rel="next"`: the rest of the list.', _TEXT),
    "Msg-Attempt": ("How many times it has been handed out under a lease, this one included; otherwise 1.", _COUNT),
    "Msg-Count": ("How many messages this is about.", _COUNT),
    "Msg-Dead": ("Dead letters of this user.", _COUNT),
    "Msg-Due": ("When a delayed message is published.", ref("schemas", "Time")),
    "Msg-Encoding": ("Content-Encoding of each message in frames.", _TEXT),
    "Msg-First-Id": ("The first of several messages.", ref("schemas", "MessageId")),
    "Msg-Id": ("The message; of several handed out the last, of a batch the first.", ref("schemas", "MessageId")),
    "Msg-Language": ("Content-Language of each message in frames.", _TEXT),
    "Msg-Leased": ("Messages of this user that are leased or await redelivery.", _COUNT),
    "Msg-Pending": ("At most so many messages wait for this user behind what is handed out here.", _COUNT),
    "Msg-Receipt": ("What the message is acknowledged with.", ref("schemas", "Receipt")),
    "Msg-Subscribers": ("How many users will get it.", _COUNT),
    "Msg-Time": ("When it was published.", ref("schemas", "Time")),
    "Msg-Type": ("Content-Type of each message in frames.", _TEXT),
    "Preference-Applied": ("How long it would have waited.", pattern(r"wait=[0-9]+(\.[0-9]{1,3})?")),
    "Retry-After": ("Seconds.", {"type": "integer", "minimum": 1}),
    "Subscription-Created": ("Whether it was not there before.", {"type": "string", "enum": ["true", "false"]}),
    "X-Content-Type-Options": ("The type is what its publisher said.", {"const": "nosniff"}),
    "X-Request-Id": ("The request's own where it is usable, else made.", pattern("[!-~]{1,128}")),
}


def answer(text: str, always: str = "", sometimes: str = "", content: Json | None = None) -> Json:
    """A response; `always` and `sometimes` are names of its headers, with blanks between."""
    headers = {name: _header(name, True) for name in [*always.split(), "X-Request-Id"]}
    headers |= {name: _header(name, False) for name in sometimes.split()}
    return {"description": text, "headers": headers} | ({"content": content} if content else {})


def body(media_type: str, schema: str) -> Json:
    """The content of an answer in one format."""
    return {media_type: {"schema": ref("schemas", schema)}}


def lines_of(schema: str) -> Json:
    """NDJSON: the schema is that of the array of its lines, as OpenAPI 3.2 has it for sequential media types."""
    return {NDJSON: {"schema": {"type": "array", "items": ref("schemas", schema)}}}


def _header(name: str, required: bool) -> Json:
    text, schema = _HEADERS[name]
    return {"description": text, "schema": schema} | ({"required": True} if required else {})


_PLAIN = {
    400: "malformed HTTP",
    408: "the request did not arrive whole in time",
    413: "refused from `Content-Length`, or while it arrives",
    414: "the request target is too long",
    431: "the head of the request is too large",
    500: "the server failed",
    503: "too many connections",
}
"""When an answer of this status is plain text: it has no request id, and the connection is closed."""
_SHARED = {
    403: "NotFromHere",
    408: "NotArrived",
    413: "TooLarge",
    414: "TargetTooLong",
    421: "WrongHost",
    431: "HeadTooLarge",
    500: "Bug",
    503: "NotExecuted",
    504: "OutcomeUnknown",
}
"""Components by status: what any call can give, or any call to a broker. All of the table that has this status."""


def problems(*codes: str, broker: bool = True) -> Json:
    """Responses by status: those of `codes` (of the table), and what any call can give, with a `broker` or without."""
    own: dict[int, list[str]] = {400: ["bad-parameter"]} if broker else {400: ["bad-parameter"], 503: []}
    for code in codes:
        own.setdefault(ERRORS[code].status, []).append(code)
    found: Json = {str(status): problem(status, listed) for status, listed in own.items()}
    for status, name in _SHARED.items():
        if status not in own and (broker or status != 504):
            found[str(status)] = ref("responses", name)
    return found


def problem(status: int, codes: list[str]) -> Json:
    """One response. To a HEAD it comes without its body."""
    rows = [f"`{code}`: {ERRORS[code].title}." for code in codes]
    content: Json = {}
    if codes:
        these = {"properties": {"status": {"const": status}, "code": {"enum": codes}}}
        content[PROBLEM] = {"schema": {"allOf": [ref("schemas", "Problem"), these]}}
    if status in _PLAIN:
        rows.append(f"Plain text: {_PLAIN[status]}.")
        content[PLAIN] = {"schema": _TEXT}
    headers = {"X-Request-Id": _header("X-Request-Id", status not in _PLAIN)}
    if status in (429, 503):
        headers["Retry-After"] = _header("Retry-After", True)
    if status == 415:
        headers["Accept-Encoding"] = _header("Accept-Encoding", False)
    return {"description": " ".join(rows), "headers": headers, "content": content}


def _of(status: int) -> list[str]:
    return [code for code, spec in ERRORS.items() if spec.status == status and code != "forbidden"]  # only with keys


def responses() -> Json:
    """Components: the answers that many calls have in common."""
    return {name: problem(status, _of(status)) for status, name in _SHARED.items()}


def schemas() -> Json:
    """Components: the shapes of bodies, and of values that are in several places."""
    return {
        "MessageId": pattern(MESSAGE_ID) | {"description": "`<epoch>-<seq>`: epoch of the topic's life, then 1, 2, 3."},
        "Receipt": pattern(RECEIPT) | {"description": "`<Msg-Id>.<attempt>`"},
        "Time": pattern(_TIME) | {"format": "date-time", "description": "RFC 3339, UTC, with milliseconds."},
        "Message": _message(),
        "Acknowledged": _closed(
            {"receipt": ref("schemas", "Receipt"), "done": {"type": "boolean"}},
            code={"type": "string", "enum": ["lease-lost", "bad-parameter"], "description": "Why it is not done."},
        ),
        "Problem": _problem(),
        "Ready": _closed(
            {
                "ready": {"type": "boolean"},
                "draining": {"type": "boolean"},
                "brokers": _COUNT,
            },
            missing={
                "type": "array",
                "items": _TEXT,
                "description": "Ids of brokers that do not answer; not for those without a key, where keys are needed.",
            },
        ),
        "Description": {"type": "object", "required": ["openapi", "info", "paths"], "description": "OpenAPI 3.1."},
        "Live": _closed({"live": {"const": True}}),
        "Index": _closed(
            {
                "name": {"const": "fanmail"},
                "version": _TEXT,
                "calls": {"type": "object", "additionalProperties": _TEXT},
            }
        ),
    }


def _closed(required: Json, **optional: Any) -> Json:
    """An object with these members and no others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | optional,
        "additionalProperties": False,
    }


def _message() -> Json:
    """A message in NDJSON."""
    meta = {"type": "object", "additionalProperties": _TEXT, "description": "The other kept headers, if there are any."}
    not_text = {
        "type": "object",
        "additionalProperties": {"type": "string", "contentEncoding": "base64"},
        "description": "By name the kept headers, `content-type` among them, whose values are not UTF-8: their bytes.",
    }
    shape = _closed(
        {
            "id": ref("schemas", "MessageId"),
            "time": ref("schemas", "Time"),
            "attempt": {"type": "integer", "minimum": 1},
            "type": {"type": "string", "description": "Its Content-Type."},
        },
        receipt=ref("schemas", "Receipt"),
        expired={"const": True, "description": "Of a dead letter whose ttl is over."},
        meta=meta,
        headers_base64=not_text,
        text={"type": "string", "description": "Its body, where that is UTF-8."},
        base64={"type": "string", "contentEncoding": "base64", "description": "Its body, where that is not UTF-8."},
    )
    return shape | {"oneOf": [{"required": ["text"]}, {"required": ["base64"]}]}


def _problem() -> Json:
    """RFC 9457."""
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": pattern("urn:fanmail:[a-z-]+"),
            "title": {"type": "string", "description": "The same for every occurrence."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "What is wrong with this request, for a person."},
            "code": {"type": "string", "enum": list(ERRORS), "description": "A stable word."},
            "parameter": {"type": "string", "description": "The parameter or header that is refused."},
            "oldest": ref("schemas", "MessageId"),
        },
    }
