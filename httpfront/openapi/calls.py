"""The calls on topics and subscriptions in the OpenAPI description, one function each."""

from __future__ import annotations

import re

from httpfront import routes
from httpfront.formats.batch import FRAMES
from httpfront.formats.coding import ACCEPTED
from httpfront.formats.limits import MessageLimits
from httpfront.formats.metadata import DEFAULT_TYPE, MAX_BYTES, MAX_FIELDS
from httpfront.formats.sse import EVENT_STREAM
from httpfront.openapi.answers import PLAIN, Json, answer, lines_of, problems, ref
from httpfront.openapi.parameters import RECEIPT_LINES

_NAMES = re.compile(r"\{(.+?)\}").findall
_UNREADABLE = ("unsupported-coding", "unsupported-charset")
_DELIVERED = "Cache-Control X-Content-Type-Options Content-Security-Policy"
_SAME_USER: Json = {"topic": "$request.path.topic", "user": "$request.path.user"}


def paths(limits: MessageLimits) -> Json:
    """Return the calls by path and method. OPTIONS is answered 204, any other method 405, with `Allow`."""
    return {
        routes.TOPIC: _on(routes.TOPIC, post=_publish(limits)),
        routes.SUBSCRIPTION: _on(
            routes.SUBSCRIPTION,
            post=_subscribe(),
            patch=_configure(),
            get=_receive(limits),
            head=_look(),
            delete=_unsubscribe(),
        ),
        routes.RECEIPT: _on(routes.RECEIPT, delete=_finish(), patch=_extend()),
        routes.ACKS: _on(routes.ACKS, post=_finish_many(limits)),
        routes.DEAD: _on(
            routes.DEAD, get=_list_dead(), head=_list_dead("Head"), post=_return_dead(), delete=_clear_dead()
        ),
    }


def _on(template: str, **calls: Json) -> Json:
    """Return the item of a path, with the parameters that its template names."""
    return {"parameters": [ref("parameters", name) for name in _NAMES(template)], **calls}


def call(tag: str, name: str, summary: str, takes: str, answers: Json, text: str = "", **more: Json) -> Json:
    """Return an operation; `takes` are names of parameters, separated by blanks."""
    return {
        "tags": [tag],
        "operationId": name,
        "summary": summary,
        **({"description": text} if text else {}),
        "parameters": [ref("parameters", each) for each in [*takes.split(), "request_id"]],
        **more,
        "responses": answers,
    }


def _link(operation: str, text: str, **parameters: str) -> Json:
    """Return a link to a call about the same user."""
    return {"operationId": operation, "description": text, "parameters": _SAME_USER | parameters}


def _publish(limits: MessageLimits) -> Json:
    kept = (
        "Content-Type, Content-Encoding, Content-Language, traceparent, tracestate, and headers that begin with `ce-` "
        f"or `Meta-` are kept and returned with the message: at most {MAX_FIELDS} fields and {MAX_BYTES} bytes. "
        f"With `batch=lines` each line of the body is a message; with `batch=frames` each message follows its length "
        f"in 4 bytes, big-endian. At most {limits.batch_messages} messages, all stored or none. Content-Encoding "
        f"applies to the body of a batch, which is decoded ({ACCEPTED}); Msg-Encoding applies to each message."
    )
    stored = answer(
        "Stored for every subscriber; dropped if there is none. With `delay` it will be published at `Msg-Due`, and "
        "the other headers are absent.",
        sometimes="Msg-Id Msg-Subscribers Msg-Count Msg-Due Idempotency-Replayed",
    )
    errors = problems("bad-name", "bad-batch", *_UNREADABLE, "key-reused", "topic-full", "too-many-delayed")
    content: Json = {DEFAULT_TYPE: {}, "*/*": {}}
    about = f"Any bytes, or none: at most {limits.body}, for a batch {limits.batch}."
    return call(
        "messages",
        "publish",
        "Publish a message, or a batch",
        "batch ttl delay idempotency_key msg_encoding",
        {"200": stored} | errors,
        kept,
        requestBody={"description": about, "content": content},
    )


def _subscribe() -> Json:
    done = answer("Subscribed now, or before.", "Subscription-Created")
    done["links"] = {
        "receive": _link("receive", "Read the next message"),
        "look": _link("look", "Subscription status"),
        "unsubscribe": _link("unsubscribe", "Unsubscribe"),
    }
    return call(
        "subscriptions",
        "subscribe",
        "Subscribe a user to a topic",
        "expires_after max_deliveries",
        {"200": done} | problems("bad-name", "too-many-topics", "too-many-subscriptions"),
        "Repeating it is harmless: waiting messages stay, and settings that are not given. A body is ignored.",
    )


def _configure() -> Json:
    return call(
        "subscriptions",
        "configure",
        "Change settings of a subscription, or acknowledge without reading",
        "expires_after max_deliveries after",
        {"200": answer("Changed, or acknowledged.")}
        | problems("bad-name", "no-subscription", "leases-out", "cursor-lost"),
        "At least one setting is required, or `after` alone, which needs the right `consume` where keys are required.",
    )


