"""Answers in the OpenAPI description: headers, bodies and errors. Errors come from `common/errors.py`."""

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
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def pattern(expression: str) -> Json:
    """Return the schema of a string that the expression matches whole."""
    return {"type": "string", "pattern": f"^(?:{expression})$"}


_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_HEADERS: dict[str, tuple[str, Json]] = {
    "Accept-Encoding": ("Supported content codings.", {"const": ACCEPTED}),
    "Cache-Control": ("Caches must not store it.", {"const": "no-store"}),
    "Content-Security-Policy": ("Browsers run no scripts of it.", {"const": "sandbox"}),
    "Idempotency-Replayed": (
        "The key is known: nothing was published, and this is the first answer again.",
        {"const": "true"},
    ),
    "Link": ('`rel="ack"`: path that acknowledges the message; `rel="next"`: the next page.', _TEXT),
    "Msg-Attempt": ("Number of deliveries under a lease, including this one; otherwise 1.", _COUNT),
    "Msg-Count": ("Number of messages.", _COUNT),
    "Msg-Dead": ("Dead letters of this user.", _COUNT),
    "Msg-Due": ("When a delayed message is published.", ref("schemas", "Time")),
    "Msg-Encoding": ("Content-Encoding of each message in frames.", _TEXT),
    "Msg-First-Id": ("Id of the first of several messages.", ref("schemas", "MessageId")),
    "Msg-Id": (
        "Id of the message; of several read the last, of a published batch the first.",
        ref("schemas", "MessageId"),
    ),
    "Msg-Language": ("Content-Language of each message in frames.", _TEXT),
    "Msg-Leased": ("Messages of this user that are leased or await redelivery.", _COUNT),
    "Msg-Pending": ("Upper bound of the messages that wait for this user after this answer.", _COUNT),
    "Msg-Receipt": ("Receipt that acknowledges the message.", ref("schemas", "Receipt")),
    "Msg-Subscribers": ("Number of users that will receive it.", _COUNT),
    "Msg-Time": ("Time of publishing.", ref("schemas", "Time")),
    "Msg-Type": ("Content-Type of each message in frames.", _TEXT),
    "Preference-Applied": ("The wait that was applied, in seconds.", pattern(r"wait=[0-9]+(\.[0-9]{1,3})?")),
    "Retry-After": ("Seconds until a retry.", {"type": "integer", "minimum": 1}),
    "Subscription-Created": ("Whether the subscription is new.", {"type": "string", "enum": ["true", "false"]}),
    "X-Content-Type-Options": ("The media type is that of the publisher.", {"const": "nosniff"}),
    "X-Request-Id": ("Id of the request: the client's where it is valid, else a new one.", pattern("[!-~]{1,128}")),
}


def answer(text: str, always: str = "", sometimes: str = "", content: Json | None = None) -> Json:
    """Return a response; `always` and `sometimes` are names of its headers, separated by blanks."""
    headers = {name: _header(name, True) for name in [*always.split(), "X-Request-Id"]}
    headers |= {name: _header(name, False) for name in sometimes.split()}
    return {"description": text, "headers": headers} | ({"content": content} if content else {})


def body(media_type: str, schema: str) -> Json:
    """Return the content of an answer in one format."""
    return {media_type: {"schema": ref("schemas", schema)}}


def lines_of(schema: str) -> Json:
    """Return the content of an NDJSON answer.

    The schema is that of the array of its lines, as OpenAPI 3.2 has it for sequential media types.
    """
    return {NDJSON: {"schema": {"type": "array", "items": ref("schemas", schema)}}}


def _header(name: str, required: bool) -> Json:
    text, schema = _HEADERS[name]
    return {"description": text, "schema": schema} | ({"required": True} if required else {})


_PLAIN = {
    400: "malformed HTTP",
    408: "the request took too long to arrive",
    413: "the body is too large",
    414: "the request target is too long",
    431: "the head of the request is too large",
    500: "the server failed",
    503: "too many connections",
}
"""Causes of a plain text answer by status: it has no request id, and the connection is closed."""
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
"""Components by status, with all error codes of that status: for any call, or any call to a broker."""


