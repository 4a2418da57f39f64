"""Hooks of other people, each run once.

A program's callback is heard as it runs, with its times; what the transcript records of its
effect, with no time of its own, only repeats that. Of other hooks the records are all there is.
"""

from __future__ import annotations

from claude_otel.model.events import HookRan
from claude_otel.model.nodes import Turn


def note_hook(turn: Turn, ran: HookRan) -> None:
    """`ran` belongs to `turn`: keep it, unless it repeats what is known."""
    told = [run for run in turn.hooks if run.is_callback and _is_of(run, ran)]
    repeated = [before for before in turn.hooks_repeated if _key(before) == _key(ran)]
    is_effect_only = ran.started_at_ns is None and not ran.is_callback
    if is_effect_only and len(repeated) < len(told):
        turn.hooks_repeated.append(ran)
    else:
        turn.hooks.append(ran)


def _is_of(run: HookRan, effect: HookRan) -> bool:
    same_hook = _key(run)[:2] == _key(effect)[:2]
    added = effect.decision == "add_context" and run.adds_context
    return same_hook and (added or run.decision == effect.decision)


def _key(ran: HookRan) -> tuple[str, str | None, str | None]:
    """Records name the tool, too (`PreToolUse:Bash`), or say that it was a callback."""
    return (ran.name.partition(":")[0], ran.tool_use_id, ran.decision)
