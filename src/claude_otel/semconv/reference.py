"""What each attribute key and each event says, in a sentence: the source of `docs/attributes.md`.

The keys themselves are in `attributes.py`, the events in `shape.py`; a test holds that every one
has its sentence.
"""

from dataclasses import dataclass
from typing import Final

from claude_otel.semconv import attributes as at
from claude_otel.semconv.shape import EventName

# A span that an exporter of the application has taken cannot be changed any more.
_WHEN: Final = ", as far as they had ended when the span left"


def _late(name: str) -> str:
    return f"Agent SDK, on a background agent's span: what came too late for `claude.turn.{name}`."


DESCRIPTIONS: Final[dict[str, str]] = {
    at.OPERATION_NAME: "`chat`, `execute_tool` or `invoke_agent`.",
    at.PROVIDER_NAME: "Who answers: `anthropic`, `aws.bedrock`, `gcp.vertex_ai`.",
    at.CONVERSATION_ID: "The session's id; for turns copied by a fork, that of their own session.",
    at.AGENT_NAME: "`claude-code`, or a subagent's type.",
    at.AGENT_DESCRIPTION: "What the subagent was launched for.",
    at.REQUEST_MODEL: "The model that was asked for.",
    at.REQUEST_MAX_TOKENS: "The most tokens that the answer may have.",
    at.REQUEST_STREAM: "`true` where a part of the stream was measured; else nobody says.",
    at.REQUEST_REASONING_LEVEL: "The effort that was asked for.",
    at.RESPONSE_ID: "The API's message id.",
    at.RESPONSE_MODEL: "The model that answered.",
    at.RESPONSE_FINISH_REASONS: "Why the answer ended, in the conventions' words; one value. "
    "Absent where nobody said whether it was whole: `error.type` is `abandoned` then.",
    at.RESPONSE_TIME_TO_FIRST_CHUNK: "Seconds to the first chunk of the answer, where measured.",
    at.CONVERSATION_COMPACTED: "`true` on the call that summed the history up. Its tokens are what "
    "the CLI's totals grew by, of one request or of several, which it does not say.",
    at.OUTPUT_TYPE: "`json` where structured output was asked for.",
    at.USAGE_INPUT_TOKENS: "Input tokens, read from and written to the cache included.",
    at.USAGE_OUTPUT_TOKENS: "Output tokens, reasoning included.",
    at.USAGE_CACHE_READ: "Of the input, read from the cache.",
    at.USAGE_CACHE_WRITE: "Of the input, written to the cache.",
    at.USAGE_REASONING: "Of the output, reasoning.",
    at.SYSTEM_INSTRUCTIONS: "The system prompt; on an agent's first call, and where it changes "
    "(a deviation, as that of `gen_ai.input.messages`).",
    at.INPUT_MESSAGES: "A turn's prompt; of a call what was new in the request, where the "
    "conventions mean all messages: a session's spans would grow with the square of its length. "
    "`claude.request.history_offset` says how many came before; they are on earlier spans.",
    at.OUTPUT_MESSAGES: "The answer.",
    at.TOOL_DEFINITIONS: "The tools offered; on an agent's first call, and where they change (a "
    "deviation, as that of `gen_ai.input.messages`).",
    at.TOOL_NAME: "The tool's name.",
    at.TOOL_TYPE: "`function`: it ran on this side.",
    at.TOOL_CALL_ID: "The tool use id.",
    at.TOOL_DESCRIPTION: "What the tool says of itself.",
    at.TOOL_CALL_ARGUMENTS: "The call's arguments.",
    at.TOOL_CALL_RESULT: "What the tool gave back, where it succeeded.",
    at.ERROR_TYPE: "What kind of failure: a status code, `tool_error`, `interrupted`, …; "
    "`abandoned`: nobody said how or when it ended, the span ends with the last that was told.",
    at.SERVER_ADDRESS: "The host that the model was asked at.",
    at.SERVER_PORT: "Its port.",
    at.EXCEPTION_TYPE: "On the event `exception`: as `error.type`.",
    at.EXCEPTION_MESSAGE: "On the event `exception`: the error's text.",
    at.MCP_METHOD_NAME: "`tools/call` for a tool of an MCP server.",
    at.USER_ID: "The login name of who ran Claude, else the name of the account.",
    at.COST_USD: "The call's price in US dollars; absent where the model's is not known.",
    at.COST_INPUT_USD: "Of it, the input's.",
    at.COST_OUTPUT_USD: "Of it, the output's.",
    at.USAGE_CACHE_WRITE_1H: "Of the cache's writes, those that live for an hour.",
    at.USAGE_INCOMPLETE: "`true` where the answer was cut off, or its end was not told; on a turn: "
    "where nobody told the output of one of its calls.",
    at.USAGE_WEB_SEARCHES: "How often the provider itself searched the web, which it charges for.",
    at.USAGE_WEB_FETCHES: "How often the provider itself fetched a page.",
    at.USAGE_PARTIAL_INPUT: "Input tokens of an answer that was cut off.",
    at.USAGE_PARTIAL_CACHE_READ: "Of them, read from the cache.",
    at.USAGE_PARTIAL_CACHE_WRITE: "Of them, written to the cache.",
    at.SESSION_CWD: "The working folder.",
    at.SESSION_GIT_BRANCH: "The git branch.",
    at.SESSION_GIT_COMMIT: "The git commit checked out when the turn began, by git's own log of "
    "HEAD, to the second; absent where git keeps none, and where a recorded session is shown.",
    at.SESSION_ENTRYPOINT: "How Claude Code was started: `cli`, `sdk-cli`, `sdk-py`, …",
    at.SESSION_RESIDUAL: "What the CLI's own totals hold beyond the spans (JSON).",
    at.CLI_VERSION: "Claude Code's version.",
    at.PERMISSION_MODE: "At the prompt; on the event `claude.permission_mode.change`: from now on.",
    at.MODEL_TO: "On the event `claude.model.switch`: the model that is asked from now on.",
    at.MODEL_FROM: "On the event `claude.model.switch`: the model that Claude Code fell back from.",
    at.MODEL_SWITCH_TRIGGER: "On the event `claude.model.switch`: `command`, or why it fell back.",
    at.PROMPT_ID: "The prompt's id, which hooks and Claude Code's own telemetry use.",
    at.PROMPT_COMMAND: "The slash command that the prompt was.",
    at.PROMPT_SOURCE: "Where the prompt came from, as Claude Code says it.",
    at.TURN_ORIGIN: "What started the turn: a person, a task's notification, …",
    at.TURN_OUTCOME: "`completed`, `failed`, `denied` (by a hook), `interrupted`, `cancelled`, "
    "`closed_early` or `abandoned`.",
    at.TURN_INPUT_TOKENS: f"Sum over the turn's calls, subagents included{_WHEN}.",
    at.TURN_OUTPUT_TOKENS: f"Sum over the turn's calls, subagents included{_WHEN}; absent where "
    "one's is not known.",
    at.TURN_CACHE_READ: f"Sum over the turn's calls, subagents included{_WHEN}.",
    at.TURN_CACHE_WRITE: f"Sum over the turn's calls, subagents included{_WHEN}.",
    at.TURN_COST_USD: f"Sum of the calls' prices{_WHEN}; absent where one is not known.",
    at.TURN_LATE_MODEL_CALLS: _late("model_calls"),
    at.TURN_LATE_INPUT_TOKENS: _late("input_tokens"),
    at.TURN_LATE_OUTPUT_TOKENS: _late("output_tokens"),
    at.TURN_LATE_CACHE_READ: _late("cache_read.input_tokens"),
    at.TURN_LATE_CACHE_WRITE: _late("cache_write.input_tokens"),
    at.TURN_LATE_COST_USD: _late("cost_usd"),
    at.TURN_STATED_COST_USD: "What the CLI states since its result before, side calls included.",
    at.TURN_END_REASON: "Why the turn ended, as the Agent SDK's result says it.",
    at.TURN_STRUCTURED_OUTPUT: "The structured output (JSON).",
    at.TURN_MODEL_CALLS: "How many model calls the turn's sums are of: those that were answered "
    f"and whose usage is known, subagents' included{_WHEN}. Failed and cut-off ones have spans, "
    "and count in the metric `gen_ai.invoke_agent.inference_calls`.",
    at.TURN_TOOL_CALLS: "How many tool calls, subagents' included.",
    at.TURN_FROM_HOOKS_ONLY: "`true` where no transcript tells of the turn.",
    at.REQUEST_ID: "The API's request id.",
    at.REQUEST_THINKING: "The thinking mode that was asked for.",
    at.HISTORY_OFFSET: "How many messages the request held before `gen_ai.input.messages`.",
    at.START_SOURCE: "What the span's start is taken from.",
    at.TIME_ESTIMATED: "`true` where a record of it has no time that can be read: that of its "
    "neighbour in the transcript, or of the prompt's hook, stands for it.",
    at.THINKING_DURATION_MS: "How long the model thought.",
    at.TOOL_INPUT_STREAM_MS: "How long the arguments of tool calls were streamed.",
    at.TOOL_EXECUTION_MS: "How long the tool ran.",
    at.TOOL_QUEUE_MS: "How long the call waited before the dialog or its start.",
    at.TOOL_PERMISSION_WAIT_MS: "How long somebody was asked for permission.",
    at.TOOL_PERMISSION_AMBIGUOUS: "`true` where the dialog may belong to another call.",
    at.TOOL_PERMISSION_DECISION: "What was decided.",
    at.TOOL_PERMISSION_SOURCE: "Who decided: a rule, a hook, the user, …",
    at.TOOL_PERMISSION_REASON: "Why, in the words of who or what decided.",
    at.TOOL_OUTCOME: "`completed`, `failed`, `denied`, `interrupted` or `abandoned`.",
    at.MCP_SERVER_NAME: "The MCP server's name.",
    at.SUBAGENT_ID: "The subagent's id.",
    at.SUBAGENT_BACKGROUND: "`true` where it outlives the call that launched it.",
    at.SUBAGENT_DEPTH: "How deep it is nested; 1 for one that the main agent launched.",
    at.SUBAGENT_OUTCOME: "How it ended.",
    at.RATE_LIMIT_STATUS: "On the event `claude.rate_limit`: allowed, allowed_warning or rejected.",
    at.RATE_LIMIT_WINDOW: "On the event `claude.rate_limit`: which limit.",
    at.RATE_LIMIT_RESETS_AT: "On the event `claude.rate_limit`: Unix seconds of its reset.",
    at.RATE_LIMIT_UTILIZATION: "On the event `claude.rate_limit`: how much is used, 0 to 1.",
    at.HOOK_NAME: "On the event `claude.hook`: the hook's event and matcher.",
    at.HOOK_DURATION_MS: "On the event `claude.hook`: how long it ran.",
    at.HOOK_DECISION: "On the event `claude.hook`: what it decided.",
    at.COMPACTION_TRIGGER: "On the event `claude.compaction`: `auto` or `manual`.",
    at.COMPACTION_TOKENS_BEFORE: "On the event `claude.compaction`: the history's tokens before.",
    at.COMPACTION_TOKENS_AFTER: "On the event `claude.compaction`: the history's tokens after.",
    at.COMPACTION_DURATION_MS: "On the event `claude.compaction`: how long it took.",
}


