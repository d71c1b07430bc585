"""What the OpenAPI description adds where keys are required: how a key is sent, and the right that each call needs."""

from __future__ import annotations

from httpfront.openapi.answers import Json, problem, ref
from httpfront.routes import ANY_KEY, OPEN, PUBLIC_PORT

_SCHEME = "apiKey"
_ABOUT = (
    "`Authorization: Bearer KEY`. The operator sets what a key may do, by rules over names; a rule that denies wins."
)


def secured(document: Json) -> Json:
    """Add API keys to the description `document`; changes and returns it."""
    components = document["components"]
    components["securitySchemes"] = {_SCHEME: {"type": "http", "scheme": "bearer", "description": _ABOUT}}
    components["responses"] |= {
        "Unauthorized": _challenged(problem(401, ["unauthorized"])),
        "Forbidden": _challenged(problem(403, ["foreign-origin", "prefetch", "forbidden"]), always=False),
    }
    document["security"] = [{_SCHEME: []}]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                _secure(operation, PUBLIC_PORT[path][method.upper()])
    return document


def _secure(operation: Json, need: str) -> None:
    if need == OPEN:
        operation["security"] = [{}, {_SCHEME: []}]
        return
    operation["responses"]["401"] = ref("responses", "Unauthorized")
    if need != ANY_KEY:
        operation["responses"]["403"] = ref("responses", "Forbidden")
        text = operation.get("description", "")
        operation["description"] = f"{text} Needs the right `{need}`.".strip()


def _challenged(response: Json, always: bool = True) -> Json:
    response["headers"]["WWW-Authenticate"] = {
        "description": "Challenge (RFC 6750).",
        "schema": {"type": "string"},
        "required": always,
    }
    return response
