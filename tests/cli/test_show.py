"""`claude-otel show`, run as a user runs it, on recorded sessions of the real `claude`."""

import json
import re
from pathlib import Path

import pytest
from installed_cli import User
from recorded_sessions import put_session

GOLDEN = Path(__file__).parents[1] / "golden"
ID = "0a000000-0000-4000-8000-000000000001"
OTHER_ID = "0a000000-0000-4000-8000-000000000002"


def shown(user: User, *arguments: str, **environ: str) -> str:
    return user.says("show", *arguments, **{"TZ": "UTC", "LANG": "C.UTF-8", **environ})


def test_subagents_stand_below_the_calls_that_launched_them(user: User) -> None:
    transcript = put_session(user, "nested_subagents", ID)
    assert shown(user) == (
        f"""\
                                                    time   input  cached  output     cost  status
Turn 1 of 1  2026-11-23 12:00:00  Review the code and the tests.
invoke_agent claude-code                          981 ms  91,316  44,800     596  $0.2534  ok
├─ chat claude-opus-5-5                            23 ms  11,212       0      85  $0.0577  ok
├─ execute_tool Agent  Review code                748 ms                                   ok
│  └─ invoke_agent general-purpose                700 ms                                   ok
│     ├─ chat claude-opus-5-5                       3 ms  11,212       0      85  $0.0577  ok
│     ├─ execute_tool Agent  Check style         ≤559 ms                                   ok
│     │  └─ invoke_agent general-purpose          395 ms                                   ok
│     │     ├─ chat claude-opus-5-5                 8 ms  11,212       0      85  $0.0577  ok
│     │     ├─ execute_tool Bash  echo style ok  ≤235 ms                                   ok
│     │     └─ chat claude-opus-5-5                 1 ms  11,617  11,200      64  $0.0056  ok
│     └─ chat claude-opus-5-5                       1 ms  11,617  11,200      64  $0.0056  ok
├─ execute_tool Agent  Review tests               627 ms                                   ok
│  └─ invoke_agent general-purpose                516 ms                                   ok
│     ├─ chat claude-opus-5-5                     117 ms  11,212       0      85  $0.0577  ok
│     ├─ execute_tool Bash  echo tests pass      ≤188 ms                                   ok
│     └─ chat claude-opus-5-5                       2 ms  11,617  11,200      64  $0.0056  ok
└─ chat claude-opus-5-5                             2 ms  11,617  11,200      64  $0.0056  ok

≤ since it was asked for or permitted; how long a tool ran only hooks are told
Session {ID}
1 turn, 8 model calls, 5 tool calls, 3 subagents: 91,316 tokens in (44,800 from the cache, \
46,440 into it), 596 out, $0.2534
Claude Code's own total is $0.2534: the same to the token and the dollar.
{transcript}
"""
    )


def test_a_failed_call_says_why_and_a_pipe_gets_no_colours(user: User) -> None:
    put_session(user, "parallel_tools", ID)
    assert (
        "\n".join(shown(user).splitlines()[1:8])
        == """\
Turn 1 of 1  2026-11-23 12:00:00  Look around and run the check.
invoke_agent claude-code                        642 ms  22,829  11,200     149  $0.0633  ok
├─ chat claude-opus-5-5                          32 ms  11,212       0      85  $0.0577  ok
├─ execute_tool Bash  sleep 0.3; echo fine     ≤441 ms                                   ok
├─ execute_tool Bash  echo broken >&2; exit 3  ≤465 ms                                   failed
│     ✗ Exit code 3 ... broken
└─ chat claude-opus-5-5                           5 ms  11,617  11,200      64  $0.0056  ok"""
    )


def test_a_terminal_gets_colours_and_its_width_is_kept(user: User) -> None:
    put_session(user, "parallel_tools", ID)
    printed = shown(user, FORCE_COLOR="1", TERM="xterm-256color", COLUMNS="80")
    tree = printed.split("\n\n")[0].splitlines()
    assert "\x1b[31mexecute_tool Bash\x1b[0m" in tree[5]
    assert "\x1b[31m✗ Exit code 3 ... broken\x1b[0m" in tree[6]
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in tree) <= 80


def test_what_a_killed_session_left_open_is_unfinished_in_ascii_where_that_is_all(
    user: User,
) -> None:
    transcript = put_session(user, "killed", ID)
    assert shown(user, LANG="C", PYTHONIOENCODING="ascii") == (
        f"""\
                                                time   input  cached  output     cost  status
Turn 1 of 1  2026-11-23 12:00:00  Wait.
invoke_agent claude-code                      108 ms  11,212       0      85  $0.0577  unfinished
|- chat claude-opus-5-5                        12 ms  11,212       0      85  $0.0577  ok
`- execute_tool Bash  touch started; sleep 8    0 ms                                   unfinished

Session {ID}
1 turn, 1 model call, 1 tool call: 11,212 tokens in (0 from the cache, 11,200 into it), 85 out, \
$0.0577
Claude Code has stated no total of its own (yet).
{transcript}
"""
    )


