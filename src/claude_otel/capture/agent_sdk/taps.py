"""What stands in for the SDK's own objects while the program uses them, to see what passes.

Each hands on what it is given and raises what is raised; what it tells a `Connection` is
guarded. Which methods they are put into: `wrappers.py`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, TypeAlias

import wrapt

from claude_otel.capture.agent_sdk.connection import Connection
from claude_otel.capture.agent_sdk.ends import failed
from claude_otel.model import events as ev

Guard: TypeAlias = Callable[[str], AbstractContextManager[None]]

# Which connection is being opened: `Query` and the transport are made deep inside of it.
opening: ContextVar[Connection | None] = ContextVar("claude_otel_opening", default=None)


class Asked:
    """One control request while the program answers it."""

    def __init__(self, connection: Connection, frame: Mapping[str, Any], guard: Guard) -> None:
        self._connection = connection
        self._guard = guard
        self._started_at_ns = time.time_ns()
        self._request: Mapping[str, Any] = {}
        self._id = str(frame.get("request_id"))
        self.context = connection.above
        with guard("noting a request of the CLI"):
            self._request = frame.get("request") or {}
            self.context = connection.context_for(self._request)
            if self._kind in ("can_use_tool", "hook_callback"):
                connection.answers[self._id] = {}
            if self._kind == "can_use_tool":
                connection.asked_permission(self._request)

    @property
    def _kind(self) -> object:
        return self._request.get("subtype")

    def answered(self) -> None:
        with self._guard("noting an answer to the CLI"):
            answer = self._connection.answers.pop(self._id, {})
            if self._kind == "can_use_tool":
                self._connection.gave_permission(self._request, answer)
            elif self._kind == "hook_callback":
                self._connection.hook_ran(self._request, answer, self._started_at_ns)


class Messages:
    """What `process_query` yields, its first step taken while its connection is being opened.

    Not a generator: that would be one more thing to close.
    """

    def __init__(
        self,
        messages: Any,
        opened: Callable[[], Connection | None],
        lost: Callable[[Connection, BaseException], None],
        guard: Guard,
    ) -> None:
        self._messages = messages
        self._opened = opened
        self._lost = lost
        self._guard = guard
        self._has_begun = False

    def __aiter__(self) -> Messages:
        return self

    def __anext__(self) -> Awaitable[Any]:
        if self._has_begun:
            return self._messages.__anext__()
        self._has_begun = True
        return self._first()

    async def _first(self) -> Any:
        connection = self._opened()
        if connection is None:
            return await self._messages.__anext__()
        token = opening.set(connection)
        try:
            message = await self._messages.__anext__()
            with self._guard("noting an open connection"):
                connection.opened()
            return message
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self._lost(connection, error)
            raise
        finally:
            opening.reset(token)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._messages, name)


_Proxy: Any = wrapt.ObjectProxy


class TappedTransport(_Proxy):
    """A transport whose frames are noted at arrival, before a slow consumer holds them up."""

    def __init__(self, transport: Any, connection: Connection, guard: Guard) -> None:
        _Proxy.__init__(self, transport)
        self._self_connection = connection
        self._self_guard = guard

    def read_messages(self) -> Any:
        messages = self.__wrapped__.read_messages()
        return _TappedFrames(messages, self._self_connection, self._self_guard)

    def write(self, data: Any) -> Any:
        with self._self_guard("noting what is written"):
            self._self_connection.writes(data)
        return self.__wrapped__.write(data)


class _TappedFrames:
    def __init__(self, frames: Any, connection: Connection, guard: Guard) -> None:
        self._frames = frames
        self._connection = connection
        self._guard = guard

    def __aiter__(self) -> _TappedFrames:
        self._frames = self._frames.__aiter__()  # a transport may give what only `async for` takes
        return self

    async def __anext__(self) -> Any:
        try:
            frame = await self._frames.__anext__()
        except StopAsyncIteration:
            with self._guard("noting the end of a stream"):
                self._connection.ended(
                    ev.CutShort(at_ns=time.time_ns(), outcome="failed", error_type="no_result")
                )
            raise
        except Exception as error:
            with self._guard("noting a broken stream"):
                self._connection.ended(failed(error, self._connection))
            raise
        with self._guard("noting a frame"):
            self._connection.arrived(frame)
        return frame

    def __getattr__(self, name: str) -> Any:
        return getattr(self._frames, name)
