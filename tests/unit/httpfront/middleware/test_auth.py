"""Who a request is from, and that every call has its row in the table of rights; without processes."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from falcon.routing.util import map_http_methods

from common.clock import HOLD_MS, ManualClock
from common.keys.access_rules import PATTERNS
from common.keys.api_keys import digest
from httpfront.admin.app import Observed, create_admin_app
from httpfront.admin.front_metrics import FrontMetrics
from httpfront.api.app import create_app
from httpfront.api.health import LiveResource
from httpfront.api.parts import AppParts
from httpfront.api.router import ShapeRouter
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.limits import MessageLimits
from httpfront.middleware.auth import REASONS, KeyRing, UnauthenticatedError
from httpfront.middleware.stack import new_app
from httpfront.routes import ANY_KEY, OPEN, OPERATIONS_PORT, PUBLIC_PORT, Routes, add_routes
from httpfront.streams.table import StreamTable
from tests.http.playing import sessions_of

TOKEN = f"fm_a_{'s' * 43}"
LIMITS = MessageLimits(body=1000, batch=2000, batch_messages=10, fetch=10, fetch_bytes=5000)


def entry(token: str, more: str = "") -> str:
    return f'[[keys]]\nid = "{token.split("_")[1]}"\nhash = "sha256:{digest(token).hex()}"\n{more}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(entry(TOKEN))
    return path


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall=1_798_761_600_000 - 1000)  # a second before 2027


def reason(ring: KeyRing, header: str | None) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        ring.find(header)
    assert caught.value.reason in REASONS
    return caught.value.reason


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_a_token_proves_its_key(path: Path, clock: ManualClock, scheme: str) -> None:
    assert KeyRing(str(path), clock).find(scheme + TOKEN).id == "a"


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (None, "no-key"),
        ("", "other-scheme"),
        ("Basic YTpi", "other-scheme"),
        (TOKEN, "other-scheme"),
        ("Bearer" + TOKEN, "other-scheme"),
        ("Bearer", "malformed"),
        ("Bearer ", "malformed"),
        (f"Bearer {TOKEN}, Bearer {TOKEN}", "malformed"),
        (f"Bearer {TOKEN} {TOKEN}", "malformed"),
        (f"Bearer {TOKEN}\u00f8", "malformed"),
        (f"Bearer fm_a_{'s' * 10_000}", "malformed"),
        (f"Bearer {'x' * 16_000}", "malformed"),
        (f"Bearer fm_b_{'s' * 43}", "unknown-key"),
        (f"Bearer fm_a_{'t' * 43}", "wrong-secret"),
        (f"Bearer fm_A_{'s' * 43}", "unknown-key"),
        (f"Bearer {TOKEN}s", "wrong-secret"),
    ],
)
def test_anything_else_proves_nothing(path: Path, clock: ManualClock, header: str | None, why: str) -> None:
    assert reason(KeyRing(str(path), clock), header) == why


def test_an_unknown_id_costs_the_same_comparison(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("httpfront.middleware.auth.hmac.compare_digest", compare)
    ring = KeyRing(str(path), clock)
    for token in (TOKEN, f"fm_b_{'s' * 43}", f"fm_a_{'t' * 43}"):
        with suppress(UnauthenticatedError):
            ring.find("Bearer " + token)
    assert compared == [(32, 32)] * 3


def test_a_key_ends_at_its_time(path: Path, clock: ManualClock) -> None:
    path.write_text(entry(TOKEN, "expires = 2027-01-01T00:00:00Z"))
    ring = KeyRing(str(path), clock)
    assert ring.find("Bearer " + TOKEN).id == "a"
    clock.advance(0.999)
    assert ring.find("Bearer " + TOKEN).id == "a"
    clock.advance(0.001)
    assert reason(ring, "Bearer " + TOKEN) == "expired"
    assert reason(ring, f"Bearer fm_a_{'t' * 43}") == "wrong-secret"


def test_a_clock_that_is_wrong_for_a_moment_ends_no_key_and_one_that_was_set_does(
    path: Path, clock: ManualClock
) -> None:
    path.write_text(entry(TOKEN, "expires = 2027-01-01T00:30:00Z"))
    ring = KeyRing(str(path), clock)
    clock.set_wall(3600)
    assert ring.find("Bearer " + TOKEN).id == "a"
    clock.set_wall(-3600)
    clock.advance(HOLD_MS / 1000)
    assert ring.find("Bearer " + TOKEN).id == "a"
    clock.set_wall(3600)
    ring.read_clock()
    clock.advance(HOLD_MS / 1000)
    assert reason(ring, "Bearer " + TOKEN) == "expired"
    clock.set_wall(-3600)
    assert ring.find("Bearer " + TOKEN).id == "a", "and follows when it is put right"


def test_the_file_is_read_again_as_a_whole_or_not_at_all(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ring = KeyRing(str(path), clock)
    path.write_text(entry(f"fm_b_{'s' * 43}") + "[[keys]]")
    ring.reload()
    assert ring.find("Bearer " + TOKEN).id == "a"
    assert caplog.records[-1].levelname == "ERROR"
    assert "id must be" in caplog.records[-1].__dict__["reason"]
    path.unlink()
    ring.reload()
    assert ring.find("Bearer " + TOKEN).id == "a"
    path.write_text(entry(f"fm_b_{'s' * 43}"))
    ring.reload()
    assert ring.find(f"Bearer fm_b_{'s' * 43}").id == "b"
    assert reason(ring, "Bearer " + TOKEN) == "unknown-key"
    assert (caplog.records[-1].__dict__["gone"], caplog.records[-1].__dict__["new"]) == (["a"], ["b"])


# -- the table of rights


def apps() -> tuple[Any, Any]:
    gateway: Any = object()
    streams = StreamTable(gateway, 100)
    parts = AppParts(gateway, LongPoll(gateway, 30, 10), streams, sessions_of(streams), LIMITS, max_name=255)
    return create_app(parts), create_admin_app(parts, Observed(FrontMetrics()))


def rows(table: Routes) -> set[tuple[str, str]]:
    return {(path, method) for path, rights in table.items() for method in rights}


def calls(routes: list[Any]) -> set[tuple[str, str]]:
    return {(route.template, method) for route in routes for method in map_http_methods(route.resource)}


def test_every_call_of_the_public_port_has_its_row_and_no_other() -> None:
    router = apps()[0]._router
    routes = [*router._by_count.values(), *router._by_word.values(), *router._fixed.values()]
    assert calls(routes) == rows(PUBLIC_PORT)


def test_every_call_of_the_operations_port_has_its_row_and_no_other() -> None:
    assert calls([route for _, route in apps()[1]._router._routes]) == rows(OPERATIONS_PORT)


@pytest.mark.parametrize("resources", [{}, {"/livez": object()}, {"/livez": LiveResource(), "/more": LiveResource()}])
def test_resources_that_differ_from_their_routes_are_refused_at_the_start(resources: dict[str, object]) -> None:
    app = new_app(ShapeRouter(255), None, None)
    with pytest.raises(ValueError, match="differ: /"):
        add_routes(app, {"/livez": {"GET": OPEN, "HEAD": OPEN}}, resources)


def test_there_is_head_wherever_there_is_get_with_the_same_right() -> None:
    for table in (PUBLIC_PORT, OPERATIONS_PORT):
        for rights in table.values():
            assert rights.get("HEAD") == rights.get("GET")


def test_what_needs_no_key_has_no_names() -> None:
    """It is known by its path before the names are."""
    for table in (PUBLIC_PORT, OPERATIONS_PORT):
        for path, rights in table.items():
            assert set(rights.values()) <= {OPEN, ANY_KEY, *PATTERNS}
            assert "{" not in path or set(rights.values()) <= set(PATTERNS)
