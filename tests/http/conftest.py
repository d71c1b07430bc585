"""One front for all tests of a module that need nothing else; its gateway forgets between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.playing import Front, playing


@pytest.fixture(scope="module")
def _playing() -> Iterator[Front]:
    with playing() as front:
        yield front


@pytest.fixture
def front(_playing: Front) -> Front:
    """In the place of the real one that other folders' tests get."""
    _playing.reset()
    return _playing
