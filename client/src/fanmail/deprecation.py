"""Arguments under their former names, which stay accepted."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def former_names(**new_names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that accepts keyword arguments under former names: `@former_names(old="new")`.

    The decorated function raises TypeError if an argument is given under both names.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def decorated(*args: P.args, **kwargs: P.kwargs) -> T:
            for old in new_names.keys() & kwargs.keys():
                new = new_names[old]
                if new in kwargs:
                    raise TypeError(f"{function.__name__}() got both {new!r} and its former name {old!r}")
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return decorated

    return decorate


def former_fields(**new_names: str) -> Callable[[type[T]], type[T]]:
    """Return a class decorator that does for constructor arguments what `former_names` does for a function's."""

    def decorate(kind: type[T]) -> type[T]:
        type.__setattr__(kind, "__init__", former_names(**new_names)(kind.__dict__["__init__"]))
        return kind

    return decorate