def _unsubscribe() -> Json:
    done = {"200": answer("Unsubscribed; unread messages are deleted.")}
    return call(
        "subscriptions",
        "unsubscribe",
        "Unsubscribe a user from a topic",
        "",
        done | problems("bad-name", "no-subscription"),
    )


def _look() -> Json:
    status = answer("The subscription exists.", "Cache-Control Msg-Pending Msg-Leased Msg-Dead", "Msg-Id")
    return call(
        "subscriptions",
        "look",
        "Subscription status; takes no message",
        "",
        {"200": status} | problems("bad-name", "no-subscription"),
        "`Msg-Id` is the id of the next message, if any.",
    )


def _receive(limits: MessageLimits) -> Json:
    text = (
        "Without parameters the message is taken: delivery is at most once. `after` acknowledges earlier messages and "
        "returns the next one without taking it; `lease` leases it, and cannot be combined with `after`. With `max` "
        "the answer is NDJSON, or frames where Accept prefers them (not with `lease`): each message follows its length "
        "in 4 bytes, big-endian; the ids have no gaps, and the kept headers are the same for all. At most "
        f"{limits.fetch_bytes} bytes; one message always fits. With `stream`, or with Accept: text/event-stream, the "
        "answer is a stream, which lasts until the client closes it and takes nothing; 429, 503 and 504 are then 200 "
        "with `event: error` if only Accept asked for it. A handshake for WebSocket opens a session: `/asyncapi.json`."
    )
    message = answer(
        "A message with its Content-Type and other kept headers, with `max` several messages, or a stream, without "
        "`Msg-Id` and `Msg-Pending`.",
        _DELIVERED,
        "Msg-Id Msg-Pending Msg-Time Msg-Attempt Msg-Receipt Link Preference-Applied "
        "Msg-Count Msg-First-Id Msg-Type Msg-Encoding Msg-Language",
        {**lines_of("Message"), FRAMES: {}, EVENT_STREAM: {"schema": {"type": "string"}}, "*/*": {}},
    )
    message["links"] = {
        "next": _link("receive", "Acknowledge this message and read the next one", after="$response.header.Msg-Id"),
        "ack": _link("finish", "Acknowledge the message", receipt="$response.header.Msg-Receipt"),
        "extend": _link("extend", "Extend the lease", receipt="$response.header.Msg-Receipt"),
    }
    none = answer(
        "There is no message. With `Retry-After`: the request did not wait, since too many others do.",
        "Cache-Control",
        "Preference-Applied Retry-After",
    )
    errors = (
        *("bad-name", "bad-handshake", "no-subscription", "not-acceptable", "leases-out", "cursor-lost"),
        *("upgrade-required", "too-many-leases"),
    )
    return call(
        "messages",
        "receive",
        "Read the next message of a user, or several",
        "after last_event_id wait prefer max lease stream confirm data",
        {"200": message, "204": none} | problems(*errors),
        text,
    )


def _finish() -> Json:
    return call(
        "leases",
        "finish",
        "Acknowledge a leased message",
        "",
        {"200": answer("Acknowledged now, or before.")} | problems("bad-name", "no-subscription", "lease-lost"),
    )


def _extend() -> Json:
    return call(
        "leases",
        "extend",
        "Extend a lease, or return the message",
        "extend return_delay",
        {"200": answer("Extended, or returned.")} | problems("bad-name", "no-subscription", "lease-lost"),
    )


def _finish_many(limits: MessageLimits) -> Json:
    results = answer("A result for each receipt, in order.", "Msg-Count", content=lines_of("Acknowledged"))
    asked = {
        "description": f"1 to {limits.batch_messages} receipts, one per line. Any Content-Type; codings {ACCEPTED}.",
        "required": True,
        "content": {PLAIN: {"schema": RECEIPT_LINES}},
    }
    return call(
        "leases",
        "finishMany",
        "Acknowledge many leased messages",
        "",
        {"200": results} | problems("bad-name", "bad-batch", "unsupported-coding", "no-subscription"),
        "If any line is not a receipt: 400, and no message is acknowledged.",
        requestBody=asked,
    )


def _list_dead(head: str = "") -> Json:
    """Return the operation of GET, or with "Head" that of HEAD."""
    letters = answer(
        "Dead letters in the order of their ids; `Msg-Pending` more follow.",
        "Cache-Control X-Content-Type-Options Content-Security-Policy Msg-Count Msg-Pending",
        "Link",
        None if head else lines_of("Message"),
    )
    return call(
        "dead letters",
        f"listDead{head}",
        "List messages that were delivered too often; changes nothing",
        "letters_after letters",
        {"200": letters} | problems("bad-name", "no-subscription", "not-acceptable", "cursor-lost"),
    )


def _return_dead() -> Json:
    return call(
        "dead letters",
        "returnDead",
        "Return all dead letters whose ttl is not over to the queue",
        "",
        {"200": answer("Number of messages returned.", "Msg-Count")}
        | problems("bad-name", "no-subscription", "too-many-leases"),
        "The oldest dead letters first, as many as the topic may hold.",
    )


def _clear_dead() -> Json:
    return call(
        "dead letters",
        "clearDead",
        "Delete all dead letters",
        "",
        {"200": answer("Number of messages deleted.", "Msg-Count")} | problems("bad-name", "no-subscription"),
    )
