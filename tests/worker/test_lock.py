"""Locks between processes, taken, inherited through exec and released by death."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

from claude_otel.worker.lock import is_held, take

# Takes the lock argv[1] and becomes argv[2:] with it.
PASS_ON = """
import os, sys
from pathlib import Path
from claude_otel.worker.lock import take
held = take(Path(sys.argv[1]))
os.set_inheritable(held, True)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
TAKE_AGAIN = """
import sys
from pathlib import Path
from claude_otel.worker.lock import take
path = Path(sys.argv[1])
first = take(path)
print(first is not None, take(path) is None, flush=True)
sys.stdin.readline()
"""


def test_a_lock_has_one_holder_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)
    held = take(path)
    assert held is not None
    assert is_held(path)
    assert take(path) is None
    os.close(held)
    again = take(path)
    assert again is not None
    os.close(again)


def test_a_lock_passes_through_exec_without_a_gap_and_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", PASS_ON, str(path), "-c", TAKE_AGAIN, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"True True\n"
    assert is_held(path)
    process.kill()
    process.communicate()
    assert not is_held(path)


def test_a_lock_whose_file_was_replaced_is_another_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = take(path)
    path.unlink()
    second = take(path)
    assert first is not None
    assert second is not None
    os.close(first)
    assert is_held(path)
    os.close(second)


def test_who_only_asks_is_not_taken_for_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    enough = Event()

    def ask() -> None:
        while not enough.wait(0.001):
            is_held(path)

    asking = [Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(200):
            held = take(path)
            assert held is not None
            os.close(held)
    finally:
        enough.set()
        for thread in asking:
            thread.join()
    assert not is_held(path)
