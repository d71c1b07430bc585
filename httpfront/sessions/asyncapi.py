"""The AsyncAPI 3 description of sessions, served at `/asyncapi.json`.

What a client sends is described by the types that read it, so that the two cannot differ.
"""

from __future__ import annotations

from typing import Any

import falcon
import msgspec

from common.errors import ERRORS
from common.version import VERSION
from httpfront.formats.params import CURSOR, MESSAGE_ID, read_parameters
from httpfront.formats.receipts import RECEIPT
from httpfront.sessions.handshake import SUBPROTOCOL
from httpfront.sessions.operations import DEFAULT_LEASE_S, MAX_WINDOW, MODES, OPERATIONS, WINDOW
from httpfront.sessions.table import SessionLimits

Json = dict[str, Any]

_ABOUT = f"""\
One WebSocket connection on which a client publishes, reads many mailboxes and acknowledges, with many operations in
flight. The subprotocol is `{SUBPROTOCOL}`. Text frames, one JSON object each. Where the server needs keys, a key comes
as `Authorization: Bearer KEY`, or as a second subprotocol `bearer.KEY`. Publishes to one topic are executed and
answered in the order in which they came.
"""
_TEXT: Json = {"type": "string"}
_RECEIVED = [kind.__name__.lower() for kind in OPERATIONS]
_SENT = ("ok", "error", "message", "gap", "end")


def describe(limits: SessionLimits) -> Json:
    """Return the whole description, as JSON objects."""
    host = {"host": {"default": "127.0.0.1:8100"}}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Fanmail sessions", "version": VERSION, "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {"front": {"host": "{host}", "protocol": "ws", "variables": host}},
        "channels": _channels(limits),
        "operations": {name: _received(name) for name in _RECEIVED} | {"deliver": _sent("message", "gap", "end")},
        "components": {
            "messages": {name: _message(name) for name in (*_RECEIVED, *_SENT)},
            "schemas": _operations(limits) | _answers(),
        },
    }


def _channels(limits: SessionLimits) -> Json:
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in (*_RECEIVED, *_SENT)}
    encoded = {"description": "Percent-encoded."}
    return {
        "session": {
            "address": "/",
            "messages": messages,
            "description": f"A message of a client has at most {limits.message} bytes.",
            "bindings": {"ws": {"method": "GET"}},
        },
        "mailbox": {
            "address": "/{topic}/{user}",
            "messages": messages,
            "description": "The same; it begins with a read of this mailbox.",
            "parameters": {"topic": encoded, "user": encoded},
            "bindings": {"ws": {"method": "GET", "query": _query()}},
        },
    }


def _received(name: str) -> Json:
    return {
        "action": "receive",
        "channel": {"$ref": "#/channels/session"},
        "messages": [{"$ref": f"#/channels/session/messages/{name}"}],
        "reply": {
            "channel": {"$ref": "#/channels/session"},
            "messages": [{"$ref": f"#/channels/session/messages/{each}"} for each in ("ok", "error")],
        },
    }


def _sent(*names: str) -> Json:
    messages = [{"$ref": f"#/channels/session/messages/{name}"} for name in names]
    return {"action": "send", "channel": {"$ref": "#/channels/session"}, "messages": messages}


def _message(name: str) -> Json:
    message: Json = {"name": name, "payload": {"$ref": f"#/components/schemas/{name}"}}
    if name in (*_RECEIVED, "ok", "error"):
        message["correlationId"] = {"location": "$message.payload#/ref"}
    return message


def _operations(limits: SessionLimits) -> Json:
    """Return the schemas of what a client sends."""
    _, found = msgspec.json.schema_components(OPERATIONS, ref_template="#/components/schemas/{name}")
    name = {"type": "string", "minLength": 1, "maxLength": limits.max_name}
    for schema in found.values():
        for member in ("topic", "user"):
            if member in schema["properties"]:
                schema["properties"][member] = name | {"description": f"1 to {limits.max_name} bytes of UTF-8."}
        for member in schema["properties"].values():
            if member.get("default", "") is None:
                del member["default"]
    return {kind.lower(): schema for kind, schema in found.items()}


def _query() -> Json:
    return {
        "type": "object",
        "properties": {
            "mode": {"type": "string", "enum": list(MODES), "default": MODES[0]},
            "window": {"type": "integer", "minimum": 1, "maximum": MAX_WINDOW, "default": WINDOW},
            "after": _pattern(f"0|{CURSOR}"),
            "lease": {"type": "number", "default": DEFAULT_LEASE_S},
        },
    }


def _answers() -> Json:
    """Return the schemas of what the server sends."""
    names = {"topic": _TEXT, "user": _TEXT}
    ref = {"ref": {"type": ["string", "integer"]}}
    cursor, identifier = _pattern(CURSOR), _pattern(MESSAGE_ID)
    failure = {
        "code": {"type": "string", "enum": list(ERRORS)},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": _TEXT,
    }
    hints = {"retry_after": {"type": "integer", "minimum": 1}, "parameter": _TEXT, "oldest": identifier}
    counts = {"subscribers": {"type": "integer", "minimum": 0}, "created": {"type": "boolean"}}
    lost = {"type": "array", "minItems": 1, "items": _pattern(RECEIPT)}
    results = {"id": identifier, "due": _TEXT, "replayed": {"const": True}, "position": cursor, "lost": lost} | counts
    content = {"text": _TEXT, "base64": {"type": "string", "contentEncoding": "base64"}}
    texts = {"type": "object", "additionalProperties": _TEXT}
    about = {"id": identifier, "time": _TEXT, "attempt": {"type": "integer", "minimum": 1}, "type": _TEXT}
    more = {"receipt": _pattern(RECEIPT), "meta": texts, "headers_base64": texts} | content
    message = _object("message", names | about, more)
    return {
        "ok": _object("ok", ref, results),
        "error": _object("error", failure, ref | names | hints),
        "message": message | {"oneOf": [{"required": ["text"]}, {"required": ["base64"]}]},
        "gap": _object("gap", names | {"from": cursor, "position": cursor}),
        "end": _object("end", names | failure, hints),
    }


def _object(op: str, required: Json, optional: Json | None = None) -> Json:
    members = {"op": {"const": op}} | required
    return {
        "type": "object",
        "required": list(members),
        "properties": members | (optional or {}),
        "additionalProperties": op == "error",
    }


def _pattern(text: str) -> Json:
    return {"type": "string", "pattern": f"^({text})$"}


class AsyncApiResource:
    """The description, rendered once."""

    def __init__(self, limits: SessionLimits) -> None:
        self._rendered = msgspec.json.encode(describe(limits)) + b"\n"

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_parameters(req, {})
        resp.content_type = falcon.MEDIA_JSON
        resp.data = self._rendered
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get
