"""Every attribute key this package writes, once; content keys marked as such.

GenAI keys follow `open-telemetry/semantic-conventions-genai` (main, read
2026-11): the published constants packages lack the current names, so these are
plain strings. What has no standard name is under `claude.*`.
"""

from typing import Final

# --- GenAI conventions -------------------------------------------------------
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
AGENT_NAME: Final = "gen_ai.agent.name"
AGENT_DESCRIPTION: Final = "gen_ai.agent.description"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
OUTPUT_TYPE: Final = "gen_ai.output.type"
CONVERSATION_COMPACTED: Final = "gen_ai.conversation.compacted"
USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE: Final = "gen_ai.usage.cache_write.input_tokens"
USAGE_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_DESCRIPTION: Final = "gen_ai.tool.description"
TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"

# --- general conventions -----------------------------------------------------
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
MCP_METHOD_NAME: Final = "mcp.method.name"
USER_ID: Final = "user.id"

# --- our own, where the conventions have no name ------------------------------
# Cost in US dollars. On chat spans; turn totals are under claude.turn.
COST_USD: Final = "claude.cost_usd"
COST_INPUT_USD: Final = "claude.cost.input_usd"
COST_OUTPUT_USD: Final = "claude.cost.output_usd"
USAGE_CACHE_WRITE_1H: Final = "claude.usage.cache_write_1h.input_tokens"
USAGE_INCOMPLETE: Final = "claude.usage.incomplete"
USAGE_WEB_SEARCHES: Final = "claude.usage.web_search_requests"
USAGE_WEB_FETCHES: Final = "claude.usage.web_fetch_requests"
USAGE_PARTIAL_INPUT: Final = "claude.usage.partial.input_tokens"
USAGE_PARTIAL_CACHE_READ: Final = "claude.usage.partial.cache_read.input_tokens"
USAGE_PARTIAL_CACHE_WRITE: Final = "claude.usage.partial.cache_write.input_tokens"

SESSION_CWD: Final = "claude.session.cwd"
SESSION_GIT_BRANCH: Final = "claude.session.git.branch"
SESSION_GIT_COMMIT: Final = "claude.session.git.commit"
SESSION_ENTRYPOINT: Final = "claude.session.entrypoint"
SESSION_RESIDUAL: Final = "claude.session.residual"
CLI_VERSION: Final = "claude.cli.version"
PERMISSION_MODE: Final = "claude.permission_mode"
MODEL_TO: Final = "claude.model.to"
MODEL_FROM: Final = "claude.model.from"
MODEL_SWITCH_TRIGGER: Final = "claude.model.switch_trigger"

PROMPT_ID: Final = "claude.prompt.id"
PROMPT_COMMAND: Final = "claude.prompt.command"
PROMPT_SOURCE: Final = "claude.prompt.source"
TURN_ORIGIN: Final = "claude.turn.origin"
TURN_OUTCOME: Final = "claude.turn.outcome"
TURN_INPUT_TOKENS: Final = "claude.turn.input_tokens"
TURN_OUTPUT_TOKENS: Final = "claude.turn.output_tokens"
TURN_CACHE_READ: Final = "claude.turn.cache_read.input_tokens"
TURN_CACHE_WRITE: Final = "claude.turn.cache_write.input_tokens"
TURN_COST_USD: Final = "claude.turn.cost_usd"
# On a subagent's span: what its turn's span, which had left before, does not hold.
TURN_LATE_MODEL_CALLS: Final = "claude.turn.late.model_calls"
TURN_LATE_INPUT_TOKENS: Final = "claude.turn.late.input_tokens"
TURN_LATE_OUTPUT_TOKENS: Final = "claude.turn.late.output_tokens"
TURN_LATE_CACHE_READ: Final = "claude.turn.late.cache_read.input_tokens"
TURN_LATE_CACHE_WRITE: Final = "claude.turn.late.cache_write.input_tokens"
TURN_LATE_COST_USD: Final = "claude.turn.late.cost_usd"
# By the CLI's own count, since its result before: side calls and late subagents included.
TURN_STATED_COST_USD: Final = "claude.turn.stated_cost_usd"
TURN_END_REASON: Final = "claude.turn.end_reason"
TURN_STRUCTURED_OUTPUT: Final = "claude.turn.structured_output"
TURN_MODEL_CALLS: Final = "claude.turn.model_calls"
TURN_FROM_HOOKS_ONLY: Final = "claude.turn.from_hooks_only"
TURN_TOOL_CALLS: Final = "claude.turn.tool_calls"

REQUEST_ID: Final = "claude.request.id"
REQUEST_THINKING: Final = "claude.request.thinking"
HISTORY_OFFSET: Final = "claude.request.history_offset"
START_SOURCE: Final = "claude.start.source"
TIME_ESTIMATED: Final = "claude.time.estimated"
THINKING_DURATION_MS: Final = "claude.thinking.duration_ms"
TOOL_INPUT_STREAM_MS: Final = "claude.tool.input_stream_ms"

TOOL_EXECUTION_MS: Final = "claude.tool.execution_ms"
TOOL_QUEUE_MS: Final = "claude.tool.queue_ms"
TOOL_PERMISSION_WAIT_MS: Final = "claude.tool.permission_wait_ms"
TOOL_PERMISSION_AMBIGUOUS: Final = "claude.tool.permission.ambiguous"
TOOL_PERMISSION_DECISION: Final = "claude.tool.permission.decision"
TOOL_PERMISSION_SOURCE: Final = "claude.tool.permission.source"
TOOL_PERMISSION_REASON: Final = "claude.tool.permission.reason"
TOOL_OUTCOME: Final = "claude.tool.outcome"
MCP_SERVER_NAME: Final = "claude.mcp.server.name"

SUBAGENT_ID: Final = "claude.subagent.id"
SUBAGENT_BACKGROUND: Final = "claude.subagent.background"
SUBAGENT_DEPTH: Final = "claude.subagent.depth"
SUBAGENT_OUTCOME: Final = "claude.subagent.outcome"

RATE_LIMIT_STATUS: Final = "claude.rate_limit.status"
RATE_LIMIT_WINDOW: Final = "claude.rate_limit.window"
RATE_LIMIT_RESETS_AT: Final = "claude.rate_limit.resets_at"
RATE_LIMIT_UTILIZATION: Final = "claude.rate_limit.utilization"

HOOK_NAME: Final = "claude.hook.name"
HOOK_DURATION_MS: Final = "claude.hook.duration_ms"
HOOK_DECISION: Final = "claude.hook.decision"

COMPACTION_TRIGGER: Final = "claude.compaction.trigger"
COMPACTION_DURATION_MS: Final = "claude.compaction.duration_ms"
COMPACTION_TOKENS_BEFORE: Final = "claude.compaction.tokens_before"
COMPACTION_TOKENS_AFTER: Final = "claude.compaction.tokens_after"

CONTENT_KEYS: Final = frozenset(
    {
        SYSTEM_INSTRUCTIONS,
        INPUT_MESSAGES,
        OUTPUT_MESSAGES,
        TOOL_DEFINITIONS,
        TOOL_DESCRIPTION,
        AGENT_DESCRIPTION,
        TOOL_CALL_ARGUMENTS,
        TOOL_CALL_RESULT,
        TURN_STRUCTURED_OUTPUT,
        EXCEPTION_MESSAGE,
    }
)
"""Keys whose values quote the user, the model, a tool or an error text."""

PERSONAL_KEYS: Final = frozenset({USER_ID, SESSION_CWD})
"""Keys that say who and where the user is: they go where all content goes, nowhere else."""
