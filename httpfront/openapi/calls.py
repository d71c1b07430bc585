"""Every call on topics and subscriptions as OpenAPI has it: a function each."""

from __future__ import annotations

import re

from httpfront import routes
from httpfront.formats.batch import FRAMES
from httpfront.formats.coding import ACCEPTED
from httpfront.formats.limits import MessageLimits
from httpfront.formats.metadata import DEFAULT_TYPE, MAX_BYTES, MAX_FIELDS
from httpfront.openapi.answers import PLAIN, Json, answer, lines_of, problems, ref
from httpfront.openapi.parameters import RECEIPT_LINES

_NAMES = re.compile(r"\{(.+?)\}").findall
_UNREADABLE = ("unsupported-coding", "unsupported-charset")
_HANDED_OUT = "Cache-Control X-Content-Type-Options Content-Security-Policy Msg-Id Msg-Pending"
_SAME_USER: Json = {"topic": "$request.path.topic", "user": "$request.path.user"}


def paths(limits: MessageLimits) -> Json:
    """The calls by path and method. OPTIONS is answered 204, any other method 405, with `Allow`."""
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
    """The item of a path, with the parameters that its template names."""
    return {"parameters": [ref("parameters", name) for name in _NAMES(template)], **calls}


def call(tag: str, name: str, summary: str, takes: str, answers: Json, text: str = "", **more: Json) -> Json:
    """An operation; `takes` are names of parameters, with blanks between."""
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
    """What can be called next, about the same user."""
    return {"operationId": operation, "description": text, "parameters": _SAME_USER | parameters}


def _publish(limits: MessageLimits) -> Json:
    kept = (
        "Content-Type, Content-Encoding, Content-Language, traceparent, tracestate, and what begins with `ce-` or "
        f"`Meta-` is kept with the message and comes back with it: at most {MAX_FIELDS} fields and {MAX_BYTES} bytes. "
        f"With `batch=lines` every line of the body is a message, with `batch=frames` every 4 bytes of big-endian "
        f"length and the bytes behind them; at most {limits.batch_messages} messages, all stored or none. The "
        f"Content-Encoding of a batch is of its whole body and undone ({ACCEPTED}); Msg-Encoding is of each message."
    )
    stored = answer(
        "Stored for every subscriber; without any, dropped. With `delay` it will be published at `Msg-Due`, and the "
        "other headers are left out.",
        sometimes="Msg-Id Msg-Subscribers Msg-Count Msg-Due Idempotency-Replayed",
    )
    errors = problems("bad-name", "bad-batch", *_UNREADABLE, "key-reused", "topic-full", "too-many-delayed")
    content: Json = {DEFAULT_TYPE: {}, "*/*": {}}
    about = f"Any bytes, empty too: at most {limits.body}, of a batch {limits.batch}."
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
    done = answer("Subscribed, from now on or already.", "Subscription-Created")
    done["links"] = {
        "receive": _link("receive", "its next message"),
        "look": _link("look", "how it stands"),
        "unsubscribe": _link("unsubscribe", "its end"),
    }
    return call(
        "subscriptions",
        "subscribe",
        "Subscribe a user to a topic",
        "expires_after max_deliveries",
        {"200": done} | problems("bad-name", "too-many-topics", "too-many-subscriptions"),
        "Again is harmless: waiting messages stay. Settings that are not named stay as they are. A body is ignored.",
    )


def _configure() -> Json:
    return call(
        "subscriptions",
        "configure",
        "Change settings of a subscription",
        "expires_after max_deliveries",
        {"200": answer("Changed.")} | problems("bad-name", "no-subscription"),
        "At least one must be named.",
    )


def _unsubscribe() -> Json:
    done = {"200": answer("Unsubscribed; its unread messages are let go.")}
    return call(
        "subscriptions",
        "unsubscribe",
        "Unsubscribe a user from a topic",
        "",
        done | problems("bad-name", "no-subscription"),
    )


def _look() -> Json:
    stands = answer("It is there.", "Cache-Control Msg-Pending Msg-Leased Msg-Dead", "Msg-Id")
    return call(
        "subscriptions",
        "look",
        "How a subscription stands; takes nothing",
        "",
        {"200": stands} | problems("bad-name", "no-subscription"),
        "`Msg-Id` is of the next message, if one waits.",
    )


