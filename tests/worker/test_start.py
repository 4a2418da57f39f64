"""The starter as a process, with a small program in the worker's place."""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_otel.settings import DataFolder, SessionFolder, StateFolder, read_environ, record
from claude_otel.worker.lock import is_held, take

# Becomes a worker as `claude_otel.worker.run` does: says what it was given and
# which locks it holds, then lives until its stdin ends.
STAND_IN = """
import json, os, sys
from pathlib import Path
from claude_otel.worker.lock import take
from claude_otel.state_folder import StateFolder
state, key = StateFolder(Path(sys.argv[1])), sys.argv[2]
said = {"argv": sys.argv[1:], "environ": dict(os.environ), "cwd": os.getcwd(),
        "holds_key": take(state.worker(key).lock) is not None,
        "holds": [s.session_id for s in state.sessions() if s.worker.exists()
                  and s.worker.read_text() == key and take(s.alive_lock) is not None]}
new = state.worker(key).path / f"{os.getpid()}.new"
new.write_text(json.dumps(said))
new.rename(new.with_suffix(".said"))
sys.stdin.read()
"""
START = """
import sys
from pathlib import Path
from claude_otel.settings import DataFolder, StateFolder
from claude_otel.worker.start import start
start(StateFolder(Path(sys.argv[1])), sys.argv[2], DataFolder(Path(sys.argv[3])),
      worker=sys.argv[4:])
"""


class Machine:
    """A user whose hooks have left the first record of each session."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = StateFolder(root / "state")
        self.data = DataFolder(root / "data")
        self.project = root / "project"
        self.project.mkdir()
        (root / "worker.py").write_text(STAND_IN)
        self.running: list[subprocess.Popen[bytes]] = []

    def session(
        self, session_id: str = "s", *, pid: int = 1, environ: dict[str, str] | None = None
    ) -> SessionFolder:
        """A session with its spool and, unless `environ` is None, its environment."""
        session = self.state.session(session_id)
        session.path.mkdir(parents=True)
        payload = json.dumps({"session_id": session_id, "cwd": str(self.project)})
        session.spool.write_text(f"{time.time_ns()} {pid} {payload}\n")
        if environ is not None:
            values = {"HOME": str(self.root), "PATH": "/bin", **environ}
            session.environ.write_text("\0".join(f"{n}={v}" for n, v in values.items()))
        return session

    def start(self, session: SessionFolder, **environ: str) -> subprocess.Popen[bytes]:
        arguments = [self.state.path, session.session_id, self.data.path, "-I"]
        process = subprocess.Popen(
            [sys.executable, "-c", START, *map(str, arguments), str(self.root / "worker.py")],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"HOME": "/of-the-hook", "OTEL_SERVICE_NAME": "of the hook", **environ},
        )
        self.running.append(process)
        return process

    def said(self, session: SessionFolder) -> dict[str, object]:
        """What the worker of the session says of itself."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if session.worker.exists():
                folder = self.state.worker(session.worker.read_text()).path
                for path in folder.glob("*.said"):
                    return json.loads(path.read_text())
            time.sleep(0.01)
        raise AssertionError(f"no worker: {self.log()}")

    def workers(self) -> list[Path]:
        return list(self.state.path.glob("workers/*/*.said"))

    def log(self) -> str:
        return self.state.log.read_text() if self.state.log.exists() else ""


def ended(process: subprocess.Popen[bytes]) -> int:
    process.communicate()
    return process.returncode


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path)
    yield found
    for process in found.running:
        process.kill()
        process.communicate()


def test_it_imports_nothing_that_delivers() -> None:
    script = "import sys, claude_otel.worker.start; print(*sorted(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    heavy = ("opentelemetry", "mlflow", "claude_agent_sdk", "click", "rich", "psutil", "requests")
    assert [name for name in loaded if name.partition(".")[0] in heavy] == []


