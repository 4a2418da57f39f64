"""One hook of Claude Code: append what it says to the session's spool, wake a worker.

Run by `claude` from a copy outside the package, as

    <base python> -I -S <data folder>/hook.py <state folder> <python that has claude_otel>

A guest in somebody's prompt loop: no network, no parsing, no import of ours or
of anything slow, never a word on stdout or stderr, always exit code 0. What the
payload means is said in `sources/hook_payload.py`, never here.
"""

import os
import sys
import time

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

SESSION_ID_CHARACTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
LONGEST_SESSION_ID = 128
# One attempt a second is enough to wake a worker that cannot be started.
WAKE_AGAIN_AFTER_NS = 1_000_000_000

STARTER = ("-I", "-m", "claude_otel.worker.start")

KEPT_PREFIXES = (b"OTEL_", b"MLFLOW_", b"DATABRICKS_", b"CLAUDE_OTEL_", b"XDG_", b"LC_")
KEPT_NAMES = frozenset(
    b"TRACEPARENT TRACESTATE BAGGAGE "
    # The fields of other propagators of OpenTelemetry, as an environment carries them.
    b"B3 X_B3_TRACEID X_B3_SPANID X_B3_PARENTSPANID X_B3_SAMPLED X_B3_FLAGS UBER_TRACE_ID "
    b"X_AMZN_TRACE_ID X_CLOUD_TRACE_CONTEXT "
    b"ANTHROPIC_BASE_URL CLAUDE_CODE_USE_BEDROCK CLAUDE_CODE_USE_VERTEX "
    b"CLAUDE_CODE_ENABLE_TELEMETRY CLAUDE_CODE_ENHANCED_TELEMETRY_BETA "
    b"ENABLE_ENHANCED_TELEMETRY_BETA ENABLE_BETA_TRACING_DETAILED BETA_TRACING_ENDPOINT "
    b"HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy "
    b"SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS "
    b"HOME PATH USER LOGNAME LANG TMPDIR CLAUDE_CONFIG_DIR".split()
)
# What only the hook is told about its session.
KEPT_OF_THE_HOOK = ("CLAUDE_PROJECT_DIR", "CLAUDE_CODE_ENTRYPOINT")


def main(hook: str, state: str, python: str) -> None:
    received_at_ns = time.time_ns()
    claude_pid = os.environ.get("CLAUDE_PID", "")
    if not claude_pid.isdigit():
        claude_pid = str(os.getppid())
    # A hook has what settings files say, too, a project's as well, which are not the user's
    # word: those the worker's starter reads, by whose they are.
    if says_yes(os.environ.get("CLAUDE_OTEL_DISABLED", "")) and any(
        entry.startswith(b"CLAUDE_OTEL_DISABLED=") and says_yes(os.fsdecode(entry[21:]))
        for entry in environment_of(claude_pid)
    ):
        return
    payload = sys.stdin.buffer.read().strip()
    session_id = session_id_of(payload)
    if not session_id:
        return
    os.umask(0o077)
    folder = state + "/sessions/" + session_id
    starts = b'"hook_event_name":"SessionStart"' in payload
    if os.path.exists(folder + "/off"):
        # Its configuration switched it off. A resumed session may have another one.
        if not starts:
            return
        try:  # noqa: SIM105 (contextlib would cost every hook its import)
            os.unlink(folder + "/off")
        except FileNotFoundError:
            pass  # another hook of the same event, or who sweeps, was faster
    record = b"%d %s %d %s\n" % (
        received_at_ns,
        claude_pid.encode(),
        time.process_time_ns(),
        payload.replace(b"\n", b" "),
    )
    try:
        append(folder, record)
    except OSError:
        # No room for it. An empty file needs none, and less is to be written from here on.
        os.close(open_in(folder, "unrecorded"))
    if starts or not os.path.exists(folder + "/environ"):
        keep_environment(folder, claude_pid)
    wake_worker(folder, (python, *STARTER, state, session_id, os.path.dirname(hook)))


