"""How the turns of each story end, and its tools that do not complete; where versions differ.

Here: what nobody's log states, said by hand. Never here: what the API's log states.
"""

from claude_otel.semconv import attributes as at

ENDS: dict[str, tuple[list[str], list[str]]] = {
    "parallel_tools": (["completed"], ["failed"]),
    "several_prompts": (["completed"] * 3, []),
    "background_subagent": (["completed"] * 2, []),
    "denied_tool": (["completed"], ["denied"]),
    "api_error": (["failed"], []),
    "server_error": (["failed"], []),
    "bad_request": (["failed"], []),
    "interrupted_call": (["interrupted"], []),
    "interrupted_tool": (["interrupted"], ["interrupted"]),
    "killed": (["abandoned"], ["abandoned"]),
    "killed_call": (["abandoned"], []),
    "resume": (["completed"] * 2, []),
    "fork": (["completed"] * 2, []),
    "fork_with_tools": (["completed"] * 2, ["failed"]),
    "resume_after_agents": (["completed"] * 2, []),
    "interrupted_and_resumed": (["interrupted", "completed"], []),
    "refusal": (["failed"], []),
    "compaction": (["completed"] * 3, []),
    "compaction_then_failure": (["failed"], []),
    "long_prompt": (["failed"], []),
    "demo": (["completed"], ["failed"]),
    "bash_mode": (["completed"] * 2, []),
    "mode_switched": (["completed"] * 2, []),
    "branched": (["completed"] * 2, []),
    "worktree": (["completed"] * 2, []),
    "switched_model": (["completed"] * 2, []),
    "sent_to_background": (["completed"] * 2, []),
    # Its classifier runs at the real API only, which a scripted one is not.
    "classified": (["completed"], ["denied"]),
    "rewound": (["completed"] * 3, []),
    "hook_blocks": (["completed"], ["denied"]),
    "typed_prompts": (["completed"] * 2, []),
    "permission_denied": (["interrupted"], ["denied"]),
    "escaped_call": (["interrupted", "completed"], []),
    "escaped_tool": (["interrupted"], ["interrupted"]),
    "typed_compact": (["completed"] * 3, []),
    "typed_clear": (["completed"] * 2, []),
    "background_while_typing": (["completed"] * 3, []),
    "agents_in_background": (["completed"] * 3, []),
    "queued_for_later": (["completed"] * 2, []),
}
"""Any other: one turn, completed, and all of its tools."""

OTHERWISE: dict[tuple[str, str], tuple[list[str], list[str]]] = {
    # Nested agents came later: the call fails as one of a tool that is not there.
    ("nested_subagents", "2.1.149"): (["completed"], ["failed"]),
    # No record of an interrupt in print mode, of a stream asked for again, of a retry.
    ("interrupted_call", "2.1.149"): (["abandoned"], []),
    ("interrupted_tool", "2.1.149"): (["abandoned"], ["abandoned"]),
    ("broken_stream", "2.1.149"): (["failed"], []),
    # The command waits for the prompt.
    ("bash_mode", "2.1.19"): (["completed"], []),
    ("bash_mode", "2.1.149"): (["completed"], []),
    # It is summed up, or sent as it is.
    ("long_prompt", "2.1.19"): (["completed"], []),
    ("long_prompt", "2.1.149"): (["completed"], []),
    ("long_prompt", "2.1.281"): (["completed"], []),
    ("long_prompt", "2.1.284"): (["completed"], []),
    # Its classifier is asked through the same API: it says yes.
    ("classified", "2.1.149"): (["completed"], []),
    ("classified", "2.1.281"): (["completed"], []),
    ("classified", "2.1.284"): (["completed"], []),
    ("interrupted_call", "2.1.19"): (["abandoned"], []),
    ("interrupted_tool", "2.1.19"): (["abandoned"], ["abandoned"]),
}
"""(story, version) that ends in another way, as that version's own records say."""

_LAST_BLOCK = "hooks only: turn gen_ai.output.messages differs"  # a hook has that one's words
_ARGUMENTS = "hooks only: tool_call gen_ai.tool.call.arguments differs"

