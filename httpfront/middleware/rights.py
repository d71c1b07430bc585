"""Which right each call needs: the one table of it. What is not here is forbidden to every key.

OPTIONS needs no key where another method of its path needs none, and else any.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.keys.access_rules import ADMIN, CONSUME, METRICS, PUBLISH, SUBSCRIBE

OPEN, ANY_KEY = "open", "any key"
"""No key is needed; any key will do."""

Needs = Mapping[tuple[str, str], str]
"""By the route's template and the method. A template with `OPEN` has no names in it."""

_SUBSCRIPTION, _RECEIPT = "/{topic}/{user}", "/{topic}/{user}/{receipt}"
_ACKS, _DEAD = "/{topic}/{user}/acks", "/{topic}/{user}/dead"
PUBLIC: Needs = {
    ("/{topic}", "POST"): PUBLISH,
    (_SUBSCRIPTION, "POST"): SUBSCRIBE,
    (_SUBSCRIPTION, "PATCH"): SUBSCRIBE,
    (_SUBSCRIPTION, "DELETE"): SUBSCRIBE,
    (_SUBSCRIPTION, "GET"): CONSUME,
    (_SUBSCRIPTION, "HEAD"): CONSUME,
    (_RECEIPT, "DELETE"): CONSUME,
    (_RECEIPT, "PATCH"): CONSUME,
    (_ACKS, "POST"): CONSUME,
    (_DEAD, "GET"): CONSUME,
    (_DEAD, "HEAD"): CONSUME,
    (_DEAD, "POST"): CONSUME,
    (_DEAD, "DELETE"): CONSUME,
    ("/", "GET"): ANY_KEY,
    ("/", "HEAD"): ANY_KEY,
    ("/openapi.json", "GET"): ANY_KEY,
    ("/openapi.json", "HEAD"): ANY_KEY,
    ("/livez", "GET"): OPEN,
    ("/livez", "HEAD"): OPEN,
    ("/readyz", "GET"): OPEN,
    ("/readyz", "HEAD"): OPEN,
}
"""Of the public port."""

_TOPIC = "/-/v1/topics/{topic}"
_USERS, _DELAYED = _TOPIC + "/subscriptions", _TOPIC + "/delayed"
OPERATIONS: Needs = {
    ("/", "GET"): OPEN,
    ("/", "HEAD"): OPEN,
    ("/livez", "GET"): OPEN,
    ("/livez", "HEAD"): OPEN,
    ("/readyz", "GET"): OPEN,
    ("/readyz", "HEAD"): OPEN,
    ("/metrics", "GET"): METRICS,
    ("/metrics", "HEAD"): METRICS,
    ("/openapi.json", "GET"): ADMIN,
    ("/openapi.json", "HEAD"): ADMIN,
    ("/-/v1/topics", "GET"): ADMIN,
    ("/-/v1/topics", "HEAD"): ADMIN,
    (_TOPIC, "GET"): ADMIN,
    (_TOPIC, "HEAD"): ADMIN,
    (_TOPIC, "PATCH"): ADMIN,
    (_TOPIC, "DELETE"): ADMIN,
    ("/-/v1/delayed", "GET"): ADMIN,
    ("/-/v1/delayed", "HEAD"): ADMIN,
    (_DELAYED, "GET"): ADMIN,
    (_DELAYED, "HEAD"): ADMIN,
    (_DELAYED, "DELETE"): ADMIN,
    (_DELAYED + "/{delayed}", "GET"): ADMIN,
    (_DELAYED + "/{delayed}", "HEAD"): ADMIN,
    (_DELAYED + "/{delayed}", "DELETE"): ADMIN,
    (_USERS, "GET"): ADMIN,
    (_USERS, "HEAD"): ADMIN,
    (_USERS + "/{user}", "GET"): ADMIN,
    (_USERS + "/{user}", "HEAD"): ADMIN,
    (_USERS + "/{user}/messages", "GET"): ADMIN,
    (_USERS + "/{user}/messages", "HEAD"): ADMIN,
    (_USERS + "/{user}/messages", "DELETE"): ADMIN,
    ("/-/v1/brokers", "GET"): ADMIN,
    ("/-/v1/brokers", "HEAD"): ADMIN,
    ("/-/v1/brokers/{broker}/pause", "PUT"): ADMIN,
    ("/-/v1/brokers/{broker}/pause", "DELETE"): ADMIN,
    ("/-/v1/brokers/{broker}/drain", "PUT"): ADMIN,
    ("/-/v1/brokers/{broker}/drain", "DELETE"): ADMIN,
    ("/-/v1/config", "GET"): ADMIN,
    ("/-/v1/config", "HEAD"): ADMIN,
}
"""Of the operations port. Its page at `/` holds no data and asks for a key itself."""
