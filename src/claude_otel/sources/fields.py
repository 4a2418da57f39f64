"""Every field of the records and hooks that are read: read too, or knowingly not, with the reason.

One table. A field that it does not name is new: it is counted as `Unrecognized`, shown by
`status`, and changes nothing. Which records and hooks there are at all say `transcript.py`
and `hook_payload.py`. Fields of a tool's own (`tool_input`, `toolUseResult`) are the tool's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from claude_otel.sources.blocks import Raw, object_of

READ: Final = "read"


def _fields(read: str, **ignored: str) -> Mapping[str, str]:
    """Field by field: `READ`, or why not (`display_only="a b"`: a and b are display only)."""
    table = dict.fromkeys(read.split(), READ)
    for reason, names in ignored.items():
        table |= dict.fromkeys(names.split(), reason.replace("_", " "))
    return table


# On every record that is a node of the conversation's chain.
_CHAIN = _fields(
    "type uuid parentUuid timestamp sessionId agentId",
    said_once_with_the_prompt="cwd version gitBranch entrypoint",
    the_file_says_it="isSidechain attributionAgent sessionKind",
    repeats_another_field="session_id userType teamName",
    display_only="slug level isMeta",
    the_prompt_says_it="forkedFrom",
)

RECORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "assistant": {
        **_CHAIN,
        **_fields(
            "message requestId requestRef requestedModel effort thinkingDurationMs "
            "toolInputStreamMs isApiErrorMessage apiErrorStatus apiError error madeBy",
            rows_are_put_together_by_message_id="apiBlockIndex",
            usage_says_it="promptCacheRequested serverClassifierRequest",
            the_tool_call_says_it="attributionMcpServer attributionMcpTool attributionSkill",
            the_status_says_it="apiErrorType",
            the_refused_call_has_a_span_of_its_own="refusedMessageId refusingModel",
            settings_not_work="perTurnEffort thinkingDisplay",
            internal_state="failedResponseHadNoToolCall requestSessionId",
        ),
    },
    "assistant.message": _fields(
        "id model content stop_reason usage",
        always_the_same="type role",
        the_stop_reason_says_it="stop_sequence stop_details",
        internal_state="container context_management diagnostics",
    ),
    "assistant.message.usage": _fields(
        "input_tokens output_tokens output_tokens_details cache_read_input_tokens "
        "cache_creation_input_tokens cache_creation server_tool_use speed inference_geo",
        no_price_depends_on_it="service_tier fallback_credit",
        their_sum_is_stated="iterations",
    ),
    "user": {
        **_CHAIN,
        **_fields(
            "message promptId promptSource origin permissionMode permissionDecision forkedFrom "
            "toolUseResult isMeta isCompactSummary isVisibleInTranscriptOnly sourceToolUseID "
            "turnCompanion",
            the_result_names_its_call="sourceToolAssistantUUID",
            the_decision_says_it="toolDenialBeforeRun toolDenialKind classifierBoundary",
            the_order_says_it="turnPosition queueSkipAttachments sentAtMs interruptedMessageId "
            "summarizedTurnPromptUuids",
            the_origin_says_it="turnOrigin rowSource ownNote",
            the_message_holds_it="imagePasteIds hookText hookTextLead repeatsCompactSummary",
            a_setting_not_work="sandboxed mcpCallNotReadOnly",
            a_retry_is_a_call_of_its_own="refusalRetry refusedMessageId",
            kept_for_undo="todos thinkingMetadata",
        ),
    },
    "attachment": {
        **_CHAIN,
        **_fields(
            "attachment",
            the_requests_blobs_repeat_it="rendered renderedRole renderedBesideToolResult",
        ),
    },
    "system/api_error": {
        **_CHAIN,
        **_fields(
            "error status",
            each_attempt_is_a_call="maxRetries retryAttempt retryInMs",
            names_the_record="subtype source cause",
        ),
    },
    "system/model_fallback": {
        **_CHAIN,
        **_fields(
            "trigger originalModel fallbackModel",
            names_the_record="subtype",
            display_only="content",
        ),
    },
    "system/model_refusal_fallback": {
        **_CHAIN,
        **_fields(
            "trigger originalModel fallbackModel retractedMessageUuids",
            names_the_record="subtype",
            display_only="content scope direction apiRefusalCategory apiRefusalExplanation",
            the_turns_own_records_say_it="requestId refusedUserMessageUuid",
        ),
    },
    "system/stop_hook_summary": {
        **_CHAIN,
        **_fields(
            "hookErrors",
            our_own_are_among_them="hookCount hookInfos hasOutput",
            the_next_request_holds_it="hookAdditionalContext",
            the_errors_say_it="failedHookErrorIndexes preventedContinuation stopReason",
            names_the_record="subtype toolUseID",
        ),
    },
    "system/turn_duration": {
        **_CHAIN,
        **_fields(
            "",
            measured_from_the_records="durationMs messageCount pendingBackgroundAgentCount",
            names_the_record="subtype",
        ),
    },
    "system/compact_boundary": {
        **_CHAIN,
        **_fields(
            "compactMetadata",
            names_the_record="subtype content",
            the_order_says_it="logicalParentUuid",
        ),
    },
    "system/compact_boundary.compactMetadata": _fields(
        "trigger preTokens postTokens durationMs",
        what_was_kept_is_in_the_next_request="messagesSummarized preservedSegment "
        "preservedMessages cumulativeDroppedTokens preCompactDiscoveredTools userContext "
        "runningTurnPrompt",
        internal_state="preCompactOrganizationsCoverStart",
    ),
    "system/local_command": {
        **_CHAIN,
        **_fields("content", names_the_record="subtype", the_prompt_says_it="commandRun"),
    },
    "system/informational": {
        **_CHAIN,
        **_fields(
            "content promptSubmitEnding",
            names_the_record="subtype",
            the_ending_says_it="preventContinuation",
        ),
    },
    "progress": {
        **_CHAIN,
        **_fields("data", the_results_say_it="toolUseID parentToolUseID"),
    },
    "api-request": _fields(
        "type timestamp agentId id querySource shapeHash params keep tail",
        names_the_file="sessionId version",
        the_conversation_is_followed_in_order="base thread",
        how_it_was_cached_is_in_the_usage="cacheControl requestDigest",
        internal_state="echoWireToolInputs",
    ),
    "api-request.params": _fields(
        "model max_tokens thinking output_config",
        settings_not_work="betas context_management temperature metadata",
    ),
    "api-request-shape": _fields(
        "type timestamp agentId shapeHash shape", names_the_file="sessionId version"
    ),
    "api-request-blob": _fields(
        "type timestamp agentId hash message", names_the_file="sessionId version"
    ),
    "cost-state": _fields(
        "type totalCostUSD modelUsage",
        names_the_file="sessionId",
        measured_from_the_records="startTime totalDuration totalAPIDuration "
        "totalAPIDurationWithoutRetries totalToolDuration",
        no_work_of_the_model="totalLinesAdded totalLinesRemoved",
        our_own_prices_say_it="hasUnknownModelCost",
    ),
    "permission-mode": _fields("type permissionMode", names_the_file="sessionId"),
}

# On every hook's payload.
_COMMON = _fields(
    "hook_event_name session_id transcript_path prompt_id",
    said_once_with_the_prompt="cwd",
    each_call_says_it="effort",
    internal_state="scratchpad_dir",
)
_IN_AN_AGENT = _fields("agent_id agent_type")
_OF_A_TOOL = {
    **_COMMON,
    **_IN_AN_AGENT,
    **_fields(
        "tool_name tool_input tool_use_id prompt_id",
        said_once_with_the_prompt="permission_mode",
        the_tools_name_says_it="mcp_server",
    ),
}
_AT_AN_END = _fields(
    "last_assistant_message",
    said_once_with_the_prompt="permission_mode",
    their_own_facts_follow="background_tasks session_crons stop_hook_active",
)

HOOKS: Final[Mapping[str, Mapping[str, str]]] = {
    "SessionStart": {
        **_COMMON,
        **_IN_AN_AGENT,
        **_fields(
            "source model",
            display_only="session_title",
            an_estimate_of_what_the_calls_state="context_tokens estimated_cache_write_usd "
            "prompt_cache_likely_expired seconds_since_last_response",
        ),
    },
    "UserPromptSubmit": {
        **_COMMON,
        **_fields("prompt permission_mode cwd", display_only="session_title"),
    },
    "PreToolUse": _OF_A_TOOL,
    "PostToolUse": {**_OF_A_TOOL, **_fields("tool_response duration_ms")},
    "PostToolUseFailure": {**_OF_A_TOOL, **_fields("error is_interrupt duration_ms")},
    "PermissionRequest": {
        **_OF_A_TOOL,
        **_fields("", what_might_be_chosen_not_what_was="permission_suggestions"),
    },
    "PermissionDenied": {**_OF_A_TOOL, **_fields("reason")},
    "SubagentStart": {**_COMMON, **_IN_AN_AGENT},
    "SubagentStop": {
        **_COMMON,
        **_IN_AN_AGENT,
        **_AT_AN_END,
        **_fields("", found_beside_the_sessions_own="agent_transcript_path"),
    },
    "Stop": {**_COMMON, **_AT_AN_END},
    "StopFailure": {**_COMMON, **_IN_AN_AGENT, **_AT_AN_END, **_fields("error error_details")},
    "SessionEnd": {**_COMMON, **_fields("reason")},
}

_BELOW: Final[Mapping[str, tuple[str, ...]]] = {
    "assistant": ("message", "message.usage"),
    "system/compact_boundary": ("compactMetadata",),
    "api-request": ("params",),
}


def unknown_fields(kind: str, raw: Raw) -> Iterator[str]:
    """The names of fields of this record that the table does not have."""
    yield from _unknown(kind, RECORDS.get(kind), raw)
    for path in _BELOW.get(kind, ()):
        below: Raw | None = raw
        for key in path.split("."):
            below = object_of(below.get(key)) if below is not None else None
        if below is not None:
            yield from _unknown(f"{kind}.{path}", RECORDS[f"{kind}.{path}"], below)


def unknown_hook_fields(name: str, raw: Raw) -> Iterator[str]:
    yield from _unknown(f"hook {name}", HOOKS.get(name), raw)


def _unknown(kind: str, known: Mapping[str, str] | None, raw: Raw) -> Iterator[str]:
    if known is not None and not raw.keys() <= known.keys():
        yield from (f"{kind}.{name}" for name in raw if name not in known)