ROUTES: dict[str, set[str]] = {
    "slash_command": {
        "transcript only: turn claude.permission_mode differs",
        # The hook has what was typed, the record what came of it.
        "hooks only: turn claude.prompt.command differs",
        "hooks only: turn gen_ai.input.messages differs",
    },
    "broken_stream": {_LAST_BLOCK},
    "queued_for_later": {_LAST_BLOCK},
    "hook_continues": {_LAST_BLOCK},  # or those of its first attempt, where the second hook is late
    "server_tool": {_LAST_BLOCK},
    # The hook has the input as the program takes it, not as the model gave it.
    "background_while_typing": {_ARGUMENTS},
    "agents_in_background": {_ARGUMENTS},
    "demo": {_ARGUMENTS},
    "plan_approved": {_ARGUMENTS},
    # The hook has the words only.
    "image_prompt": {"hooks only: turn gen_ai.input.messages differs"},
    # The hook has the classifier's word, the record what the model was told.
    "classified": {"hooks only: tool_call status_text differs"},
    # A "no" in a dialog and Esc while a tool runs are recorded alike, but for the dialog's hook.
    "permission_denied": {
        "transcript only: tool_call claude.tool.outcome differs",
        "transcript only: tool_call error.type differs",
    },
}
"""What only one route can tell, beyond `exactness.HOOKS_ONLY_KNOW`, by story."""

SINCE: dict[str, tuple[int, ...]] = {
    # The oldest that is played here and calls the tool Agent.
    "background_subagent": (2, 1, 149),
    "foreground_subagent": (2, 1, 149),
    "nested_subagents": (2, 1, 149),
    "fork_with_tools": (2, 1, 149),
    "resume_after_agents": (2, 1, 149),
    "background_while_typing": (2, 1, 149),
    "agents_in_background": (2, 1, 149),
    "worktree": (2, 1, 149),
    "classified": (2, 1, 149),
    "sent_to_background": (2, 1, 149),
    "demo": (2, 1, 149),
}
"""Stories of what came later than 2.1.0."""


ENDS_UNSTATED = {"2.1.19"}
"""Versions that write each answer down before its end: only the Stop hook says that it came."""


_WITHOUT_STOP_HOOKS = ("transcript only: ", "hooks after the transcript: ")
_OF_THE_END = {
    f"{kind} {name} differs"
    for kind, names in {
        "model_call": {
            "status",
            "status_text",
            "events",
            at.ERROR_TYPE,
            at.RESPONSE_FINISH_REASONS,
            at.OUTPUT_MESSAGES,
            at.USAGE_INPUT_TOKENS,
            at.USAGE_CACHE_READ,
            at.USAGE_CACHE_WRITE,
            at.USAGE_CACHE_WRITE_1H,
            at.USAGE_PARTIAL_INPUT,
            at.USAGE_PARTIAL_CACHE_READ,
            at.USAGE_PARTIAL_CACHE_WRITE,
        },
        "turn": {
            "status",
            "status_text",
            "events",
            at.ERROR_TYPE,
            at.OUTPUT_MESSAGES,
            at.TURN_OUTCOME,
            at.TURN_MODEL_CALLS,
            at.TURN_INPUT_TOKENS,
            at.TURN_OUTPUT_TOKENS,
            at.TURN_CACHE_READ,
            at.TURN_CACHE_WRITE,
            at.USAGE_INCOMPLETE,
        },
    }.items()
    for name in names
}


def is_named(difference: str, story: str, version: str) -> bool:
    """Whether it is known that one route cannot tell this."""
    is_of_the_end = difference.partition(": ")[2] in _OF_THE_END
    if version in ENDS_UNSTATED and difference.startswith(_WITHOUT_STOP_HOOKS) and is_of_the_end:
        return True
    return difference in ROUTES.get(story, set())


def expected_ends(story: str, version: str) -> list[tuple[list[str], list[str]]]:
    """How it may end: more than one way where that is a matter of who is faster."""
    if story == "terminal_closed":  # whether the killed command's result is still written down
        return [(["abandoned"], ["failed"]), (["abandoned"], ["abandoned"])]
    if (story, version) == ("interrupted_and_resumed", "2.1.149"):  # whether it is written down
        return [(["abandoned", "completed"], []), (["interrupted", "completed"], [])]
    if (story, version) == ("interrupted_and_resumed", "2.1.19"):
        # It writes nothing of the first prompt, and hardly ever all of the second.
        return [([], []), (["abandoned"], []), (["completed"], [])]
    return [OTHERWISE.get((story, version), ENDS.get(story, (["completed"], [])))]


def is_known_to(story: str, version: str) -> bool:
    return tuple(map(int, version.split("."))) >= SINCE.get(story, ())
