"""What one hook costs beside the bare interpreter; writes `benchmarks/hook.md`.

    python benchmarks/hook.py [rounds]

Each round runs every case once, in the same order, so that what else the
machine does falls on all of them alike. The figure of a case is the median over
the rounds of its time divided by the floor's time in the same round.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

HOOK = Path(__file__).parent.parent / "src" / "claude_otel" / "capture" / "hook.py"
INTERPRETER = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
EVENT = b'{"session_id":"s","hook_event_name":"PreToolUse","tool_input":{}}'
START = b'{"session_id":"s","hook_event_name":"SessionStart"}'
# Dates of the session's lock. In the future: hooks start no worker.
SERVED, UNSERVED = 2**33, 0


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        (Path(folder) / "hook.py").write_bytes(HOOK.read_bytes())
        # `true` stands for the worker's interpreter: started the same way, it ends at once.
        run = [str(Path(folder) / "hook.py"), str(state), "/bin/true"]
        cases: dict[str, tuple[list[str], bytes, int]] = {
            "floor": (["-c", "pass"], b"", SERVED),
            "append": (run, EVENT, SERVED),
            "append 200 kB": (run, EVENT[:-1] + b',"x":"' + b"x" * 200_000 + b'"}', SERVED),
            "append, environment of claude": (run, START, SERVED),
            "append, environment, start of a worker": (run, START, UNSERVED),
        }
        session = state / "sessions" / "s"
        session.mkdir(parents=True)
        (session / "environ").touch()
        times: dict[str, list[float]] = {name: [] for name in cases}
        for number in range(rounds + 3):
            for name, (arguments, stdin, lock_date) in cases.items():
                (session / "alive.lock").touch()
                os.utime(session / "alive.lock", (lock_date, lock_date))
                taken = seconds([INTERPRETER, "-I", "-S", *arguments], stdin)
                if number >= 3:  # the first rounds warm the caches
                    times[name].append(taken)
    floor = times["floor"]
    rows = [
        f"| {name} | {median(measured) * 1000:.1f} | "
        f"{median(t / f for t, f in zip(measured, floor, strict=True)):.2f} |"
        for name, measured in times.items()
    ]
    report = TEXT.format(
        date=datetime.now(UTC).date(),
        python=platform.python_version(),
        system=platform.system(),
        cores=os.cpu_count(),
        rounds=rounds,
        rows="\n".join(rows),
    )
    (Path(__file__).parent / "hook.md").write_text(report)
    print(report)


def seconds(command: list[str], stdin: bytes) -> float:
    started = time.perf_counter()
    subprocess.run(command, input=stdin, env={"CLAUDE_PID": str(os.getpid())}, check=True)
    return time.perf_counter() - started


TEXT = """# What one hook costs

{date}, CPython {python}, {system}, {cores} cores, {rounds} rounds.
Made by `python benchmarks/hook.py {rounds}`: each round runs every case once, in this order.
Time: median. Ratio: median over the rounds of the case's time by the floor's in that round.
The floor is `python -I -S -c pass`.

| Case | ms | ratio |
|--|--|--|
{rows}
"""

if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