def test_it_becomes_the_worker_with_exactly_the_configurations_environment(
    machine: Machine,
) -> None:
    session = machine.session(
        environ={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector",
            "TRACEPARENT": "00-1-2-01",
            "CLAUDE_PROJECT_DIR": str(machine.project),
        }
    )
    process = machine.start(session)
    said = machine.said(session)
    key = session.worker.read_text()
    environ = {
        "HOME": str(machine.root),
        "PATH": "/bin",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector",
    }
    assert said == {
        "argv": [str(machine.state.path), key],
        # Python itself sets LC_CTYPE where the environment names no language.
        "environ": {**environ, "LC_CTYPE": "C.UTF-8"},
        "cwd": "/",
        "holds_key": True,
        "holds": ["s"],
    }
    assert read_environ(machine.state.worker(key).environ) == environ
    assert stat.S_IMODE(machine.state.worker(key).environ.stat().st_mode) == 0o600
    assert process.poll() is None
    assert machine.log() == ""


def test_a_session_with_the_same_configuration_is_left_to_the_worker_that_lives(
    machine: Machine,
) -> None:
    first, second = machine.session("a", environ={}), machine.session("b", environ={})
    machine.start(first)
    machine.said(first)
    assert ended(machine.start(second)) == 0
    assert second.worker.read_text() == first.worker.read_text()
    assert len(machine.workers()) == 1


def test_of_many_starters_at_once_one_becomes_the_worker(machine: Machine) -> None:
    sessions = [machine.session(f"s{n}", environ={}) for n in range(8)]
    started = [machine.start(session) for session in sessions]
    machine.said(sessions[0])
    while sum(process.poll() is None for process in started) > 1:
        time.sleep(0.05)
    assert len(machine.workers()) == 1
    assert len({session.worker.read_text() for session in sessions}) == 1
    assert [p.returncode for p in started if p.poll() is not None] == [0] * 7


def test_two_configurations_have_two_workers(machine: Machine) -> None:
    mine = machine.session("a", environ={"MLFLOW_TRACKING_URI": "http://a"})
    other = machine.session("b", environ={"MLFLOW_TRACKING_URI": "http://b"})
    machine.start(mine)
    machine.start(other)
    machine.said(mine)
    machine.said(other)
    assert len(machine.workers()) == 2
    assert mine.worker.read_text() != other.worker.read_text()


def test_a_session_that_somebody_serves_is_left_alone(machine: Machine) -> None:
    session = machine.session(environ={})
    held = take(session.alive_lock)
    assert held is not None
    assert ended(machine.start(session)) == 0
    assert not session.worker.exists()
    os.close(held)


def test_a_setting_that_cannot_be_used_is_logged_and_hooks_wait_a_minute(
    machine: Machine,
) -> None:
    session = machine.session(environ={"CLAUDE_OTEL_CONTENT": "some"})
    before_s = time.time()
    assert ended(machine.start(session)) == 0
    assert (
        "ERROR session s is not traced: CLAUDE_OTEL_CONTENT=some: 'some' is unknown; use none, "
        "metadata or full, for all destinations or for each: mlflow=full,otlp=none\n"
    ) in machine.log()
    assert "Traceback" not in machine.log()
    assert stat.S_IMODE(machine.state.log.stat().st_mode) == 0o600
    assert before_s + 60 < session.alive_lock.stat().st_mtime < time.time() + 60
    assert not is_held(session.alive_lock)
    assert session.spool.exists()


def test_a_failure_of_ours_is_logged_and_raised_where_we_test(machine: Machine) -> None:
    session = machine.session(environ={})
    (machine.state.path / "workers").write_text("in the way")
    assert ended(machine.start(session)) == 0
    assert "its worker cannot be started\nTraceback" in machine.log()
    assert ended(machine.start(session, CLAUDE_OTEL_RAISE="1")) == 1


@pytest.mark.parametrize(
    "environ", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}]
)
def test_a_session_without_a_destination_keeps_nothing(
    machine: Machine, environ: dict[str, str]
) -> None:
    session = machine.session(environ=environ)
    assert ended(machine.start(session)) == 0
    assert {path.name for path in session.path.iterdir()} == {"off", "alive.lock"}
    assert not (machine.state.path / "workers").exists()


def test_what_hooks_write_while_a_session_is_switched_off_is_not_kept_either(
    machine: Machine,
) -> None:
    session = machine.session(environ={"OTEL_TRACES_EXPORTER": "none"})
    session.worker.write_text("of an earlier configuration")
    process = machine.start(session)
    while not session.off.exists() or session.spool.exists():
        time.sleep(0.001)
    session.spool.write_text("17 1 {}\n")
    session.environ.write_text("OTEL_EXPORTER_OTLP_HEADERS=authorization=secret")
    assert ended(process) == 0
    assert {path.name for path in session.path.iterdir()} == {"off", "alive.lock"}


