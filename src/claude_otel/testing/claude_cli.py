"""Runs the real `claude`, offline: a home of its own, a loopback API, nothing inherited.

Here: finding the binary, starting, driving, interrupting and killing the process.
Never here: what the API answers (scenario.py), pseudo-terminals (terminal.py).
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, TypedDict, cast
from urllib.parse import urlsplit

from .claude_home import FAKE_API_KEY, ClaudeHome
from .claude_run import ClaudeRun, ended_run, session_touched
from .scripted_api import ScriptedApi

if TYPE_CHECKING:
    from typing import NotRequired

    from typing_extensions import Unpack

Json = dict[str, Any]

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
DEFAULT_TOOLS = ("Bash", "Read", "Edit", "Write", "Grep", "Glob", "Agent", "Task")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# These would send the session, or its key, somewhere else than to the scripted API.
_REFUSED_VARIABLES = (
    "HOME",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CONFIG_DIR",
)


class ClaudeNotFoundError(RuntimeError):
    """There is no `claude` to run."""


def find_claude() -> Path:
    """The binary that the claude-agent-sdk wheel carries. Raises ClaudeNotFoundError."""
    spec = importlib.util.find_spec("claude_agent_sdk")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for name in ("claude", "claude.exe"):
            path = Path(folder) / "_bundled" / name
            if path.is_file():
                return path
    raise ClaudeNotFoundError(
        "The `claude` binary comes with the wheel of claude-agent-sdk, which is not installed "
        "here. Install it: pip install 'claude-otel[agent-sdk]'."
    )


class ClaudeProcess:
    """A running `claude`. Leaving it (`with`) kills what is still running."""

    def __init__(
        self, command: Sequence[str], *, home: ClaudeHome, env: Mapping[str, str], project: Path
    ) -> None:
        self._home = home
        self._before = set(home.transcripts())
        self._ended_at_ns: int | None = None
        self._frames: queue.Queue[Json | None] = queue.Queue()
        self._frames_seen: list[Json] = []
        self._stdout: list[str] = []
        self._stderr: list[str] = []
        self.started_at_ns = time.time_ns()
        self._process = subprocess.Popen(
            command,
            cwd=project,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._stdin = cast(IO[str], self._process.stdin)
        self._readers = [
            threading.Thread(target=self._read_frames, args=(self._process.stdout,)),
            threading.Thread(target=self._read_errors, args=(self._process.stderr,)),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> ClaudeProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._collect()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read_frames(self, stream: IO[str]) -> None:
        for line in stream:
            self._stdout.append(line)
            try:
                frame = json.loads(line)
            except ValueError:
                continue
            if isinstance(frame, dict):
                self._frames_seen.append(cast(Json, frame))
                self._frames.put(cast(Json, frame))
        self._frames.put(None)

    def _read_errors(self, stream: IO[str]) -> None:
        for line in stream:
            self._stderr.append(line)

    # --- driving it ---

    def write(self, text: str) -> None:
        self._stdin.write(text)
        self._stdin.flush()

    def close_input(self) -> None:
        try:
            self._stdin.close()
        except BrokenPipeError:
            return  # it died before it read

    def send_prompt(self, prompt: str | list[Json]) -> None:
        """The next prompt of a stream-json session: words, or content blocks."""
        message = {"role": "user", "content": prompt}
        self.write(json.dumps({"type": "user", "message": message}) + "\n")

    def next_frame(self, kind: str, *, timeout_s: float = 60) -> Json:
        """The next printed frame of this type. Raises TimeoutError, EOFError when it ended."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                frame = self._frames.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(self._advice(f"printed no {kind!r} frame", timeout_s)) from None
            if frame is None:
                self._frames.put(None)
                raise EOFError(self._advice(f"ended without a {kind!r} frame", timeout_s))
            if frame.get("type") == kind:
                return frame

    def interrupt(self) -> None:
        """SIGINT to the process, as Ctrl-C in `claude -p`."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the process and what it started in its group; no hook runs after it."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, *, timeout_s: float = 60) -> ClaudeRun:
        """The ended run. After `timeout_s` the process is killed and TimeoutError is raised."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._collect()
            raise TimeoutError(self._advice("did not end", timeout_s)) from None
        return self._collect()

    def _collect(self) -> ClaudeRun:
        returncode = self._process.wait()
        if self._ended_at_ns is None:
            self._ended_at_ns = time.time_ns()
        self.close_input()
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        return ended_run(
            self._home,
            self._session_id(),
            returncode=returncode,
            times_ns=(self.started_at_ns, self._ended_at_ns),
            stdout="".join(self._stdout),
            stderr="".join(self._stderr),
            frames=tuple(self._frames_seen),
        )

    def _session_id(self) -> str | None:
        for frame in reversed(self._frames_seen):
            if isinstance(frame.get("session_id"), str):
                return frame["session_id"]
        # It died before it said so.
        return session_touched(self._home, self._before, self.started_at_ns)

    def _advice(self, what: str, timeout_s: float) -> str:
        return (
            f"claude {what} within {timeout_s} s. Look at ScriptedApi.calls; its stderr ends: "
            f"{''.join(self._stderr)[-500:]!r}, its stdout: {''.join(self._stdout)[-500:]!r}"
        )


