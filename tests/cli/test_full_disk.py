"""A state folder that takes nothing: what was not recorded goes nowhere else, and is told."""

import json
import os
import time

from installed_cli import User, wait_until
from traced_user import SESSION, TracedUser

from claude_otel.testing import ClaudeRun, Scenario, ScriptedApi, reply, run_claude

FULL_DISK = 'ulimit -f 0; exec "$0" "$@"'
"""Every file of the command can be made, and nothing written into it."""


def run_in_full_disk(user: User, command: str) -> tuple[int, str]:
    done = user.run_by(("/bin/sh", "-c", FULL_DISK), command)
    return done.returncode, done.stdout


def loses_a_session(traced: TracedUser, api: ScriptedApi) -> ClaudeRun:
    """The real `claude`, while nothing can be written into its session's folder."""
    session = traced.state.session(SESSION)
    traced.keeps_workers_away()
    session.spool.symlink_to("/dev/full")
    run = run_claude("one", api=api, home=traced.claude, session_id=SESSION)
    traced.waits_for_hooks()
    session.spool.unlink()
    session.spool.touch()
    session.environ.unlink()  # a file of its own, which a full disk does not take either
    session.alive_lock.unlink()
    return run


def responses_of(user: User) -> list[str]:
    """The responses that `show` finds in the transcript."""
    spans = json.loads(user.says("show", SESSION, "--json"))
    return [
        span["attributes"]["gen_ai.response.id"]
        for span in spans
        if "gen_ai.response.id" in span["attributes"]
    ]


def test_a_lost_session_is_told_once_goes_nowhere_and_follows_when_it_is_resumed(
    traced: TracedUser,
) -> None:
    with ScriptedApi(Scenario(main=(reply("first"), reply("second")))) as api:
        loses_a_session(traced, api)
        told = traced.run("flush")
        assert told.returncode == 1
        assert (
            "Nothing of it is delivered; its turns are in its transcript, and follow when it is "
            f"resumed: claude --resume {SESSION}\n"
        ) in told.stdout
        assert traced.says("flush") == "There is nothing to deliver.\n"
        status = traced.run("status")
        assert status.returncode == 1
        assert f"Session {SESSION} is not recorded whole: from " in status.stdout
        assert (traced.receiver.ids, traced.state.workers()) == ([], [])
        assert not traced.data.mlflow_store.exists()

        run_claude("two", api=api, home=traced.claude, resume=SESSION)
        traced.waits_for_hooks()
        assert traced.run("flush", "--timeout", "120").stdout.splitlines()[0] in (
            "Everything that is final has arrived.",
            "There is nothing to deliver.",
        )
        assert len(responses_of(traced)) == 2
        assert responses_of(traced) == [call.message_id for call in api.calls]
    spans = json.loads(traced.says("show", SESSION, "--json"))
    assert sorted(traced.receiver.ids) == sorted((one["trace_id"], one["span_id"]) for one in spans)
    session = traced.state.session(SESSION)
    wait_until(lambda: not session.spool.exists())  # its worker has let go of it
    assert "what only hooks tell (a wait for permission, a notification) is missing" in (
        traced.run("status").stdout
    )


def test_a_full_disk_is_told_by_flush_and_status(user: User) -> None:
    user.says("setup")
    assert user.says("flush") == "There is nothing to deliver.\n"
    cannot = (
        f"{user.state.path} cannot be written (File too large), so nothing can be captured: "
        f"See to its disk and its permissions (ls -ld {user.state.path})\n"
    )
    code, said = run_in_full_disk(user, "flush")
    assert (code, f"  what hooks are told now: {cannot}" in said) == (1, True)
    code, said = run_in_full_disk(user, "status")
    assert (code, f"  * {cannot}" in said) == (1, True)
    assert not list(user.state.path.glob("tmp*"))
    user.says("status")


def test_a_session_of_which_half_a_line_is_there_is_told_and_goes_nowhere(user: User) -> None:
    user.says("setup")
    session = user.state.session(SESSION)
    session.path.mkdir(parents=True)
    session.spool.write_text('17 1 {"session_id":"' + SESSION)  # killed as it wrote
    os.utime(session.spool, (time.time() - 60,) * 2)
    told = user.run("flush")
    assert (told.returncode, f"part of session {SESSION}: from " in told.stdout) == (1, True)
    assert f"claude --resume {SESSION}\n" in user.run("status").stdout
    assert user.state.workers() == []
    assert user.says("flush") == "There is nothing to deliver.\n"