def test_an_output_that_an_early_version_did_not_write_down_is_not_counted_as_none(
    user: User,
) -> None:
    transcript = put_session(user, str(GOLDEN / "max_tokens" / "2.1.19"), ID)
    assert shown(user) == (
        f"""\
                                      time   input  cached  output  cost  status
Turn 1 of 1  2026-11-23 11:59:59  Write a long text.
invoke_agent claude-code            4.51 s  11,212       0                unfinished
├─ chat claude-sonnet-4-5-20250929  2.28 s  11,212       0                ok
└─ chat claude-sonnet-4-5-20250929  2.13 s                                unfinished

Session {ID}
1 turn, 2 model calls: 11,212 tokens in (0 from the cache, 11,200 into it), output not known, \
cost not known
Claude Code has stated no total of its own (yet).
{transcript}
"""
    )


def test_what_left_no_record_and_what_is_not_understood_is_said(user: User) -> None:
    transcript = put_session(user, "compaction", ID)
    stated = json.loads(transcript.read_text().splitlines()[-1])
    title = {"inputTokens": 40, "outputTokens": 12, "costUSD": 0.0001}
    stated["modelUsage"]["claude-haiku-4-5-20251001"] = title
    stated["totalCostUSD"] += 0.0001
    with transcript.open("a") as file:
        file.write(json.dumps(stated) + "\n")
        file.write('{"type":"from-the-future","timestamp":"2026-11-23T12:00:09.000Z"}\n')
    assert shown(user).splitlines()[-4:] == [
        "3 turns, 3 model calls: 23,017 tokens in (11,610 from the cache, 11,350 into it), "
        "138 out, $0.0625",
        "Claude Code's own total is $0.0626. It holds 40 tokens in and 12 out that left no record "
        "here (such as compaction and titles).",
        "1 record not understood, and skipped: record from-the-future (1). A newer claude-otel may "
        "know them.",
        str(transcript),
    ]


@pytest.mark.parametrize(
    ("more_in", "more_out", "says"),
    [
        (
            -100,
            -11,
            "It lacks 100 tokens in and 11 out of the calls here (such as those of a process that "
            "was killed).",
        ),
        (
            40,
            -11,
            "Against the calls here it has +40 tokens in and -11 out (calls that left no record, "
            "and some that it did not count).",
        ),
    ],
    ids=["less", "more and less"],
)
def test_a_total_that_lacks_calls_is_not_said_to_hold_them(
    user: User, more_in: int, more_out: int, says: str
) -> None:
    """A process that is killed states nothing; the next one goes on from the total before."""
    transcript = put_session(user, "parallel_tools", ID)
    stated = json.loads(transcript.read_text().splitlines()[-1])
    (totals,) = stated["modelUsage"].values()
    totals["cacheReadInputTokens"] += more_in
    totals["outputTokens"] += more_out
    with transcript.open("a") as file:
        file.write(json.dumps(stated) + "\n")
    own, _, told = shown(user).splitlines()[-2].partition(". ")
    assert (own, told) == ("Claude Code's own total is $0.0633", says)


def test_full_shows_prompts_answers_arguments_and_results(user: User) -> None:
    put_session(user, "parallel_tools", ID)
    printed = shown(user, "--full").splitlines()
    assert printed[3:5] == [
        "│  in  Look around and run the check.",
        "│  out One is fine, the check fails with 3.",
    ]
    assert (
        "\n".join(printed[-19:-6])
        == """\
│     out -> Bash {"command": "echo broken >&2; exit 3", "description": "Run the check"}
├─ execute_tool Bash  sleep 0.3; echo fine     ≤441 ms                                   ok
│     in  {"command": "sleep 0.3; echo fine", "description": "Look around"}
│     out fine
├─ execute_tool Bash  echo broken >&2; exit 3  ≤465 ms                                   failed
│     ✗ Exit code 3
│       broken
│     in  {"command": "echo broken >&2; exit 3", "description": "Run the check"}
└─ chat claude-opus-5-5                           5 ms  11,617  11,200      64  $0.0056  ok
      in  <- fine
      in  <- Exit code 3
          broken
      out One is fine, the check fails with 3."""
    )


def test_json_is_the_list_of_spans_as_they_are_sent(user: User) -> None:
    put_session(user, "parallel_tools", ID)
    spans = json.loads(shown(user, "--json"))
    turn, failed = spans[0], spans[3]
    assert [span["name"] for span in spans] == [
        "invoke_agent claude-code",
        "chat claude-opus-5-5",
        "execute_tool Bash",
        "execute_tool Bash",
        "chat claude-opus-5-5",
    ]
    assert [span["kind"] for span in spans] == [
        "INTERNAL",
        "CLIENT",
        "INTERNAL",
        "INTERNAL",
        "CLIENT",
    ]
    assert {span["trace_id"] for span in spans} == {turn["trace_id"]}
    assert [span["parent_span_id"] for span in spans] == [None, *4 * [turn["span_id"]]]
    assert failed["status"] == {"code": "ERROR", "message": "Exit code 3\nbroken"}
    assert failed["attributes"]["gen_ai.tool.call.id"].startswith("toolu_")
    assert failed["end_time_unix_nano"] - failed["start_time_unix_nano"] == 465_000_000
    assert [event["name"] for event in failed["events"]] == ["exception"]


