"""Which methods of the Claude Agent SDK are wrapped, in place, and what each wrapper tells.

Methods of its classes, not names of its modules: a `query` that was imported before, a
subclass, a custom transport are seen like any other. A wrapper calls the original exactly
once, with what the program gave, and hands on what it returns or raises; what it tells a
`Connection` is guarded. No context stays attached across a `yield`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias, cast
from weakref import WeakKeyDictionary, WeakSet

import wrapt
from opentelemetry import context as otel_context
from opentelemetry.context import Context, attach, detach

from claude_otel.capture.agent_sdk.connection import Connection, stamp_of, stamped
from claude_otel.capture.agent_sdk.ends import (
    cancelled,
    closed_early,
    failed,
    hear_errors,
    is_cancel,
)
from claude_otel.capture.agent_sdk.taps import Asked, Messages, TappedTransport, opening
from claude_otel.diagnostics import log
from claude_otel.diagnostics import telemetry_must_not_break_the_host as guarded

Async: TypeAlias = Callable[..., Awaitable[Any]]
Open: TypeAlias = Callable[[Mapping[str, str], bool, bool], Connection]
"""Open a connection: the environment that its options add, whether the CLI runs here, whether
its session is kept in a store."""

_INTERNAL: Final = "claude_agent_sdk._internal"
_TRANSPORT: Final = f"{_INTERNAL}.transport.subprocess_cli"
_MCP_1: Final = "mcp.server.lowlevel.server"


class Wrappers:
    """All wrappers of one instrumentation. `settle`: awaited once a connection has closed.

    `config_dir_of`: where a CLI keeps its files, by the environment that its options add.
    """

    def __init__(
        self,
        open_connection: Open,
        current: Callable[[], Context],
        settle: Callable[[Connection], Awaitable[None]],
        config_dir_of: Callable[[Mapping[str, str]], Path],
        *,
        raise_ours: bool,
    ) -> None:
        self._open_connection = open_connection
        self._current = current
        self._settle = settle
        self._config_dir_of = config_dir_of
        self._raise_ours = raise_ours
        self._connections: WeakKeyDictionary[Any, Connection] = WeakKeyDictionary()
        self._untraced: WeakSet[Any] = WeakSet()
        self._wrapped: list[tuple[Any, str, Any]] = []
        self._tool_contexts: dict[str, Context] = {}

    def wrap(self) -> None:
        """Wrap what this version of the SDK has; say in one line what it lacks."""
        missing: list[str] = []
        for module, owner, method, wrapper in (
            (f"{_INTERNAL}.client", "InternalClient", "process_query", self._query),
            ("claude_agent_sdk.client", "ClaudeSDKClient", "connect", self._connect),
            ("claude_agent_sdk.client", "ClaudeSDKClient", "query", self._prompt),
            (f"{_INTERNAL}.query", "Query", "start", self._start),
            (f"{_INTERNAL}.query", "Query", "_read_messages", self._read),
            (f"{_INTERNAL}.query", "Query", "_handle_control_request", self._answer),
            (f"{_INTERNAL}.query", "Query", "_handle_sdk_mcp_request", self._call_tool),
            (f"{_INTERNAL}.query", "Query", "close", self._close),
            (_TRANSPORT, "SubprocessCLITransport", "connect", self._launch),
            (_MCP_1, "Server", "_handle_request", self._run_handler),
        ):
            found: Any = _class_of(module, owner)
            original = _own(found, method) if found is not None else None
            if original is None:
                if module != _MCP_1:  # mcp 2 takes the parent from the message by itself
                    missing.append(f"{owner}.{method}")
                continue
            setattr(found, method, wrapt.FunctionWrapper(original, wrapper))
            self._wrapped.append((found, method, original))
        if missing:
            log.warning(
                "this claude-agent-sdk has no %s: what they would tell is missing in the traces; "
                "install claude-agent-sdk>=0.1.60",
                ", ".join(missing),
            )

    def unwrap(self) -> None:
        """Restore every method; connections that are open are told to their end."""
        for found, method, original in self._wrapped:
            if isinstance(_own(found, method), wrapt.FunctionWrapper):
                setattr(found, method, original)
        self._wrapped.clear()

    # -- where a connection begins ---------------------------------------------------------

    def _query(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """`query()`: all of one connection; its first turn begins with its first step."""
        messages = wrapped(*args, **kwargs)
        given = self._given(("prompt", "options", "transport"), args, kwargs)
        return Messages(
            messages,
            lambda: self._opened(given, given.get("prompt")),
            self._lost,
            self._guarded,
        )

    async def _connect(self, wrapped: Async, client: Any, args: Any, kwargs: Any) -> Any:
        given: dict[str, Any] = {
            "options": getattr(client, "options", None),
            "transport": getattr(client, "_custom_transport", None),
        }
        prompt = self._given(("prompt",), args, kwargs).get("prompt")
        connection = self._opened(given, prompt)
        if connection is None:
            return await wrapped(*args, **kwargs)
        token = opening.set(connection)
        try:
            opened = await wrapped(*args, **kwargs)
            with self._guarded("noting an open connection"):
                connection.opened()
            return opened
        except BaseException as error:
            self._lost(connection, error)
            raise
        finally:
            opening.reset(token)

    def _opened(self, given: Mapping[str, Any], prompt: object) -> Connection | None:
        with self._guarded("opening a connection"):
            transport = given.get("transport")
            is_here = transport is None or isinstance(transport, _subprocess_transport())
            options = given.get("options")
            is_mirrored = getattr(options, "session_store", None) is not None
            connection = self._open_connection(_environ_of(options), is_here, is_mirrored)
            if isinstance(prompt, str):
                connection.asked(_message(prompt), connection.above)
            elif prompt is not None:
                connection.expects_stream()
            return connection
        return None

    async def _start(self, wrapped: Async, query: Any, args: Any, kwargs: Any) -> Any:
        with self._guarded("joining a connection"):
            connection = opening.get()
            if connection is not None and query not in self._connections:
                self._connections[query] = connection
        return await wrapped(*args, **kwargs)

    async def _launch(self, wrapped: Async, transport: Any, args: Any, kwargs: Any) -> Any:
        """The CLI starts: its TRACEPARENT is the turn, if one has begun."""
        connection = opening.get()
        if connection is None:
            return await wrapped(*args, **kwargs)
        with self._guarded("listening to stderr"):
            hear_errors(transport, connection)
        with self._guarded("finding where the session is kept"):
            options = getattr(transport, "_options", None)
            if options is not None:
                connection.launched_in(self._config_dir_of(_environ_of(options)))
        context = otel_context.get_current()
        with self._guarded("starting the CLI under its turn"):
            context = connection.turn_context()
        token = attach(context)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            detach(token)
            connection.cli_pid = getattr(getattr(transport, "_process", None), "pid", None)

    # -- what goes over it ---------------------------------------------------------------------

    async def _prompt(self, wrapped: Async, client: Any, args: Any, kwargs: Any) -> Any:
        """`client.query()`: a prompt, or several."""
        connection = self._of(getattr(client, "_query", None))
        given = self._given(("prompt", "session_id"), args, kwargs)
        prompt = given.get("prompt")
        if connection is None:
            self._say_untraced(client)
        if connection is None or prompt is None:
            return await wrapped(*args, **kwargs)
        if isinstance(prompt, str):
            with self._guarded("noting a prompt"):
                connection.asked(_message(prompt), self._current())
        elif isinstance(prompt, AsyncIterable):
            noted = self._noted(connection, cast("AsyncIterable[Any]", prompt))
            if args:
                args = (noted, *args[1:])
            else:
                kwargs = {**kwargs, "prompt": noted}
        return await wrapped(*args, **kwargs)

    async def _noted(
        self, connection: Connection, prompt: AsyncIterable[Any]
    ) -> AsyncIterator[Any]:
        async for message in prompt:
            with self._guarded("noting a prompt"):
                connection.asked(message, self._current())
            yield message

    async def _read(self, wrapped: Async, query: Any, args: Any, kwargs: Any) -> Any:
        """The reader of the connection: it sees a tapped transport while it reads."""
        connection = self._of(query)
        transport = query.transport
        if connection is not None:
            with self._guarded("tapping the transport"):
                query.transport = TappedTransport(transport, connection, self._guarded)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            if connection is not None:
                query.transport = transport

    async def _answer(self, wrapped: Async, query: Any, args: Any, kwargs: Any) -> Any:
        """The CLI asks the program: a hook, a permission, a tool of an in-process server."""
        connection = self._of(query)
        frame = self._given(("request",), args, kwargs).get("request")
        if connection is None or not isinstance(frame, Mapping):
            return await wrapped(*args, **kwargs)
        asked = Asked(connection, cast("Mapping[str, Any]", frame), self._guarded)
        token = attach(asked.context)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            detach(token)
            asked.answered()

    async def _call_tool(self, wrapped: Async, query: Any, args: Any, kwargs: Any) -> Any:
        """A message to an in-process MCP server: its spans and the handler's have a parent."""
        connection = self._of(query)
        if connection is None or len(args) != 2 or not isinstance(args[1], Mapping):
            return await wrapped(*args, **kwargs)
        server, message = str(args[0]), cast("Mapping[str, Any]", args[1])
        context = otel_context.get_current()
        with self._guarded("joining a tool call"):
            context = connection.tool_context(server, message)
            args = (args[0], stamped(message, context))
            self._tool_contexts[str(stamp_of(args[1]))] = context
        started_at_ns = time.time_ns()
        token = attach(context)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            detach(token)
            with self._guarded("noting a tool call"):
                self._tool_contexts.pop(str(stamp_of(args[1])), None)
                connection.tool_ran(message, started_at_ns)

    async def _run_handler(self, wrapped: Async, server: Any, args: Any, kwargs: Any) -> Any:
        """mcp 1.x runs a handler in a task of the server's: the message says whose call it is."""
        context = None
        with self._guarded("joining a handler"):
            message = self._given(("message",), args, kwargs).get("message")
            meta = getattr(message, "request_meta", None)
            context = self._tool_contexts.get(str(getattr(meta, "traceparent", None)))
        if context is None:
            return await wrapped(*args, **kwargs)
        token = attach(context)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            detach(token)

    async def _close(self, wrapped: Async, query: Any, args: Any, kwargs: Any) -> Any:
        connection = self._of(query)
        if connection is None:
            return await wrapped(*args, **kwargs)
        cause = sys.exc_info()[1]
        self._over(connection, cause, is_closed=False)
        try:
            closed = await wrapped(*args, **kwargs)
        finally:
            self._over(connection, cause, is_closed=True)
        with self._guarded("waiting for a trace"):
            await self._settle(connection)
        return closed

    # -- parts of the above ------------------------------------------------------------------------

    def _guarded(self, doing: str) -> AbstractContextManager[None]:
        return guarded(doing, raise_ours=self._raise_ours)

    def _of(self, query: Any) -> Connection | None:
        """The connection of this `Query`; None without one, as for a client before `connect()`."""
        with self._guarded("finding a connection"):
            return None if query is None else self._connections.get(query)
        return None

    def _given(
        self, names: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The arguments of a call by their names."""
        with self._guarded("reading arguments"):
            return {**dict(zip(names, args, strict=False)), **kwargs}
        return {}

    def _say_untraced(self, client: Any) -> None:
        """Its reader reads without us by now: what it says cannot be had any more."""
        with self._guarded("finding a client"):
            if getattr(client, "_query", None) is not None and client not in self._untraced:
                self._untraced.add(client)
                log.warning(
                    "a ClaudeSDKClient was connected before instrument(): it is not traced; "
                    "connect it after"
                )

    def _over(
        self, connection: Connection, cause: BaseException | None, *, is_closed: bool
    ) -> None:
        with self._guarded("closing a connection"):
            if cause is connection.handled_before:
                cause = None
            if is_cancel(cause):
                cut_short = cancelled()
            elif cause is not None and not connection.is_open:
                cut_short = failed(cause, connection)
            else:
                cut_short = closed_early()
            connection.ended(cut_short, is_closed=is_closed)

    def _lost(self, connection: Connection, error: BaseException) -> None:
        with self._guarded("noting a failed connection"):
            connection.ended(cancelled() if is_cancel(error) else failed(error, connection))


def _class_of(module: str, name: str) -> Any:
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


def _own(owner: Any, name: str) -> Any:
    """What the class itself has under this name, not what it inherits."""
    return cast("Mapping[str, Any]", vars(owner)).get(name)


def _subprocess_transport() -> Any:
    found = _class_of(
        "claude_agent_sdk._internal.transport.subprocess_cli", "SubprocessCLITransport"
    )
    return found if found is not None else ()


def _environ_of(options: Any) -> Mapping[str, str]:
    return getattr(options, "env", None) or {}


def _message(prompt: str) -> dict[str, Any]:
    return {"type": "user", "message": {"role": "user", "content": prompt}}
