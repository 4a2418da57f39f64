"""What the transcript says of the user's side: prompts, commands, interrupts, tools' results.

Which of these a `user` record is, only its words and marks tell. Here too: the notices that
stand for a prompt that went nowhere, or for a command's output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from claude_otel.model import events as ev
from claude_otel.model.parts import Message, Part, ToolResult, text_of
from claude_otel.sources.blocks import Raw, parts_of, section, stated_ms, text

_INTERRUPTED = "[Request interrupted by user"
_REFUSED = "The user doesn't want to proceed with this tool use"
_CUT_OFF = "Your response above was cut off mid-stream"
_COMMAND = re.compile(r"\s*<(command-name|command-message|command-args|bash-input)>")
# Where no record says how a call was decided (before 2.1.33x): in print mode nobody is asked.
_NOT_GRANTED = re.compile(
    r"needs approval\.|requires approval|was blocked\. For security"
    r"|but you haven't granted it|Permission to use \w+ .*denied|^PreToolUse:\S+ hook error"
)
_COMMAND_NAME = re.compile(r"<command-name>\s*(/[^<\s]+)")
# Typed as a prompt, /model says a name to read; a program's set_model() says the id.
_SET_MODEL = re.compile(r"<local-command-stdout>Set model to `([^`\s]+)`")
_DENIED = "UserPromptSubmit operation blocked by hook:\n"
_LOCAL_OUTPUT = re.compile(r"\s*<(local-command-stdout|local-command-stderr|bash-stdout)>")
_TAG = re.compile(r"<(task-id|tool-use-id|status)>([^<]*)</\1>")


def user_events(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    agent_id = text(raw, "agentId")
    parts = parts_of(section(raw, "message").get("content"))
    words = text_of(parts)
    results = [part for part in parts if isinstance(part, ToolResult)]
    if results:
        for part in results:
            yield _tool_returned(raw, at_ns, agent_id, part)
        if words.startswith(_INTERRUPTED):
            yield _interrupted(raw, at_ns, during_tool=True)
    elif words.startswith(_INTERRUPTED):
        during_tool = "for tool use" in words
        yield _interrupted(raw, at_ns, during_tool=during_tool)
    elif _LOCAL_OUTPUT.match(words):
        yield _command_returned(raw, at_ns)
        if (switched := _SET_MODEL.match(words)) is not None:
            yield ev.ModelSwitched(at_ns=at_ns, model=switched[1], trigger="command")
    elif raw.get("isVisibleInTranscriptOnly") is True and raw.get("isCompactSummary") is not True:
        yield ev.Ignored(at_ns=at_ns, kind="user/shown only")
    elif agent_id is not None and raw.get("parentUuid") is None:
        prompt_id = text(raw, "promptId")
        yield ev.SubagentPrompted(at_ns=at_ns, agent_id=agent_id, prompt_id=prompt_id, parts=parts)
    elif (
        agent_id is not None
        or raw.get("isMeta") is True
        or raw.get("isCompactSummary") is True
        or text(raw, "sourceToolUseID") is not None
    ):
        message = Message(role="user", parts=parts)
        if words.startswith(_CUT_OFF) and raw.get("turnCompanion") is True:
            yield ev.AnswerCutOff(at_ns=at_ns, agent_id=agent_id)
        is_summary = raw.get("isCompactSummary") is True
        yield ev.InputAdded(at_ns=at_ns, agent_id=agent_id, message=message, is_summary=is_summary)
    else:
        yield from _prompt(raw, at_ns, parts, words)


def informational_events(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    """A notice to the user: of interest only where it says that a prompt went nowhere."""
    submission = section(raw, "promptSubmitEnding")
    ending = section(submission, "ending")
    words = text(raw, "content") or ""
    if not (ending or words.startswith(_DENIED)):
        yield ev.Ignored(at_ns=at_ns, kind="system/informational")
        return
    reason, _, prompt = words.removeprefix(_DENIED).partition("\n\nOriginal prompt: ")
    yield ev.PromptDenied(
        at_ns=at_ns,
        record_id=text(raw, "uuid"),
        parts=parts_of(prompt),
        is_kept=submission.get("promptKept") is True,
        reason=text(ending, "reason") or reason,
        place=_place(raw),
        conversation_id=_conversation(raw),
    )


def local_command_events(raw: Raw, at_ns: int) -> Iterator[ev.Event]:
    words = text(raw, "content") or ""
    named = _COMMAND_NAME.search(words)
    if _LOCAL_OUTPUT.match(words):
        yield _command_returned(raw, at_ns)
    elif named is not None and named[1] == "/branch":
        yield ev.Branched(at_ns=at_ns)
    else:
        yield ev.Ignored(at_ns=at_ns, kind="system/local_command")


def notification(words: str, at_ns: int, prompt_id: str | None) -> Iterator[ev.Event]:
    """The report of a background agent, from the text of the prompt that it becomes."""
    # The agent's own words follow, in which anything may stand.
    tags = dict(_TAG.findall(words.partition("<result>")[0]))
    if "task-id" in tags:
        yield ev.SubagentReported(
            at_ns=at_ns,
            task_id=tags["task-id"],
            tool_use_id=tags.get("tool-use-id"),
            status=tags.get("status"),
            prompt_id=prompt_id,
        )


# -- parts of the above ---


def _interrupted(raw: Raw, at_ns: int, *, during_tool: bool) -> ev.Event:
    return ev.Interrupted(
        at_ns=at_ns,
        agent_id=text(raw, "agentId"),
        during_tool=during_tool,
        record_id=text(raw, "uuid"),
    )


def _command_returned(raw: Raw, at_ns: int) -> ev.Event:
    return ev.CommandReturned(
        at_ns=at_ns,
        agent_id=text(raw, "agentId"),
        prompt_id=text(raw, "promptId"),
        record_id=text(raw, "uuid"),
    )


def _prompt(raw: Raw, at_ns: int, parts: tuple[Part, ...], words: str) -> Iterator[ev.Event]:
    origin = text(section(raw, "origin"), "kind")
    prompt_id = text(raw, "promptId")
    if words.startswith("/") and origin is None and text(raw, "promptSource") is None:
        # Some versions (2.1.281) write down what was typed, too.
        yield ev.Ignored(at_ns=at_ns, kind="user/typed command")
        return
    yield ev.PromptSubmitted(
        at_ns=at_ns,
        prompt_id=prompt_id,
        record_id=text(raw, "uuid"),
        parts=parts,
        origin=origin or "human",
        source=text(raw, "promptSource"),
        permission_mode=text(raw, "permissionMode"),
        place=_place(raw),
        is_command=_COMMAND.match(words) is not None,
        command=found[1] if (found := _COMMAND_NAME.search(words)) else None,
        conversation_id=_conversation(raw),
        run_id=text(section(raw, "origin"), "runId"),
    )
    if origin == "task-notification":
        yield from notification(words, at_ns, prompt_id)


def _place(raw: Raw) -> ev.Place:
    branch = text(raw, "gitBranch") or None
    return ev.Place(
        cwd=text(raw, "cwd"),
        # "HEAD" is what it says of a folder without a branch, or without git.
        git_branch=branch if branch != "HEAD" else None,
        cli_version=text(raw, "version"),
        entrypoint=text(raw, "entrypoint"),
    )


def _conversation(raw: Raw) -> str | None:
    return text(section(raw, "forkedFrom"), "sessionId") or text(raw, "sessionId")


def _tool_returned(raw: Raw, at_ns: int, agent_id: str | None, part: ToolResult) -> ev.Event:
    outcome = section(raw, "toolUseResult")
    decision = section(raw, "permissionDecision")
    words = _words_of(part.content)
    refused = part.is_error and (
        words.startswith(_REFUSED)
        or (not words.startswith("Exit code") and _NOT_GRANTED.search(words) is not None)
    )
    return ev.ToolReturned(
        at_ns=at_ns,
        agent_id=agent_id,
        tool_use_id=part.id,
        result=words if part.is_error else part.content,
        saved_as=_file_name(text(outcome, "persistedOutputPath")),
        is_error=part.is_error,
        was_interrupted=outcome.get("interrupted") is True
        or (part.is_error and words.rpartition("\n")[2].startswith(_INTERRUPTED)),
        stated_ms=stated_ms(outcome),
        was_killed=part.is_error and words.startswith("Exit code 137"),
        decision=text(decision, "decision") or ("reject" if refused else None),
        decision_source=text(decision, "source"),
        decision_reason=_decision_reason(decision),
        subagent_id=text(outcome, "agentId"),
        subagent_in_background=text(outcome, "status") == "async_launched",
        prompt_id=text(raw, "promptId"),
    )


def _file_name(path: str | None) -> str | None:
    """The last part of a path, of either kind of system; never a way to another folder."""
    name = re.split(r"[/\\]", path or "")[-1]
    return name if name not in ("", ".", "..") else None


def _decision_reason(decision: Raw) -> str | None:
    """What decided: a rule (and whose), a mode, a hook, a classifier; `unknown` says nothing."""
    reason = text(decision, "reasonType") or text(decision, "reasonCode")
    source = text(decision, "ruleSource")
    if reason in (None, "unknown"):
        return None
    return f"{reason}:{source}" if source else reason


def _words_of(content: Any) -> str:
    return content if isinstance(content, str) else text_of(parts_of(content))
