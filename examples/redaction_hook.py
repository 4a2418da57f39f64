"""What of the content leaves, decided by a function of yours: it is given every part, one by one.

    CLAUDE_OTEL_REDACTION_HOOK=/path/to/redaction_hook.py:redact claude

A part is one of the frozen dataclasses of `claude_otel.model.parts`, as Claude Code wrote it, and
not masked yet. Return it, another one (`dataclasses.replace`), or None to leave it out.
"""

import re
from dataclasses import replace

from claude_otel.model.parts import Media, Part, Text, ToolResult

CUSTOMER = re.compile(r"CUST-\d+")


def redact(part: Part, kind: str) -> Part | None:
    """`kind`: prompts, answers, thinking, tool_arguments, tool_results, system_instructions, …"""
    match part:
        case Text():
            return replace(part, text=CUSTOMER.sub("[customer]", part.text))
        case ToolResult() if isinstance(part.content, str):
            return replace(part, content=CUSTOMER.sub("[customer]", part.content))
        case Media():
            return None
        case _:
            return part