def test_without_a_name_it_is_the_newest_session_of_this_project(user: User) -> None:
    put_session(user, "killed", OTHER_ID, minute=1)
    put_session(user, "compaction", ID, minute=2)
    assert f"Session {ID}" in shown(user)
    inner = user.project / "src" / "deep"
    inner.mkdir(parents=True)
    user.project = inner
    assert f"Session {ID}" in shown(user)


def test_a_project_with_an_emoji_in_its_name_has_two_dashes_for_it(user: User) -> None:
    transcript = put_session(user, "compaction", ID)
    user.project = user.project / "é🚀 x"
    user.project.mkdir()
    own = transcript.parent.with_name(f"{transcript.parent.name}-----x") / f"{OTHER_ID}.jsonl"
    own.parent.mkdir()
    transcript.rename(own)
    assert str(own) in shown(user)


def test_a_session_is_found_by_the_beginning_of_its_id_or_by_its_file(user: User) -> None:
    transcript = put_session(user, "killed", OTHER_ID)
    put_session(user, "compaction", "0b" + ID[2:], minute=5)
    assert f"Session {OTHER_ID}" in shown(user, "0a")
    assert f"Session {OTHER_ID}" in shown(user, str(transcript))


def test_a_beginning_that_fits_several_sessions_lists_them(user: User) -> None:
    put_session(user, "killed", ID, minute=1)
    put_session(user, "killed", OTHER_ID, minute=2)
    done = user.run("show", "0a0")
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "Error: 2 sessions begin with '0a0'; give more of the id. The newest:\n"
        f"  {OTHER_ID}\n  {ID}\n",
    )


def test_no_session_and_no_file_are_said_with_what_to_do(user: User) -> None:
    projects = user.home / ".claude" / "projects"
    done = user.run("show")
    assert (done.returncode, done.stderr) == (
        2,
        f"Error: No session of {user.project} under {projects}. Go to the folder in which "
        "`claude` ran, or name a session id or a transcript: claude-otel show SESSION|FILE\n",
    )
    done = user.run("show", "gone/away.jsonl")
    assert (done.returncode, done.stderr) == (
        2,
        "Error: gone/away.jsonl cannot be read (No such file or directory); name another session "
        "or file: claude-otel show SESSION|FILE\n",
    )


def test_a_transcript_without_a_turn_is_no_failure(user: User) -> None:
    empty = user.project / "empty.jsonl"
    empty.touch()
    assert shown(user, str(empty)) == f"No turn in {empty} (yet).\n"


def test_what_would_leave_is_told_for_each_destination_and_what_was_masked(user: User) -> None:
    transcript = put_session(user, "nested_subagents", ID)
    token = "ghp" + "_" + "a1B2" * 9
    text = transcript.read_text()
    assert "Review the code and the tests." in text
    transcript.write_text(text.replace("Review the code and the tests.", f"Use {token}, PROJ-12."))
    environ = {
        "OTEL_TRACES_EXPORTER": "mlflow,otlp",
        "MLFLOW_TRACKING_URI": "http://ada:hunter2@mlflow:5000",
        "CLAUDE_OTEL_SECRET_PATTERNS": "ticket=PROJ-\\d+",
    }

    told = shown(user, "--explain", **environ)
    mlflow, otlp = json.loads(shown(user, "--explain", "--json", **environ))

    assert mlflow["destination"] == "MLflow at http://***@mlflow:5000, experiment its default"
    assert (mlflow["content"], mlflow["spans"]) == ("full", 17)
    assert set(mlflow["masked"]) == {"github-token", "ticket"}
    assert mlflow["bytes_by_key"]["gen_ai.input.messages"] > 100
    assert (otlp["content"], otlp["bytes_by_key"], otlp["masked"]) == ("none", {}, {})
    assert "  no content, and nothing about who and where you are\n" in told
    assert "  masked: " in told
    for secret in (token, "PROJ-12", "hunter2"):
        assert secret not in told


def test_what_cannot_be_read_is_said_and_never_shown_as_nothing(user: User) -> None:
    transcript = put_session(user, "parallel_tools", ID)
    records = [json.loads(line) for line in transcript.read_text().splitlines()]
    for record in records:
        if record["type"] == "assistant":
            record["message"]["usage"]["input_tokens"] = "many"
        if record["type"] == "user" and isinstance(record["message"]["content"], str):
            record["timestamp"] = "9999-12-31T23:59:59.999Z"
    transcript.write_text("".join(json.dumps(record) + "\n" for record in records))
    printed = shown(user).splitlines()
    assert printed[1:3] == [
        "Turn 1 of 1  2026-11-23 12:00:00  Look around and run the check.",
        "invoke_agent claude-code                       ~528 ms                               ok",
    ]
    assert "~ of records without a time that can be read: their neighbours'" in printed
    assert (
        "1 turn, 2 model calls, 2 tool calls: tokens and cost not known, for those of 2 calls "
        "cannot be read"
    ) in printed
