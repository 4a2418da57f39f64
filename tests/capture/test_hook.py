"""The hook, run as Claude Code runs it, against real files and processes."""

import ast
import fcntl
import os
import random
import resource
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from installed_hook import SESSION, Claude, Installed, payload

from claude_otel.capture import hook
from claude_otel.capture.spool import TORN_LINES, read_records
from claude_otel.settings import read_environ
from claude_otel.worker.lock import is_held

PROMPT: dict[str, object] = {"hook_event_name": "UserPromptSubmit", "prompt": "hello"}


def until(condition: Callable[[], object], *, within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def payloads(installed: Installed) -> list[bytes]:
    return [record.payload for record in read_records(installed.session.spool)[0]]


def test_it_imports_what_starts_fast_and_nothing_else() -> None:
    tree = ast.parse(Path(hook.__file__).read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported == {"os", "sys", "time", "fcntl", "msvcrt"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def test_an_event_is_one_record_with_its_time_and_its_process(installed: Installed) -> None:
    before = time.time_ns()
    installed.fire(payload(PROMPT) + b"\n", pid=os.getpid())
    records, offset = read_records(installed.session.spool)
    assert [(r.claude_pid, r.payload) for r in records] == [(os.getpid(), payload(PROMPT))]
    assert before < records[0].received_at_ns < time.time_ns()
    assert offset == installed.session.spool.stat().st_size


def test_a_payload_over_several_lines_is_one_record(installed: Installed) -> None:
    installed.fire(b'{\n  "session_id": "%s",\n  "prompt": "a\\nb"\n}' % SESSION.encode())
    expected = b'{   "session_id": "%s",   "prompt": "a\\nb" }' % SESSION.encode()
    assert payloads(installed) == [expected]


def test_what_it_leaves_is_its_owners_alone(installed: Installed) -> None:
    with Claude(HOME="/h") as claude:
        installed.fire(PROMPT, pid=claude.pid)
    until(installed.started)
    found = {
        path.relative_to(installed.root).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in [installed.state.path, *installed.state.path.rglob("*")]
    }
    folder = f"state/sessions/{SESSION}"
    assert found == {
        "state": 0o700,
        "state/sessions": 0o700,
        folder: 0o700,
        f"{folder}/spool": 0o600,
        f"{folder}/environ": 0o600,
        f"{folder}/alive.lock": 0o600,
    }


def test_twenty_large_events_at_once_are_twenty_whole_records(installed: Installed) -> None:
    events = [payload({"tool_response": str(n) * 200_000, "n": n}) for n in range(20)]
    environ = {"CLAUDE_PID": "1"}
    running = [
        subprocess.Popen(installed.command(), stdin=subprocess.PIPE, env=environ) for _ in events
    ]
    for process, event in zip(running, events, strict=True):
        assert process.stdin
        process.stdin.write(event)
    for process in running:
        assert process.stdin
        process.stdin.close()
    assert [process.wait() for process in running] == [0] * 20
    counts: Counter[str] = Counter()
    records, _ = read_records(installed.session.spool, counts=counts)
    assert sorted(record.payload for record in records) == sorted(events)
    assert counts == {}
    until(installed.started)
    assert len(installed.started()) == 1


def test_a_hook_that_is_killed_costs_its_own_record_at_most(installed: Installed) -> None:
    chance = random.Random(1)
    whole: list[bytes] = []
    for n in range(40):
        event = payload({"n": n, "tool_response": "x" * 200_000})
        process = subprocess.Popen(
            installed.command(), stdin=subprocess.PIPE, env={"CLAUDE_PID": "1"}
        )
        assert process.stdin
        process.stdin.write(event)
        process.stdin.close()
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        if process.wait() == 0:
            whole.append(event)
    installed.fire(PROMPT)
    found = payloads(installed)
    assert found[-1] == payload(PROMPT)
    assert [event for event in whole if event not in found] == []


def test_a_torn_last_line_is_ended_before_the_next_record(installed: Installed) -> None:
    installed.fire(PROMPT)
    with installed.session.spool.open("ab") as spool:
        spool.write(b'179 12 {"session_id":"torn')
    installed.fire(PROMPT)
    counts: Counter[str] = Counter()
    records, _ = read_records(installed.session.spool, counts=counts)
    assert [record.payload for record in records] == [payload(PROMPT)] * 2
    assert counts == {TORN_LINES: 1}


def test_a_record_for_which_there_is_no_room_leaves_no_part_of_itself(
    installed: Installed,
) -> None:
    installed.fire(PROMPT)
    before = installed.session.spool.read_bytes()
    done = subprocess.run(
        installed.command(),
        input=payload({"tool_response": "x" * 200_000}),
        env={"CLAUDE_PID": "1"},
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert installed.session.spool.read_bytes() == before
    assert installed.session.unrecorded.exists()


def test_what_a_full_disk_took_no_part_of_is_marked(installed: Installed) -> None:
    before = time.time_ns()
    with Claude(OTEL_SERVICE_NAME="of claude") as claude:
        subprocess.run(
            installed.command(),
            input=payload({"hook_event_name": "SessionStart"}),
            env={"CLAUDE_PID": str(claude.pid)},
            check=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        )
        left = {path.name: path.stat().st_size for path in installed.session.path.iterdir()}
        assert left == {"spool": 0, "unrecorded": 0}
        marked_at_ns = installed.session.unrecorded.stat().st_mtime_ns
        assert before - 1_000_000_000 < marked_at_ns  # files are dated by a coarser clock
        installed.fire(PROMPT, pid=claude.pid)
    assert payloads(installed) == [payload(PROMPT)]
    assert read_environ(installed.session.environ) == {"OTEL_SERVICE_NAME": "of claude"}
    assert installed.session.unrecorded.stat().st_mtime_ns == marked_at_ns


def test_a_record_waits_for_the_lock_and_for_no_deleted_file(installed: Installed) -> None:
    installed.fire(PROMPT)
    with installed.session.spool.open("rb") as spool:
        fcntl.flock(spool, fcntl.LOCK_EX)
        process = subprocess.Popen(
            installed.command(), stdin=subprocess.PIPE, env={"CLAUDE_PID": "1"}
        )
        assert process.stdin
        process.stdin.write(payload({"late": True}))
        process.stdin.close()
        time.sleep(0.3)
        assert process.poll() is None
        installed.session.spool.unlink()
    assert process.wait(10) == 0
    assert payloads(installed) == [payload({"late": True})]


def a_file_in_the_place_of_the_state(installed: Installed) -> None:
    installed.state.path.write_text("")


def a_folder_in_the_place_of_the_spool(installed: Installed) -> None:
    installed.session.spool.mkdir(parents=True)


def a_full_disk(installed: Installed) -> None:
    installed.session.path.mkdir(parents=True)
    installed.session.spool.symlink_to("/dev/full")


def a_read_only_system(installed: Installed) -> None:
    installed.state.path.symlink_to("/proc/1")


@pytest.mark.parametrize(
    "broken",
    [
        a_file_in_the_place_of_the_state,
        a_folder_in_the_place_of_the_spool,
        a_full_disk,
        a_read_only_system,
    ],
)
def test_a_state_folder_that_cannot_be_written_is_no_affair_of_claude(
    installed: Installed, broken: Callable[[Installed], None]
) -> None:
    broken(installed)
    assert installed.fire(PROMPT).returncode == 0


@pytest.mark.parametrize(
    "session_id",
    [b"", b"..", b"../../x", b"a/b", b"a\\\\b", b"a" * 129, b"a b", b"a\\u002e", "é".encode()],
)
def test_a_hostile_session_id_makes_no_file(installed: Installed, session_id: bytes) -> None:
    installed.fire(b'{"session_id":"%s","prompt":"x"}' % session_id)
    assert not installed.state.path.exists()


@pytest.mark.parametrize(
    "stdin",
    [b"", b"\n", b"{}", b'{"session_id":', b'{"session_id":"abc', b'{"session_id":7}', b"\xff\0"],
)
def test_what_is_no_event_makes_no_file(installed: Installed, stdin: bytes) -> None:
    installed.fire(stdin)
    assert not installed.state.path.exists()


def test_without_stdin_or_arguments_it_says_nothing_either(installed: Installed) -> None:
    for command in (installed.command(), installed.command()[:-2]):
        shell = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command]
        done = subprocess.run(shell, capture_output=True, env={})
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_session_id_inside_a_tools_input_is_not_the_sessions(installed: Installed) -> None:
    installed.fire({"tool_input": {"session_id": "other"}})
    assert [folder.session_id for folder in installed.state.sessions()] == [SESSION]


def test_it_keeps_of_the_environment_of_claude_what_may_matter(installed: Installed) -> None:
    kept = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_RESOURCE_ATTRIBUTES": "a=b,c=d",
        "MLFLOW_TRACKING_URI": "http://m",
        "DATABRICKS_HOST": "h",
        "CLAUDE_OTEL_CONTENT": "none",
        "TRACEPARENT": "00-1-2-01",
        "B3": "1-2-1",
        "X_B3_TRACEID": "1",
        "UBER_TRACE_ID": "1:2:0:1",
        "ANTHROPIC_BASE_URL": "http://gateway",
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "CLAUDE_CODE_USE_VERTEX": "0",
        "https_proxy": "http://proxy",
        "REQUESTS_CA_BUNDLE": "/ca",
        "HOME": "/h",
        "PATH": "/bin",
        "CLAUDE_CONFIG_DIR": "/c",
        "XDG_STATE_HOME": "/s",
    }
    with Claude(**kept, ANTHROPIC_API_KEY="sk", AWS_SECRET_ACCESS_KEY="s", EDITOR="vi") as claude:
        installed.fire(
            PROMPT,
            pid=claude.pid,
            CLAUDE_PROJECT_DIR="/p",
            CLAUDE_CODE_ENTRYPOINT="sdk-py",
            MLFLOW_TRACKING_URI="of a project's settings",
        )
    assert read_environ(installed.session.environ) == {
        **kept,
        "CLAUDE_PROJECT_DIR": "/p",
        "CLAUDE_CODE_ENTRYPOINT": "sdk-py",
    }


def test_the_environment_is_read_again_when_another_process_resumes_the_session(
    installed: Installed,
) -> None:
    with Claude(OTEL_SERVICE_NAME="first") as first, Claude(OTEL_SERVICE_NAME="second") as second:
        installed.fire(PROMPT, pid=first.pid)
        installed.fire(PROMPT, pid=second.pid)
        assert read_environ(installed.session.environ) == {"OTEL_SERVICE_NAME": "first"}
        installed.fire({"hook_event_name": "SessionStart", "source": "resume"}, pid=second.pid)
        assert read_environ(installed.session.environ) == {"OTEL_SERVICE_NAME": "second"}


@pytest.mark.parametrize("pid", ["", "x", "../1", "999999999"])
def test_a_process_that_cannot_be_read_leaves_no_environment(
    installed: Installed, pid: str
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@"; exit $?', "sh", *installed.command()],
        input=payload(PROMPT),
        env={"CLAUDE_PID": pid} if pid else {},
        capture_output=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert payloads(installed) == [payload(PROMPT)]


@pytest.mark.parametrize("value", ["1", "true", "Yes"])
def test_a_session_that_its_shell_switched_off_leaves_nothing(
    installed: Installed, value: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"],
        env={"CLAUDE_OTEL_DISABLED": value},
        stdin=subprocess.PIPE,
    ) as claude:
        installed.fire(PROMPT, pid=claude.pid, CLAUDE_OTEL_DISABLED=value)
        assert not installed.state.path.exists()
        claude.communicate(b"\n")


def test_a_project_that_switches_it_off_is_not_believed_by_the_hook(installed: Installed) -> None:
    """Claude Code hands a hook what settings files say; whose they are, the starter knows."""
    installed.fire(PROMPT, CLAUDE_OTEL_DISABLED="1")
    assert payloads(installed) == [payload(PROMPT)]


def test_a_session_that_its_configuration_switched_off_starts_again_at_a_resume(
    installed: Installed,
) -> None:
    installed.session.path.mkdir(parents=True)
    installed.session.off.touch()
    installed.fire(PROMPT)
    assert not installed.session.spool.exists()
    start: dict[str, object] = {"hook_event_name": "SessionStart", "source": "resume"}
    installed.fire(start)
    assert payloads(installed) == [payload(start)]
    assert not installed.session.off.exists()


def test_it_starts_one_worker_detached_and_hands_it_the_lock(installed: Installed) -> None:
    installed.fire(PROMPT)
    installed.fire(PROMPT)
    until(installed.pids)
    installed.fire(PROMPT)
    assert installed.started() == [
        f"-I -m claude_otel.worker.start {installed.state.path} {SESSION} {installed.data}"
    ]
    assert is_held(installed.session.alive_lock)
    (pid,) = installed.pids()
    assert os.getsid(pid) == pid
    assert [os.readlink(f"/proc/{pid}/fd/{n}") for n in (0, 1, 2)] == ["/dev/null"] * 3


def test_when_the_worker_is_gone_the_next_hook_starts_another(installed: Installed) -> None:
    installed.fire(PROMPT)
    until(installed.pids)
    installed.stop_started()
    until(lambda: not is_held(installed.session.alive_lock))
    # Within the second it would be left alone: a worker that cannot live is not
    # started by every hook.
    os.utime(installed.session.alive_lock, (0, 0))
    installed.fire(PROMPT)
    until(lambda: len(installed.started()) == 2)


def test_before_the_date_of_the_lock_no_worker_is_started(installed: Installed) -> None:
    installed.session.path.mkdir(parents=True)
    installed.session.alive_lock.touch()
    os.utime(installed.session.alive_lock, (2**33, 2**33))
    installed.fire(PROMPT)
    assert not is_held(installed.session.alive_lock)
    os.utime(installed.session.alive_lock, (0, 0))
    installed.fire(PROMPT)
    until(installed.started)
    assert len(installed.started()) == 1


def test_without_an_interpreter_for_the_worker_the_record_is_kept(installed: Installed) -> None:
    installed.python.unlink()
    installed.fire(PROMPT)
    assert payloads(installed) == [payload(PROMPT)]


def test_the_worker_that_it_starts_is_ours(installed: Installed) -> None:
    installed.python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    with Claude(HOME=str(installed.root), CLAUDE_OTEL_CONTENT="some") as claude:
        installed.fire(PROMPT, pid=claude.pid)
    log = installed.state.log
    until(lambda: log.exists() and log.read_text())
    assert "CLAUDE_OTEL_CONTENT=some: 'some' is unknown" in log.read_text()