def problems(*codes: str, broker: bool = True) -> Json:
    """Return responses by status: of these error codes, and of those of any call, with a `broker` or without."""
    own: dict[int, list[str]] = {400: ["bad-parameter"]} if broker else {400: ["bad-parameter"], 503: []}
    for code in codes:
        own.setdefault(ERRORS[code].status, []).append(code)
    found: Json = {str(status): problem(status, listed) for status, listed in own.items()}
    for status, name in _SHARED.items():
        if status not in own and (broker or status != 504):
            found[str(status)] = ref("responses", name)
    return found


def problem(status: int, codes: list[str]) -> Json:
    """Return one response with these error codes. For a HEAD it has no body."""
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
    return [
        code for code, spec in ERRORS.items() if spec.status == status and code != "forbidden"
    ]  # where keys are required only


def responses() -> Json:
    """Return components: the responses that many calls have in common."""
    return {name: problem(status, _of(status)) for status, name in _SHARED.items()}


def schemas() -> Json:
    """Return components: the schemas of bodies, and of values that occur in several places."""
    return {
        "MessageId": pattern(MESSAGE_ID)
        | {"description": "`<epoch>-<seq>`: the topic's epoch, and a number that counts from 1."},
        "Receipt": pattern(RECEIPT) | {"description": "`<Msg-Id>.<attempt>`"},
        "Time": pattern(_TIME) | {"format": "date-time", "description": "RFC 3339, UTC, with milliseconds."},
        "Message": _message(),
        "Acknowledged": _closed(
            {"receipt": ref("schemas", "Receipt"), "done": {"type": "boolean"}},
            code={
                "type": "string",
                "enum": ["lease-lost", "bad-parameter"],
                "description": "Why it was not acknowledged.",
            },
        ),
        "Problem": _problem(),
        "Ready": _ready(),
        "Description": {"type": "object", "required": ["openapi", "info", "paths"], "description": "OpenAPI 3.1."},
        "SessionDescription": {"type": "object", "required": ["asyncapi", "info", "channels"]},
        "Live": _closed({"live": {"const": True}}),
        "Index": _closed(
            {
                "name": {"const": "fanmail"},
                "version": _TEXT,
                "calls": {"type": "object", "additionalProperties": _TEXT},
            }
        ),
    }


def _ready() -> Json:
    return _closed(
        {
            "ready": {"type": "boolean"},
            "draining": {"type": "boolean"},
            "brokers": _COUNT,
        },
        missing={
            "type": "array",
            "items": _TEXT,
            "description": "Ids of brokers that do not answer; left out for anonymous clients.",
        },
        unproven={
            "type": "array",
            "items": _TEXT,
            "description": "Ids of replicated brokers whose log is not known to be synced; likewise.",
        },
    )


def _closed(required: Json, **optional: Any) -> Json:
    """Return the schema of an object with these members and no others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | optional,
        "additionalProperties": False,
    }


def _message() -> Json:
    """Return the schema of a message in NDJSON."""
    meta = {"type": "object", "additionalProperties": _TEXT, "description": "Other kept headers, if any."}
    not_text = {
        "type": "object",
        "additionalProperties": {"type": "string", "contentEncoding": "base64"},
        "description": "Kept headers by name whose values are not UTF-8, also `content-type`: their bytes.",
    }
    shape = _closed(
        {
            "id": ref("schemas", "MessageId"),
            "time": ref("schemas", "Time"),
            "attempt": {"type": "integer", "minimum": 1},
            "type": {"type": "string", "description": "Its Content-Type."},
        },
        receipt=ref("schemas", "Receipt"),
        expired={"const": True, "description": "The ttl of this dead letter is over."},
        meta=meta,
        headers_base64=not_text,
        text={"type": "string", "description": "The body, where it is UTF-8."},
        base64={"type": "string", "contentEncoding": "base64", "description": "The body, where it is not UTF-8."},
    )
    return shape | {"oneOf": [{"required": ["text"]}, {"required": ["base64"]}]}


def _problem() -> Json:
    """Return the schema of a problem document (RFC 9457)."""
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": pattern("urn:fanmail:[a-z-]+"),
            "title": {"type": "string", "description": "The same for every occurrence."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "What is wrong with this request, for people."},
            "code": {"type": "string", "enum": list(ERRORS), "description": "Stable error code."},
            "parameter": {"type": "string", "description": "The parameter or header that is refused."},
            "oldest": ref("schemas", "MessageId"),
        },
    }
