"""A loopback Messages API that answers from a scenario and keeps a log.

Here: which reply a call gets, the log, the command line.
Never here: HTTP (messages_server.py), the form of a reply (wire.py), scenarios (scenario.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from .calls import Call, call_to_dict
from .messages_server import TICK_S, ScriptedServer
from .scenario import (
    Failure,
    Json,
    Reply,
    Scenario,
    load,
    script_for,
)


class ScriptedApi:
    """Answers from `scenario` on 127.0.0.1 while it is entered; `calls` says what it did.

    `port` 0 takes a free one. `keep_bodies` keeps each request body in its Call.
    `answer_s` passes before each first byte, beyond what the scenario says.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        port: int = 0,
        keep_bodies: bool = False,
        answer_s: float = 0.0,
    ) -> None:
        self.answer_s = answer_s
        self._scenario = scenario
        self._keep_bodies = keep_bodies
        self._changed = threading.Condition()
        self._cursors: dict[tuple[str | None, ...], int] = {}
        self._main_beginnings: set[str] = set()
        self._received = 0
        self._pauses = 0
        self._pauses_ended = 0
        self._finished: list[Call] = []
        self._other_requests: list[str] = []
        self._log: IO[str] | None = None
        self._server = ScriptedServer(self, port)
        self._thread: threading.Thread | None = None

    # --- life ---

    def __enter__(self) -> ScriptedApi:
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(TICK_S,), name="scripted-api"
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stopping.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.hang_up()
        self._server.server_close()
        with self._changed:
            if self._log is not None:
                self._log.close()
                self._log = None

    @property
    def url(self) -> str:
        """The base URL, for ANTHROPIC_BASE_URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    # --- what it does ---

    def play(self, scenario: Scenario) -> None:
        """Answers from this scenario from now on, from its start; the log goes on."""
        with self._changed:
            self._scenario = scenario
            self._cursors.clear()

    def end_pauses(self) -> None:
        """Ends every Pause that has been reached by now: what follows it is sent at once."""
        with self._changed:
            self._pauses_ended = self._pauses

    # --- what it did ---

    @property
    def calls(self) -> list[Call]:
        """The calls that are over, in the order in which they were received."""
        with self._changed:
            return sorted(self._finished, key=lambda call: call.index)

    @property
    def other_requests(self) -> list[str]:
        """`METHOD path` of every request that was no model call (count_tokens, probes)."""
        with self._changed:
            return list(self._other_requests)

    @property
    def received(self) -> int:
        """How many calls have come in, finished or not."""
        with self._changed:
            return self._received

    @property
    def pauses(self) -> int:
        """How many Pause blocks have been reached."""
        with self._changed:
            return self._pauses

    def wait_for_requests(self, count: int, *, timeout_s: float = 30) -> None:
        """Returns when `count` calls have been received, finished or not; else TimeoutError."""
        self._wait(lambda: self._received >= count, f"{count} requests", timeout_s)

    def wait_for_calls(self, count: int, *, timeout_s: float = 30) -> None:
        """Returns when `count` calls are over; else TimeoutError."""
        self._wait(lambda: len(self._finished) >= count, f"{count} finished calls", timeout_s)

    def wait_for_pauses(self, count: int, *, timeout_s: float = 30) -> None:
        """Returns when `count` Pause blocks have been reached; else TimeoutError."""
        self._wait(lambda: self._pauses >= count, f"{count} pauses", timeout_s)

    def _wait(self, met: Callable[[], bool], what: str, timeout_s: float) -> None:
        with self._changed:
            if not self._changed.wait_for(met, timeout_s):
                raise TimeoutError(
                    f"The scripted API waited {timeout_s} s for {what}: {self._received} received, "
                    f"{len(self._finished)} finished. Look at `calls` and at the client's stderr."
                )

    def log_to(self, path: Path) -> None:
        """Appends every call that is over, past and future, to this file, one JSON line each."""
        with self._changed:
            if self._log is not None:
                self._log.close()
            self._log = open(path, "a", encoding="utf-8", opener=_private)  # noqa: SIM115
            for call in self._finished:
                self._write(call)

    def _write(self, call: Call) -> None:
        if self._log is not None:
            self._log.write(json.dumps(call_to_dict(call)) + "\n")
            self._log.flush()

    # --- for the handler ---

    def begin(self) -> int:
        with self._changed:
            self._received += 1
            self._changed.notify_all()
            return self._received - 1

    def reached_pause(self) -> int:
        """Which one it is, counted from 1."""
        with self._changed:
            self._pauses += 1
            self._changed.notify_all()
            return self._pauses

    @property
    def main_calls_over(self) -> int:
        with self._changed:
            return sum(call.script == "main" for call in self._finished)

    def has_ended(self, pause: int) -> bool:
        with self._changed:
            return pause <= self._pauses_ended

    def finish(self, call: Call) -> None:
        with self._changed:
            if not self._keep_bodies:
                call = dataclasses.replace(call, body=None)
            self._finished.append(call)
            self._write(call)
            self._changed.notify_all()

    def note(self, request: str) -> None:
        with self._changed:
            self._other_requests.append(request)

    def next_reply(
        self, body: Json, session_id: str | None, agent_id: str | None
    ) -> tuple[str, Reply]:
        """The name of the script and what it answers now."""
        with self._changed:
            scenario = self._scenario
            if is_side_call(body):
                return "side", scenario.side
            first = _first_user_text(body)
            # A subagent that inherits the conversation (2.1.149) is given its task last.
            script = script_for(scenario, first) or (
                script_for(scenario, _user_text(body)) if agent_id is not None else None
            )
            is_agent = agent_id is not None
            if agent_id is None and script is None:
                self._main_beginnings.add(first[-_TOLD_APART_BY:])
            elif script is None and first[-_TOLD_APART_BY:] in self._main_beginnings:
                is_agent = False  # a turn that an agent's report starts names it (2.1.149)
            # Early versions (2.1.19) send no header that names session or agent.
            if is_agent or (session_id is None and script is not None):
                if script is None:
                    return "none", _not_scripted(
                        f"no subagent script is for a prompt like {first[-200:]!r}"
                    )
                name, replies = script.given_name, script.replies
                cursor: tuple[str | None, ...] = (script.when, session_id, agent_id)
            else:
                name, replies = "main", scenario.main
                cursor = ("", session_id) if scenario.per_session else ("",)
            at = self._cursors.get(cursor, 0)
            self._cursors[cursor] = at + 1
            if at < len(replies):
                return name, replies[at]
            if scenario.when_exhausted == "repeat_last" and replies:
                return name, replies[-1]
            return name, _not_scripted(f"the script {name!r} has only {len(replies)} replies")


# So much of the end of its first prompt says whether two calls are of one conversation.
_TOLD_APART_BY = 100
# How the program asks to have a conversation summed up (2.1.330, 2.1.19), or what the user might
# type next (2.1.19). Nothing else in the request differs from one of the main loop: same system
# prompt, same tools, no header of its own.
_ASIDE = (
    "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.",
    "Your task is to create a detailed summary of the conversation so far",
    "[SUGGESTION MODE:",
)


def is_side_call(body: Json) -> bool:
    """Whether a call belongs to no loop: a summary, a suggestion, or no tools offered (titles)."""
    messages = cast("list[Json]", body.get("messages") or [])
    # In the middle of a turn it stands behind the results of tools, and before a reminder.
    said = [message for message in messages if message.get("role") == "user"]
    lines = _text_of(said[-1]).split("\n") if said else []
    is_aside = any(line.startswith(_ASIDE) for line in lines)
    return is_aside or not body.get("tools")


def _not_scripted(why: str) -> Failure:
    # Measured on 2.1.330: of all statuses only 409 is neither tried again with fewer options (400,
    # 422), nor turned into advice that hides the message (401, 403, 404, 413, 500).
    return Failure(
        status=409,
        type="scenario_exhausted",
        message=f"The scenario has no answer: {why}. Add a reply to it.",
        headers={"x-should-retry": "false"},
    )


def _first_user_text(body: Json) -> str:
    for message in body.get("messages", []):
        if message.get("role") == "user":
            return _text_of(message)
    return ""


def _user_text(body: Json) -> str:
    messages = [m for m in body.get("messages", []) if m.get("role") == "user"]
    return "\n".join(map(_text_of, messages))


def _text_of(message: Json) -> str:
    content = message.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", "")) for block in content)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def main(arguments: list[str] | None = None) -> int:
    """`python -m claude_otel.testing.scripted_api --scenario FILE`: serves until a signal."""
    parser = argparse.ArgumentParser(
        prog="python -m claude_otel.testing.scripted_api", description=__doc__
    )
    parser.add_argument("--scenario", type=Path, required=True, help="JSON file of a scenario")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--log", type=Path, help="append every call to this file, as JSON lines")
    options = parser.parse_args(arguments)
    try:
        scenario = load(options.scenario)
    except (OSError, ValueError) as error:
        print(f"{error}", file=sys.stderr)
        return 2
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopped.set())
    with ScriptedApi(scenario, port=options.port) as api:
        if options.log is not None:
            api.log_to(options.log)
        print(api.url, flush=True)
        stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