@dataclass(frozen=True, slots=True)
class EventSaid:
    """`keys`: the attributes that an event may have."""

    says: str
    keys: tuple[str, ...]


EVENTS: Final[dict[EventName, EventSaid]] = {
    "exception": EventSaid(
        "On any span: it failed. What somebody stopped or forbade is none.",
        (at.EXCEPTION_TYPE, at.EXCEPTION_MESSAGE),
    ),
    "claude.permission.asked": EventSaid(
        "Somebody was asked whether a tool may run; the event is where the dialog opened.",
        (
            at.TOOL_NAME,
            at.TOOL_CALL_ID,
            at.TOOL_PERMISSION_DECISION,
            at.TOOL_PERMISSION_WAIT_MS,
        ),
    ),
    "claude.compaction": EventSaid(
        "The conversation was summed up.",
        (
            at.COMPACTION_TRIGGER,
            at.COMPACTION_DURATION_MS,
            at.COMPACTION_TOKENS_BEFORE,
            at.COMPACTION_TOKENS_AFTER,
        ),
    ),
    "claude.prompt.queued": EventSaid(
        "A prompt came while the turn ran, and was taken up within it.",
        (at.TURN_ORIGIN, at.INPUT_MESSAGES),
    ),
    "claude.hook": EventSaid(
        "A hook of the user or a hook callback of the program ran.",
        (
            at.HOOK_NAME,
            at.HOOK_DURATION_MS,
            at.HOOK_DECISION,
            at.TOOL_CALL_ID,
            at.ERROR_TYPE,
        ),
    ),
    "claude.rate_limit": EventSaid(
        "The API stated a rate limit.",
        (
            at.RATE_LIMIT_STATUS,
            at.RATE_LIMIT_WINDOW,
            at.RATE_LIMIT_RESETS_AT,
            at.RATE_LIMIT_UTILIZATION,
        ),
    ),
    "claude.model.switch": EventSaid(
        "From here on another model is asked.",
        (at.MODEL_TO, at.MODEL_FROM, at.MODEL_SWITCH_TRIGGER, at.SUBAGENT_ID),
    ),
    "claude.permission_mode.change": EventSaid(
        "From here on another permission mode is in force.", (at.PERMISSION_MODE,)
    ),
}
