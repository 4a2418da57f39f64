"""Which hooks of a `claude -p` should be waited for; writes `benchmarks/synchronous_hooks.md`.

    python benchmarks/synchronous_hooks.py [rounds]

The real `claude` answers one prompt of the scripted API, with every hook registered by
`setup`, those that end a turn and a session once async and once not. Each round runs every case
once, in the same order. Counted: the sessions whose last hooks reached the spool.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from claude_otel.capture.spool import read_records
from claude_otel.state_folder import StateFolder
from claude_otel.testing import ClaudeHome, Failure, Scenario, ScriptedApi, reply, run_claude

SESSION = "11111111-2222-4333-8444-{:012}"
ENDS_TURN, ENDS_SESSION = ("Stop", "StopFailure"), ("SessionEnd",)
# name: the events that claude waits for; None registers no hooks at all
CASES: dict[str, tuple[str, ...] | None] = {
    "no hooks": None,
    "all async": (),
    "SessionEnd waited for": ENDS_SESSION,
    "Stop, StopFailure waited for": ENDS_TURN,
    "all three waited for": (*ENDS_TURN, *ENDS_SESSION),
}
OUTCOMES = {
    "answer": Scenario(main=(reply("done"),)),
    "failure": Scenario(main=(Failure(status=401, headers={"x-should-retry": "false"}),)),
}


def main(rounds: int) -> None:
    seconds: dict[tuple[str, str], list[float]] = {}
    seen: dict[tuple[str, str], Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        homes = {case: prepare(Path(folder) / str(n), case) for n, case in enumerate(CASES)}
        for number in range(rounds):
            for outcome, scenario in OUTCOMES.items():
                for case, (home, state) in homes.items():
                    session = state.session(SESSION.format(number * 2 + (outcome == "failure")))
                    session.path.mkdir(parents=True)
                    session.alive_lock.touch()
                    os.utime(session.alive_lock, (2**33, 2**33))  # no worker is started
                    with ScriptedApi(scenario) as api:
                        started = time.perf_counter()
                        run_claude("go", api=api, home=home, session_id=session.session_id)
                        taken = time.perf_counter() - started
                    seconds.setdefault((outcome, case), []).append(taken)
                    time.sleep(0.2)  # what was detached or killed is done by then
                    records, _ = read_records(session.spool)
                    names = {json.loads(record.payload)["hook_event_name"] for record in records}
                    seen.setdefault((outcome, case), Counter()).update(names)
    rows = [
        f"| {outcome} | {case} | {median(taken):.2f}"
        f" | {1000 * difference(taken, seconds[outcome, 'no hooks']):+.0f}"
        f" | {sum(seen[outcome, case][event] for event in ENDS_TURN)}"
        f" | {seen[outcome, case]['SessionEnd']} |"
        for (outcome, case), taken in seconds.items()
    ]
    report = TEXT.format(
        date=datetime.now(UTC).date(),
        python=platform.python_version(),
        system=platform.system(),
        cores=os.cpu_count(),
        rounds=rounds,
        rows="\n".join(rows),
    )
    (Path(__file__).parent / "synchronous_hooks.md").write_text(report)
    print(report)


def difference(taken: list[float], without: list[float]) -> float:
    return median(a - b for a, b in zip(taken, without, strict=True))


def prepare(root: Path, case: str) -> tuple[ClaudeHome, StateFolder]:
    home, state = ClaudeHome(root / "claude"), StateFolder(root / "state")
    waited_for = CASES[case]
    if waited_for is None:
        return home, state
    environ = {
        "HOME": str(home.path),
        "PATH": os.defpath,
        "CLAUDE_OTEL_STATE_DIR": str(state.path),
        "CLAUDE_OTEL_DATA_DIR": str(root / "data"),
    }
    command = [str(Path(sys.executable).parent / "claude-otel"), "setup", str(home.project)]
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    file = home.project / ".claude" / "settings.local.json"
    settings = json.loads(file.read_text())
    for event, groups in settings["hooks"].items():
        groups[0]["hooks"][0]["async"] = event not in waited_for
    file.write_text(json.dumps(settings))
    return home, state


TEXT = """# Which hooks of a `claude -p` should be waited for

{date}, CPython {python}, {system}, {cores} cores, {rounds} rounds, the bundled `claude`.
Made by `python benchmarks/synchronous_hooks.py {rounds}`: each round runs every case once, in this
order.
Time: median of the whole process. Difference: median over the rounds of the case's time less that
without hooks in the same round. The last columns count the sessions whose hook reached the spool.

| The turn ends in | Case | s | difference, ms | Stop or StopFailure | SessionEnd |
|--|--|--|--|--|--|
{rows}
"""

if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 25)
