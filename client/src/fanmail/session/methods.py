"""The methods that the sync and asyncio sessions share: one for every function of `ops` that callers need."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, Generic, NoReturn, ParamSpec, TypeVar, overload

from fanmail.fork_safety import process_id
from fanmail.session import ops
from fanmail.session.ops import Op

P = ParamSpec("P")
T = TypeVar("T")


class BaseSession:
    """What all sessions have."""

    def __init__(self) -> None:
        self._owner = process_id()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: make one in each process")

    @property
    def _is_foreign(self) -> bool:
        """Whether this is a child of the process that made it."""
        return process_id() != self._owner

    def _check(self) -> None:
        if self._is_foreign:
            raise RuntimeError("this session belongs to the parent process: make another one after the fork")


class SyncBaseSession(BaseSession):
    """The base of sessions for ordinary code."""

    def bind(self, make: Callable[P, Op[T]]) -> Callable[P, T]:
        """Return a function that makes an operation as a method of this session, which executes it."""

        @wraps(make)
        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return self._execute(make(*args, **kwargs))

        return method

    def _execute(self, op: Op[T]) -> T:
        raise NotImplementedError


class AsyncBaseSession(BaseSession):
    """The base of sessions for asyncio."""

    def bind(self, make: Callable[P, Op[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return a function that makes an operation as a method of this session, which executes it."""

        @wraps(make)
        async def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self._execute(make(*args, **kwargs))

        return method

    async def _execute(self, op: Op[T]) -> T:
        raise NotImplementedError


class OpMethod(Generic[P, T]):
    """A method that executes the `Op` that a function returns. It is a coroutine function in a session for asyncio."""

    def __init__(self, make: Callable[P, Op[T]]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, session: None, owner: type) -> Callable[P, Op[T]]: ...
    @overload
    def __get__(self, session: SyncBaseSession, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, session: AsyncBaseSession, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, session: SyncBaseSession | AsyncBaseSession | None, owner: type) -> Callable[P, Any]:
        return self._make if session is None else session.bind(self._make)


class SessionMethods(BaseSession):
    """The operations of `Session` and `AsyncSession`, each of which waits for its answer."""

    publish: Final = OpMethod(ops.publish)
    subscribe: Final = OpMethod(ops.subscribe)
    unsubscribe: Final = OpMethod(ops.unsubscribe)
    acknowledge: Final = OpMethod(ops.acknowledge)
    give_back: Final = OpMethod(ops.give_back)
    extend: Final = OpMethod(ops.extend)