def session_id_of(payload: bytes) -> str:
    """The first "session_id" of the payload, which is the event's own, or ""."""
    _, found, rest = payload.partition(b'"session_id"')
    rest = rest.lstrip(b": \t\r\n") if found else b""
    session_id = rest[1 : LONGEST_SESSION_ID + 2].partition(b'"')
    if (
        rest[:1] != b'"'
        or not session_id[1]
        or session_id[0].translate(None, SESSION_ID_CHARACTERS)
    ):
        return ""
    return session_id[0].decode()


def open_in(folder: str, name: str) -> int:
    """Open for appending; the folder is made when it is missing."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(folder + "/" + name, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(folder, 0o700, exist_ok=True)
        return os.open(folder + "/" + name, flags, 0o600)


def append(folder: str, record: bytes) -> None:
    """Append the whole record or nothing of it; a torn line before it is ended."""
    while True:
        spool = open_in(folder, "spool")
        if sys.platform == "win32":
            os.lseek(spool, 1 << 62, os.SEEK_SET)
            msvcrt.locking(spool, msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(spool, fcntl.LOCK_EX)
        before = os.fstat(spool)
        if before.st_nlink:
            break
        os.close(spool)  # deleted between our open and our lock
    size = before.st_size
    if size:
        os.lseek(spool, size - 1, os.SEEK_SET)
        if os.read(spool, 1) != b"\n":
            record = b"\n" + record
    try:
        left = memoryview(record)
        while left:
            left = left[os.write(spool, left) :]
    except OSError:
        os.ftruncate(spool, size)
        raise
    finally:
        os.close(spool)


def keep_environment(folder: str, claude_pid: str) -> None:
    """Keep what may matter of the environment that `claude` itself was started with.

    Claude Code strips OTEL_* from a hook's own environment. Where there is no
    /proc, the starter asks the operating system.
    """
    environment = environment_of(claude_pid)
    if not environment:
        return
    kept = [
        entry
        for entry in environment
        if entry.startswith(KEPT_PREFIXES) or entry.partition(b"=")[0] in KEPT_NAMES
    ]
    for name in KEPT_OF_THE_HOOK:
        if name in os.environ:
            kept.append(os.fsencode(name + "=" + os.environ[name]))
    whole = folder + "/environ." + str(os.getpid())
    try:
        with open(whole, "wb") as target:
            target.write(b"\0".join(kept))
    except OSError:
        os.unlink(whole)
        raise
    os.replace(whole, folder + "/environ")


def environment_of(pid: str) -> "list[bytes]":
    """What a process was started with; nothing where the system does not tell."""
    try:
        with open("/proc/" + pid + "/environ", "rb") as source:
            return source.read().split(b"\0")
    except OSError:
        return []


def says_yes(value: str) -> bool:
    return value.lower() in ("1", "true", "yes", "on")


def wake_worker(folder: str, command: "tuple[str, ...]") -> None:
    """Start a worker, detached, unless somebody already serves the session.

    The child inherits the lock, so it is held without a gap. A date in the
    future on the lock file says: do not try again before that. There is no
    worker on Windows yet: what is in the spool waits.
    """
    if sys.platform == "win32":
        return
    lock = open_in(folder, "alive.lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    found = os.fstat(lock)
    now_ns = time.time_ns()
    if not found.st_nlink or found.st_mtime_ns > now_ns:
        return
    os.utime(lock, ns=(now_ns, now_ns + WAKE_AGAIN_AFTER_NS))
    os.set_inheritable(lock, True)
    spawn_detached(command)


def spawn_detached(command: "tuple[str, ...]") -> int:
    """Start a process that outlives this one and is silent; give its id."""
    silence = [(os.POSIX_SPAWN_OPEN, end, "/dev/null", os.O_RDWR, 0) for end in (0, 1, 2)]
    try:
        return os.posix_spawn(command[0], command, os.environ, file_actions=silence, setsid=True)
    except NotImplementedError:  # a system without POSIX_SPAWN_SETSID
        return os.posix_spawn(command[0], command, os.environ, file_actions=silence, setpgroup=0)


if __name__ == "__main__":
    try:
        main(*sys.argv)
    finally:
        # At once: neither a traceback nor the interpreter's own clean-up.
        os._exit(0)