def test_a_session_that_was_switched_off_is_forgotten_after_a_day(machine: Machine) -> None:
    old, new, served = (machine.session(name, environ={}) for name in ("old", "new", "served"))
    for session in (old, new, served):
        session.spool.unlink()
        session.off.touch()
    for session in (old, served):
        os.utime(session.off, (time.time() - 25 * 3600,) * 2)
    held = take(served.alive_lock)
    assert held is not None
    session = machine.session(environ={})
    machine.start(session)
    machine.said(session)
    assert [found.session_id for found in machine.state.sessions()] == ["new", "s", "served"]
    assert served.off.exists()
    os.close(held)


def test_without_proc_the_operating_system_is_asked(machine: Machine) -> None:
    environ = {"HOME": str(machine.root), "OTEL_SERVICE_NAME": "of claude", "SECRET": "x"}
    claude = subprocess.Popen(["/bin/sleep", "60"], env=environ)
    machine.running.append(claude)
    session = machine.session(pid=claude.pid)
    machine.start(session)
    machine.said(session)
    kept = read_environ(machine.state.worker(session.worker.read_text()).environ)
    assert (kept["OTEL_SERVICE_NAME"], kept["HOME"]) == ("of claude", str(machine.root))
    assert "SECRET" not in kept


def test_what_the_operating_system_told_is_kept_for_the_next_worker(machine: Machine) -> None:
    claude = subprocess.Popen(["/bin/sleep", "60"], env={"OTEL_SERVICE_NAME": "of claude"})
    machine.running.append(claude)
    session = machine.session(pid=claude.pid)
    session.environ.touch()  # nothing more was on the disk when the machine stopped
    machine.start(session)
    machine.said(session)
    assert read_environ(session.environ) == {"OTEL_SERVICE_NAME": "of claude"}
    assert stat.S_IMODE(session.environ.stat().st_mode) == 0o600


@pytest.mark.parametrize("is_reused", [False, True])
def test_without_the_environment_of_claude_nothing_goes_elsewhere(
    machine: Machine, is_reused: bool
) -> None:
    record(machine.state, None, {"MLFLOW_TRACKING_URI": "http://recorded"})
    session = machine.session(pid=os.getpid() if is_reused else 999_999_999)
    if is_reused:  # by us, who began after that record
        session.spool.write_text("17 " + session.spool.read_text().partition(" ")[2])
    assert ended(machine.start(session)) == 0
    assert machine.workers() == []
    assert not session.worker.exists()
    assert session.spool.exists()
    assert (
        "the environment that claude was started with could not be written down, and claude has "
        "ended; so where its spans are to go is not known, and they go nowhere else. Resume it "
        f"and all of it follows: claude --resume s; or let it go: rm -r {session.path}"
    ) in machine.log()


@pytest.mark.parametrize("written", [b"", b'17 1 {"session_id":"s","cw'])
def test_a_session_of_which_nothing_whole_could_be_written_gets_no_worker(
    machine: Machine, written: bytes
) -> None:
    session = machine.session(environ={})
    session.spool.write_bytes(written)
    assert ended(machine.start(session)) == 0
    assert (machine.workers(), session.worker.exists(), machine.log()) == ([], False, "")


def test_a_session_that_could_not_be_recorded_is_forgotten_after_a_month(
    machine: Machine,
) -> None:
    for name, age_days, spool in (("old", 31, ""), ("new", 29, ""), ("resumed", 31, "x\n")):
        session = machine.session(name, environ={})
        session.spool.write_text(spool)
        session.unrecorded.touch()
        os.utime(session.unrecorded, (time.time() - age_days * 86_400,) * 2)
    session = machine.session(environ={})
    machine.start(session)
    machine.said(session)
    assert [found.session_id for found in machine.state.sessions()] == ["new", "resumed", "s"]


def test_the_first_events_folder_is_the_project(machine: Machine) -> None:
    record(machine.state, machine.project, {"MLFLOW_TRACKING_URI": "http://recorded"})
    session = machine.session(environ={})
    machine.start(session)
    machine.said(session)
    kept = read_environ(machine.state.worker(session.worker.read_text()).environ)
    assert kept["MLFLOW_TRACKING_URI"] == "http://recorded"
