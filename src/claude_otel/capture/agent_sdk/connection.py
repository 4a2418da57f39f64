"""One connection to the CLI, seen while it happens, from the program's own tasks.

Here: which turn runs, whose tool a handler is, what is current for a callback, and the
moments that nobody writes down. Every method is called from `wrappers.py` and
`taps.py`, is cheap and never raises. What needs time is `recording.py`'s.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from weakref import finalize

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from claude_otel.capture.agent_sdk.inbox import (
    Ended,
    Frame,
    HookInput,
    Item,
    Seen,
    SpanStarted,
    TurnBegan,
    Written,
)
from claude_otel.capture.agent_sdk.prompts import is_command
from claude_otel.capture.agent_sdk.recording import Recording
from claude_otel.capture.agent_sdk.tracing_thread import TracingThread
from claude_otel.diagnostics import telemetry_must_not_break_the_host as guarded
from claude_otel.emit_live import Key, LiveEmitter
from claude_otel.model import events as ev
from claude_otel.semconv.spans import agent_named, subagent_start, tool_start, turn_start
from claude_otel.sources.blocks import bytes_of, json_of, list_of, object_of, section, text
from claude_otel.sources.sdk_frame import names_of_frame, session_of

Json: TypeAlias = Mapping[str, Any]

_CONTROL: Final = ("control_request", "control_response", "control_cancel_request")
_LAUNCHERS: Final = ("Agent", "Task")
# Of a streamed answer only its first and its last event say what records do not.
_EVENTS_KEPT: Final = ("message_start", "message_delta")
# What mcp's own middleware starts for a handshake outside of any turn belongs to no trace.
_NO_TRACE: Final = NonRecordingSpan(
    SpanContext(trace_id=1, span_id=1, is_remote=True, trace_flags=TraceFlags(0))
)
_TRACE_CONTEXT: Final = TraceContextTextMapPropagator()
_connections = itertools.count()


@dataclass(frozen=True, slots=True)
class _Caller:
    """A tool call as its frame tells it. `parent`: what launched the agent that made it."""

    name: str
    at_ns: int
    parent: str | None
    agent_type: str | None


class Connection:
    """`above`: what the program had current when it opened the connection."""

    def __init__(
        self, emitter: LiveEmitter, recording: Recording, thread: TracingThread, above: Context
    ) -> None:
        self.above = above
        self._emitter = emitter
        self._recording = recording
        self._thread = thread
        self._id = next(_connections)
        self._opened_at_ns = time.time_ns()
        self._spans = 0
        # The turn that runs, or the one that is expected: its number, its span if it has one.
        self._number = 0
        self._runs_since_ns: int | None = None
        self._turn: Key | None = None
        self._is_of_prompt = False
        self._is_unwritten = False
        # Prompts that no turn has taken up yet, as it seems, and what the one that runs took.
        self._waiting: list[Written] = []
        self._taken: list[Written] = []
        self._names_ahead: tuple[str, ...] = ()
        self._session_id: str | None = None
        self._callers: dict[str, _Caller] = {}
        self._launchers: dict[str, str] = {}
        self._is_told = False
        # A client that nobody closes is over when nobody has it any more.
        self._unclosed = finalize(self, _left_open, recording)
        self._unclosed.atexit = False
        self.answers: dict[str, Json] = {}
        """Responses to the control requests that are being answered, by request id."""
        self.is_open = False
        """Whether the CLI has answered, so that it can be asked."""
        self.handled_before = sys.exc_info()[1]
        """What the program was handling when it began to open this, until it is open."""
        self.cli_pid: int | None = None
        self.stderr = ""
        """The end of what the CLI printed to the program's own callback."""

    def opened(self) -> None:
        self.is_open, self.handled_before = True, None

    def launched_in(self, config_dir: Path) -> None:
        """The CLI starts, on this machine, with this folder for what it keeps."""
        self._recording.launched_in(config_dir)

    # -- turns ------------------------------------------------------------------------
    #
    # A turn begins with `init` and ends with its result. Its span is started before that, with
    # the prompt, where that is sure to be the next turn's: nothing runs and nothing waits. Any
    # other is started once its record says which prompts it took (`recording.py`), or when a
    # callback needs it first.

    def expects_stream(self) -> None:
        """Prompts will come from a stream: the first one's turn begins now."""
        self._begin_span(self.above, time.time_ns(), of_prompt=True)
        self._is_unwritten = True

    def asked(self, message: Json | bytes, above: Context) -> None:
        """The program writes a `user` message."""
        at_ns = time.time_ns()
        content = message if isinstance(message, bytes) else bytes_of(message)
        key = self._turn if self._is_unwritten else None
        self._is_unwritten = False
        if key is None and self._turn is None and self._runs_since_ns is None and not self._waiting:
            key = self._begin_span(above, at_ns, of_prompt=True)
        written = Written(at_ns, content, above, key)
        if key is None:
            self._waiting.append(written)
        self._put(written)

    def turn_context(self) -> Context:
        """The context in which the turn that runs, or is to come, is current."""
        if self._turn is None and self._runs_since_ns is not None:
            self._begin_span_of(self._taken, self._runs_since_ns)
        elif self._turn is None and self._waiting:
            self._taken = self._take_waiting()
            self._begin_span_of(self._taken, time.time_ns())
        if self._turn is not None:
            return self._emitter.context_of(self._turn) or self.above
        return self.above

    # -- what arrives --------------------------------------------------------------------

    def arrived(self, frame: Json) -> None:
        """A frame came from the CLI."""
        at_ns = time.time_ns()
        kind = text(frame, "type")
        if kind in _CONTROL:
            return
        if kind == "stream_event" and text(section(frame, "event"), "type") not in _EVENTS_KEPT:
            return
        if kind == "assistant":
            self._note_tools(frame, at_ns)
        elif kind == "user":
            self._note_results(frame)
        elif kind == "system" and text(frame, "subtype") == "init":
            self._turn_begins(at_ns)
        names = self._names_of(kind, frame)
        if (session_id := session_of(frame)) is not None:
            self._session_id = session_id
            turn = self._number if self._runs_since_ns is not None else None
            self._put(Frame(at_ns, session_id, bytes_of(frame), turn, names))
        if kind == "result":
            self._turn_is_over(frame)

    def writes(self, data: str) -> None:
        """The SDK's own tasks write to the CLI: an answer of the program's, or a prompt of its
        stream."""
        beginning = data[:300]
        if '"control_request"' in beginning:
            return
        if '"control_response"' in beginning:
            for request_id in self.answers:
                if request_id in beginning:
                    answer = object_of(json_of(data.encode("utf-8", "surrogatepass"))) or {}
                    self.answers[request_id] = section(answer, "response")
            return
        self.asked(data.encode("utf-8", "surrogatepass"), self.above)

    # -- what the program itself is asked -----------------------------------------------------

    def context_for(self, request: Json) -> Context:
        """In which context a callback of the program runs: that of the agent that needs it."""
        said = section(request, "input")
        about = said if "hook_event_name" in said else request
        launched_by = self._launchers.get(text(about, "agent_id") or "")
        if launched_by is None:
            caller = self._callers.get(text(about, "tool_use_id") or "")
            launched_by = caller.parent if caller is not None else None
        return self._agent_context(launched_by)

    def asked_permission(self, request: Json) -> None:
        if tool_use_id := text(request, "tool_use_id"):
            name = text(request, "tool_name") or "unknown"
            now_ns = time.time_ns()
            self._see(ev.PermissionAsked(at_ns=now_ns, name=name, tool_use_id=tool_use_id))

    def gave_permission(self, request: Json, answer: Json) -> None:
        if tool_use_id := text(request, "tool_use_id"):
            failed = text(answer, "subtype") == "error"
            decision = "error" if failed else text(section(answer, "response"), "behavior")
            now_ns = time.time_ns()
            self._see(
                ev.PermissionDecided(at_ns=now_ns, tool_use_id=tool_use_id, decision=decision)
            )

    def hook_ran(self, request: Json, answer: Json, started_at_ns: int) -> None:
        """A hook callback of the program answered; what it was told is a payload like any."""
        said = section(request, "input")
        self._put(HookInput(started_at_ns, bytes_of(said)))
        output = section(answer, "response")
        self._see(
            ev.HookRan(
                at_ns=time.time_ns(),
                started_at_ns=started_at_ns,
                is_callback=True,
                adds_context=_adds_context(output),
                name=text(said, "hook_event_name") or "unknown",
                tool_use_id=text(said, "tool_use_id"),
                prompt_id=text(said, "prompt_id"),
                decision=_decision_of(output),
                error_type="callback_error" if text(answer, "subtype") == "error" else None,
            )
        )

    # -- tools of the program's own -------------------------------------------------------------

    def tool_context(self, server: str, message: Json) -> Context:
        """In which context an in-process MCP server handles `message`."""
        tool_use_id = tool_use_of(message)
        if tool_use_id is None:
            here = self.turn_context()
            outside = get_current_span(here).get_span_context() == INVALID_SPAN_CONTEXT
            return set_span_in_context(_NO_TRACE, here) if outside else here
        name = f"mcp__{server}__{text(section(message, 'params'), 'name')}"
        return self._tool_context(tool_use_id, name, time.time_ns())

    def tool_ran(self, message: Json, started_at_ns: int) -> None:
        tool_use_id = tool_use_of(message)
        if tool_use_id is not None:
            now_ns = time.time_ns()
            self._see(
                ev.ToolRan(at_ns=now_ns, tool_use_id=tool_use_id, started_at_ns=started_at_ns)
            )

    # -- the end -----------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """All of it is told."""
        return self._recording.is_over

    def ended(self, cut_short: ev.CutShort, *, is_closed: bool = True) -> None:
        """Nothing more will come; the first word counts. Not closed: the CLI may still write."""
        if self._unclosed.alive:
            if not (self.is_open or self._spans or cut_short.outcome == "closed_early"):
                # Nothing was asked yet: that no agent could be had is all that there is to tell.
                self._begin_span(self.above, self._opened_at_ns, of_prompt=False)
            self._put(Ended(cut_short, is_closed, self.cli_pid))
            if is_closed:
                self._unclosed.detach()

    # -- parts of the above ----------------------------------------------------------------------

    def _put(self, item: Item) -> None:
        self._recording.put(item)
        if self._is_told:
            self._thread.wake()
        else:
            self._is_told = True
            self._thread.tell(self._recording)

    def _see(self, event: ev.Event) -> None:
        self._put(Seen(event))

    def _begin_span(self, above: Context, at_ns: int, *, of_prompt: bool) -> Key:
        self._spans += 1
        key = ("turn", f"connection {self._id} turn {self._spans}")
        self._emitter.start(key, turn_start(at_ns), above)
        self._turn, self._is_of_prompt = key, of_prompt
        self._put(SpanStarted(key, at_ns))
        return key

    def _begin_span_of(self, prompts: list[Written], at_ns: int) -> None:
        above = prompts[-1].above if prompts else self.above
        self._begin_span(above, at_ns, of_prompt=bool(prompts))

    def _turn_begins(self, at_ns: int) -> None:
        if self._runs_since_ns is not None:
            self._turn = None  # the one before has no result
        if self._turn is None:
            self._taken = self._take_waiting()
        self._number, self._runs_since_ns = self._number + 1, at_ns
        self._put(TurnBegan(self._number, self._turn))

    def _turn_is_over(self, result: Json) -> None:
        """A prompt whose span was started still waits if the turn was of Claude Code's own."""
        was_asked = text(section(result, "origin"), "kind") in (None, "human")
        if was_asked:
            self._taken = []
        elif self._turn is None:
            self._taken, self._waiting = [], [*self._taken, *self._waiting]
        if was_asked or not self._is_of_prompt:
            self._turn = None
        self._runs_since_ns = None

    def _names_of(self, kind: str | None, frame: Json) -> tuple[str, ...]:
        """What `frame` says of the turn that runs; `/clear` names its prompt before it begins."""
        names = names_of_frame(frame)
        if self._runs_since_ns is not None:
            names, self._names_ahead = (*self._names_ahead, *names), ()
        elif kind == "conversation_reset":
            self._names_ahead = names
        return names

    def _take_waiting(self) -> list[Written]:
        """Prompts that wait are taken together, a command alone."""
        plain = list(
            itertools.takewhile(lambda prompt: not is_command(prompt.content), self._waiting)
        )
        taken = plain or self._waiting[:1]
        self._waiting = self._waiting[len(taken) :]
        return taken

    def _note_tools(self, frame: Json, at_ns: int) -> None:
        parent, agent_id = text(frame, "parent_tool_use_id"), text(frame, "agent_id")
        if parent is not None and agent_id is not None:
            self._launchers[agent_id] = parent
        for block in blocks_of(frame, "tool_use"):
            agent_type = text(section(block, "input"), "subagent_type")
            name = text(block, "name") or "unknown"
            self._callers[text(block, "id") or ""] = _Caller(name, at_ns, parent, agent_type)

    def _note_results(self, frame: Json) -> None:
        for block in blocks_of(frame, "tool_result"):
            tool_use_id = text(block, "tool_use_id") or ""
            caller = self._callers.get(tool_use_id)
            if caller is not None and caller.name not in _LAUNCHERS:
                del self._callers[tool_use_id]

    def _agent_context(self, launched_by: str | None) -> Context:
        """The context of the agent that this call launched; None: of the main loop."""
        if launched_by is None:
            return self.turn_context()
        key = ("subagent", launched_by)
        known = self._emitter.context_of(key)
        if known is not None:
            return known
        caller = self._callers.get(launched_by)
        if caller is None:
            caller = _Caller(_LAUNCHERS[0], time.time_ns(), None, None)
        above = self._tool_context(launched_by, caller.name, caller.at_ns)
        named = subagent_start(caller.agent_type, caller.at_ns, conversation_id=self._session_id)
        return self._emitter.start(key, named, above)

    def _tool_context(self, tool_use_id: str, name: str, started_at_ns: int) -> Context:
        key = ("tool_call", tool_use_id)
        known = self._emitter.context_of(key)
        if known is not None:
            return known
        caller = self._callers.get(tool_use_id)
        above = self._agent_context(caller.parent if caller is not None else None)
        named = tool_start(
            caller.name if caller is not None else name,
            started_at_ns,
            call_id=tool_use_id,
            agent_name=self._agent_of(caller),
            conversation_id=self._session_id,
        )
        return self._emitter.start(key, named, above)

    def _agent_of(self, caller: _Caller | None) -> str | None:
        """The name of the agent that makes a call; None where no frame told of the call."""
        if caller is None:
            return None
        launcher = self._callers.get(caller.parent or "")
        agent_type = launcher.agent_type if launcher is not None else None
        return agent_named(agent_type, is_main=caller.parent is None)