def _receive(limits: MessageLimits) -> Json:
    text = (
        "Without parameters it is taken, at most once. `after` acknowledges and then gives the next one without "
        "taking it; `lease` hands it out for a time, and not together with `after`. With `max` the answer is "
        f"NDJSON, or frames where Accept prefers them (not with `lease`): each 4 bytes of big-endian length, then the "
        f"message; ids without gaps, kept headers the same for all. At most {limits.fetch_bytes} bytes, but one "
        "message always fits."
    )
    message = answer(
        "A message with its own Content-Type and other kept headers, or with `max` several.",
        _HANDED_OUT,
        "Msg-Time Msg-Attempt Msg-Receipt Link Preference-Applied "
        "Msg-Count Msg-First-Id Msg-Type Msg-Encoding Msg-Language",
        {**lines_of("Message"), FRAMES: {}, "*/*": {}},
    )
    message["links"] = {
        "next": _link("receive", "done with this one, the next", after="$response.header.Msg-Id"),
        "ack": _link("finish", "the lease's end", receipt="$response.header.Msg-Receipt"),
        "extend": _link("extend", "a longer lease", receipt="$response.header.Msg-Receipt"),
    }
    none = answer(
        "No message waits. With `Retry-After`: it was not waited for, too many requests wait already.",
        "Cache-Control",
        "Preference-Applied Retry-After",
    )
    errors = ("bad-name", "no-subscription", "not-acceptable", "leases-out", "cursor-lost", "too-many-leases")
    return call(
        "messages",
        "receive",
        "The next message of a user, or several",
        "after last_event_id wait prefer max lease",
        {"200": message, "204": none} | problems(*errors),
        text,
    )


def _finish() -> Json:
    return call(
        "leases",
        "finish",
        "Acknowledge a leased message",
        "",
        {"200": answer("Done now, or already.")} | problems("bad-name", "no-subscription", "lease-lost"),
    )


def _extend() -> Json:
    return call(
        "leases",
        "extend",
        "Extend a lease, or give it back",
        "extend return_delay",
        {"200": answer("Extended, or given back.")} | problems("bad-name", "no-subscription", "lease-lost"),
    )


def _finish_many(limits: MessageLimits) -> Json:
    results = answer("A result for each receipt, in order.", "Msg-Count", content=lines_of("Acknowledged"))
    asked = {
        "description": f"1 to {limits.batch_messages} receipts, one a line. Any Content-Type; codings {ACCEPTED}.",
        "required": True,
        "content": {PLAIN: {"schema": RECEIPT_LINES}},
    }
    return call(
        "leases",
        "finishMany",
        "Acknowledge many leased messages",
        "",
        {"200": results} | problems("bad-name", "bad-batch", "unsupported-coding", "no-subscription"),
        "A line that is no receipt: 400, and nothing is acknowledged.",
        requestBody=asked,
    )


def _list_dead(head: str = "") -> Json:
    """GET, and with "Head" HEAD."""
    letters = answer(
        "Dead letters in the order of their numbers; `Msg-Pending` more are behind them.",
        "Cache-Control X-Content-Type-Options Content-Security-Policy Msg-Count Msg-Pending",
        "Link",
        None if head else lines_of("Message"),
    )
    return call(
        "dead letters",
        f"listDead{head}",
        "Messages that were handed out too often; takes nothing",
        "letters_after letters",
        {"200": letters} | problems("bad-name", "no-subscription", "not-acceptable", "cursor-lost"),
    )


def _return_dead() -> Json:
    return call(
        "dead letters",
        "returnDead",
        "Put all dead letters whose ttl is not over back as waiting",
        "",
        {"200": answer("So many were put back.", "Msg-Count")}
        | problems("bad-name", "no-subscription", "too-many-leases"),
        "The longest dead first, as many as the topic may hold.",
    )


def _clear_dead() -> Json:
    return call(
        "dead letters",
        "clearDead",
        "Drop all dead letters",
        "",
        {"200": answer("So many were dropped.", "Msg-Count")} | problems("bad-name", "no-subscription"),
    )
