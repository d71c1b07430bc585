"""Tables of small cases, each table in one test: `@table` in the place of `@pytest.mark.parametrize`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

Test = Callable[..., None]


def table(names: str | Sequence[str], rows: Iterable[Any]) -> Callable[[Test], Test]:
    """Run a test for every row of a table and name the rows that fail.

    The arguments are those of `pytest.mark.parametrize`. All rows share the fixtures of one test: what a row changes in
    them the next one sees.
    """
    columns = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    lines = [row if len(columns) > 1 else (row,) for row in rows]
    assert lines, "a table without rows tests nothing"

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(**fixtures: Any) -> None:
            failures: list[BaseException] = []
            for line in lines:
                row = dict(zip(columns, line, strict=True))
                try:
                    test(**fixtures, **row)
                except (Exception, pytest.fail.Exception) as failure:
                    failure.add_note(f"with {row}")
                    failures.append(failure)
            if failures:
                raise BaseExceptionGroup(f"{len(failures)} of {len(lines)} rows failed", failures)

        signature = inspect.signature(test)
        kept = [each for name, each in signature.parameters.items() if name not in columns]
        assert len(kept) == len(signature.parameters) - len(columns), f"{test.__name__} does not take {columns}"
        run.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return run

    return decorate