class ClaudeOptions(TypedDict):
    """How to start `claude`; what `start_claude` and `run_claude` take by name.

    api: a ScriptedApi, or a base URL, which must be loopback.
    home: where it lives, and runs unless `project` is another folder.
    args: further arguments, last.
    env: variables beyond PATH, HOME, TMPDIR and those that point at the API; nothing else is set.
    resume, continue_last, fork: `--resume ID`, `--continue`, `--fork-session`.
    """

    api: ScriptedApi | str
    home: ClaudeHome
    project: NotRequired[Path]
    args: NotRequired[Sequence[str]]
    env: NotRequired[Mapping[str, str]]
    allowed_tools: NotRequired[Iterable[str]]
    permission_mode: NotRequired[str]
    output_format: NotRequired[str]
    input_format: NotRequired[str]
    model: NotRequired[str]
    session_id: NotRequired[str]
    resume: NotRequired[str]
    continue_last: NotRequired[bool]
    fork: NotRequired[bool]
    claude: NotRequired[Path]


def start_claude(prompt: str | None = None, **options: Unpack[ClaudeOptions]) -> ClaudeProcess:
    """Starts `claude -p` in the project of `home`.

    Raises ValueError for an address or a variable that would leave this machine,
    ClaudeNotFoundError without a binary.
    """
    home = options["home"]
    return ClaudeProcess(
        claude_command(prompt, options),
        home=home,
        env=claude_environment(options["api"], home, options.get("env")),
        project=options.get("project", home.project),
    )


def claude_command(prompt: str | None, options: ClaudeOptions) -> list[str]:
    """The program and its arguments."""
    output_format = options.get("output_format", "json")
    command = [str(options.get("claude") or find_claude()), "-p"]
    if prompt is not None:
        command.append(prompt)
    command += ["--output-format", output_format]
    if output_format == "stream-json":
        command.append("--verbose")
    if (input_format := options.get("input_format")) is not None:
        command += ["--input-format", input_format]
    return [*command, *session_arguments(options)]


def session_arguments(options: ClaudeOptions) -> list[str]:
    """What is said alike in print mode and in a terminal."""
    # The default of the program asks a classifier that only the real API has.
    command = ["--permission-mode", options.get("permission_mode", "default")]
    for flag, value in (
        ("--model", options.get("model")),
        ("--session-id", options.get("session_id")),
        ("--resume", options.get("resume")),
    ):
        if value is not None:
            command += [flag, value]
    if options.get("continue_last"):
        command.append("--continue")
    if options.get("fork"):
        command.append("--fork-session")
    if tools := ",".join(options.get("allowed_tools", DEFAULT_TOOLS)):
        command += ["--allowedTools", tools]
    return [*command, *options.get("args", ())]


def claude_environment(
    api: ScriptedApi | str, home: ClaudeHome, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The whole environment of the process, made from nothing. Raises ValueError.

    For the Agent SDK: `ClaudeAgentOptions(env=claude_environment(api, home))`, which the SDK lays
    over the environment of the program.
    """
    url = api if isinstance(api, str) else api.url
    if urlsplit(url).hostname not in LOOPBACK:
        raise ValueError(
            f"{url} is not on this machine. Tests talk to a loopback API only: pass a ScriptedApi."
        )
    for name in _REFUSED_VARIABLES:
        if name in (extra or {}):
            raise ValueError(
                f"{name} is set by the launcher, so that nothing leaves this machine. "
                "Leave it out of `env`; pass another `home` or `api` instead."
            )
    return {
        # With the interpreter of the test, so that a scenario can have `python3` run.
        "PATH": f"{Path(sys.executable).parent}:{DEFAULT_PATH}",
        "HOME": str(home.path),
        "TMPDIR": str(home.temporary),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": FAKE_API_KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        **(extra or {}),
    }


def run_claude(
    prompt: str | None = None,
    *,
    prompts: Sequence[str | list[Json]] | None = None,
    input: str | None = None,
    timeout_s: float = 60,
    **options: Unpack[ClaudeOptions],
) -> ClaudeRun:
    """Runs `claude -p` to its end; options as for `start_claude`.

    One of: `prompt` (an argument), `prompts` (one process, stream-json; each is sent after the
    result of the one before) and `input` (text on stdin). Raises TimeoutError after killing it.
    """
    if sum(value is not None for value in (prompt, prompts, input)) != 1:
        raise ValueError("Pass one of prompt, prompts and input.")
    if prompts is None:
        with start_claude(prompt, **options) as process:
            if input is not None:
                process.write(input)
            process.close_input()
            return process.wait(timeout_s=timeout_s)
    until = time.monotonic() + timeout_s
    options["input_format"] = options["output_format"] = "stream-json"
    with start_claude(**options) as process:
        for each in prompts:
            process.send_prompt(each)
            process.next_frame("result", timeout_s=until - time.monotonic())
        process.close_input()
        return process.wait(timeout_s=max(1.0, until - time.monotonic()))