def _left_open(recording: Recording) -> None:
    """From a finalizer, so anywhere: it takes no lock, and the thread looks by itself."""
    with guarded("ending what nobody closed", raise_ours=recording.raise_ours):
        cut_short = ev.CutShort(at_ns=time.time_ns(), outcome="closed_early")
        recording.put(Ended(cut_short, is_closed=True, cli_pid=None))


def blocks_of(frame: Json, kind: str) -> list[Json]:
    """The content blocks of this type in a message's frame."""
    blocks = map(object_of, list_of(section(frame, "message").get("content")))
    return [block for block in blocks if block is not None and text(block, "type") == kind]


def tool_use_of(message: Json) -> str | None:
    """The call that a `tools/call` message belongs to (`claudecode/toolUseId`)."""
    if text(message, "method") != "tools/call":
        return None
    return text(section(section(message, "params"), "_meta"), "claudecode/toolUseId")


def stamped(message: Json, context: Context) -> dict[str, Any]:
    """A copy of `message` that names the current span of `context` as its parent (SEP-414)."""
    carrier: dict[str, str] = {}
    _TRACE_CONTEXT.inject(carrier, context)
    params = section(message, "params")
    return {**message, "params": {**params, "_meta": {**section(params, "_meta"), **carrier}}}


def stamp_of(message: Json) -> str | None:
    """The parent that a message was stamped with."""
    return text(section(section(message, "params"), "_meta"), "traceparent")


def _decision_of(output: Json) -> str | None:
    """What a hook's answer changes, in the hook protocol's own words."""
    if output.get("continue") is False:
        return "stop"
    specific = section(output, "hookSpecificOutput")
    decision = text(specific, "permissionDecision") or text(output, "decision")
    return decision or ("add_context" if _adds_context(output) else None)


def _adds_context(output: Json) -> bool:
    return bool(text(section(output, "hookSpecificOutput"), "additionalContext"))
