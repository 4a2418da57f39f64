"""Whose is it: which turn, subagent or tool call a fact belongs to.

Nodes are made here when they are first heard of, by whichever source is first,
and found again by what names them. Whether they are over is `session.py`'s.
"""

from __future__ import annotations

from dataclasses import replace

from claude_otel.model import events as ev
from claude_otel.model.conversation import Conversation
from claude_otel.model.nodes import Node, PermissionWait, Subagent, ToolCall, Turn
from claude_otel.model.parts import text_of

SETTLE_NS = 1_000_000_000
"""How long the transcript may lag behind a fact that it will confirm."""
SUBMISSION_LAG_NS = 30_000_000_000
"""How much later than its record a prompt's hook may be stamped, on a busy machine."""


class Belonging:
    """The nodes of one session by what names them; `reading`: the turn being read."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.now_ns = 0
        self.forked_at_ns = 0
        """When this session began as a copy of another one, as its hook was stamped."""
        self.turns: list[Turn] = []
        self.reading: Turn | None = None
        self.agents: dict[str, Subagent] = {}
        self.tools: dict[str, ToolCall] = {}
        self.open_tools: dict[str, ToolCall] = {}
        self.conversations: dict[str | None, Conversation] = {None: Conversation(agent_id=None)}
        self.unmatched_asks: list[ev.PermissionAsked] = []

    def conversation(self, agent_id: str | None) -> Conversation:
        return self.conversations.setdefault(agent_id, Conversation(agent_id=agent_id))

    def owner(self, agent_id: str | None, at_ns: int) -> tuple[Turn | Subagent, Turn]:
        if agent_id is not None:
            agent = self.agent(agent_id, at_ns)
            return agent, agent.turn
        turn = self.reading or self._unknown_turn(at_ns)
        return turn, turn

    def named(self, prompt_id: str | None) -> Turn | None:
        """The turn that a hook means by `prompt_id`: of that id, the one that began last.

        A fork gives every turn that it copies the id of its own first prompt, and these are
        often read when a hook has told of that one.
        """
        if prompt_id is None:
            return None
        same = [turn for turn in self.turns if turn.prompt_id == prompt_id]
        return max(same, key=lambda turn: turn.started_at_ns, default=None)

    def recorded(self, prompt_id: str | None) -> Turn | None:
        """The turn that a record means: the one being read, unless it names another."""
        if self.reading is not None and prompt_id in (None, self.reading.prompt_id):
            return self.reading
        return self.named(prompt_id) or self.reading

    def _unknown_turn(self, at_ns: int) -> Turn:
        """A turn whose prompt was never read: the file's beginning is gone, or not yet there."""
        turn = Turn(session_id=self.session_id, started_at_ns=at_ns, touched_ns=self.now_ns)
        self.turns.append(turn)
        self.reading = turn
        return turn

    def agent(self, agent_id: str | None, at_ns: int, *, prompt_id: str | None = None) -> Subagent:
        key = agent_id or ""
        agent = self.agents.get(key)
        if agent is None:
            turn = self.turn_of_prompt(prompt_id, at_ns)
            agent = Subagent(key=key, turn=turn, started_at_ns=at_ns, touched_ns=self.now_ns)
            self.agents[key] = agent
        return agent

    def turn_of_prompt(self, prompt_id: str | None, at_ns: int) -> Turn:
        if prompt_id is not None:
            turn = self.named(prompt_id)
            if turn is None:
                turn = Turn(session_id=self.session_id, prompt_id=prompt_id, started_at_ns=at_ns)
                turn.touched_ns = self.now_ns
                self.turns.append(turn)
            return turn
        return self.reading or (self.turns[-1] if self.turns else self._unknown_turn(at_ns))

    def place(self, agent: Subagent, turn: Turn) -> None:
        """`agent` works for `turn`. Once a part of it has left, it stays where it was."""
        before, work = agent.turn, self.conversation(agent.key)
        if before is turn or agent.is_closed or agent.has_closed_work:
            return
        agent.turn = turn
        work.moves(turn)
        for tool in self.tools.values():
            if tool.owner is agent:
                tool.turn = turn
                before.tool_use_ids.discard(tool.key)
                turn.tool_use_ids.add(tool.key)
        for other in self.agents.values():
            launcher = self.tools.get(other.tool_use_id or "")
            if launcher is not None and launcher.owner is agent:
                self.place(other, turn)

    def is_whole(self, turn: Turn) -> bool:
        """Whether something was read of every agent that was launched for `turn`."""
        launched = [a for a in self.agents.values() if a.turn is turn and a.tool_use_id is not None]
        return all(agent.has_calls for agent in launched)

    def find_launchers(self, node: Node) -> None:
        """Name the calls that launched the agents above `node`, which may still be at work."""
        owner = node if isinstance(node, Turn | Subagent) else node.owner
        while isinstance(owner, Subagent) and owner.launched_by is None:
            owner.launched_by = self.tools.get(owner.tool_use_id or "")
            owner = owner.launched_by.owner if owner.launched_by is not None else owner.turn

    @staticmethod
    def is_astray(node: Node) -> bool:
        """Whether an agent above `node` is at work of which it is not known what launched it.

        Its description, a file of its own, may be written after its first records.
        """
        owner = node if isinstance(node, Turn | Subagent) else node.owner
        while isinstance(owner, Subagent):
            if owner.launched_by is None:
                return not owner.is_closed
            owner = owner.launched_by.owner
        return False

    def take_over(self, tool: ToolCall, owner: Turn | Subagent, turn: Turn) -> None:
        """The transcript says whose a call is: a hook named no prompt, or one of several turns."""
        is_named = tool.is_placed and tool.turn.prompt_id != turn.prompt_id
        tool.is_placed = True
        if is_named or tool.turn is turn or tool.is_closed:
            return
        before = tool.turn
        before.tool_use_ids.discard(tool.key)
        tool.turn, tool.owner = turn, owner
        turn.tool_use_ids.add(tool.key)
        turn.permission_waits += [w for w in before.permission_waits if w.tool_use_id == tool.key]
        before.permission_waits = [w for w in before.permission_waits if w.tool_use_id != tool.key]
        for agent in self.agents.values():
            if agent.tool_use_id == tool.key:
                self.place(agent, turn)

    def turn_of_submission(self, event: ev.PromptSubmitted) -> Turn | None:
        """The turn that this prompt began, as told by its record or by a hook.

        None: a hook tells of a prompt that was typed while that turn ran, under its id; or it is
        a program's command to that turn.

        A fork rewrites the prompt ids of all the lines that it copies to that of
        its own first prompt, so an id alone does not tell which prompt a hook means. Where the
        words do not either, it is the last: the own prompt follows what was copied.
        """
        by_hook = event.record_id is None
        if not by_hook and self.is_within(event):
            return None
        if not by_hook and self.is_prepared(event):
            return self.reading
        if not by_hook and (early := self._nameless()) and event.at_ns <= early.started_at_ns:
            return early
        for turn in reversed(self.turns):
            if not by_hook and turn.record_id == event.record_id:
                return turn
            if event.prompt_id is not None and turn.prompt_id != event.prompt_id:
                continue
            if by_hook and turn.submitted_at_ns is not None and event.prompt_id is not None:
                return turn if event.at_ns == turn.submitted_at_ns else None
            hook_ns = event.at_ns if by_hook else turn.submitted_at_ns
            record_ns = turn.started_at_ns if by_hook else event.at_ns
            if turn.record_id is None and turn.submitted_at_ns is None:
                return turn  # only named so far, by a tool or a subagent
            if (turn.record_id is None) == by_hook and turn.submitted_at_ns != hook_ns:
                continue  # both from the same source: two prompts, or one told twice
            if hook_ns is None:
                if by_hook or turn.record_id is not None:
                    continue
                return turn
            same_words = (
                event.is_command
                or turn.is_command
                or text_of(turn.prompt).strip() == text_of(event.parts).strip()
            )
            is_untimed = event.at_is_estimated or (by_hook and turn.time_is_estimated)
            is_then = is_untimed or -SETTLE_NS <= hook_ns - record_ns <= SUBMISSION_LAG_NS
            if same_words and is_then:
                is_copy = not by_hook and turn.record_id is not None
                return self._own_of_fork(turn) if is_copy else turn
        turn = Turn(session_id=self.session_id, started_at_ns=event.at_ns)
        turn.touched_ns = self.now_ns
        self.turns.append(turn)
        return turn

    def _own_of_fork(self, copy: Turn) -> Turn:
        """The turn that a hook told of: `copy` was taken for it until its own prompt was read."""
        own = Turn(session_id=self.session_id, started_at_ns=copy.submitted_at_ns or 0)
        own.submitted_at_ns, copy.submitted_at_ns = copy.submitted_at_ns, None
        own.touched_ns, own.prompt_id = self.now_ns, copy.prompt_id
        own.stop, own.stop_at_ns, own.stop_text = copy.stop, copy.stop_at_ns, copy.stop_text
        copy.told_key = copy.stop_text = None
        self.turns.append(own)
        return own

    def may_be_copy(self, turn: Turn) -> bool:
        """Whether a hook told of `turn` and its record is from before the fork, by its stamp."""
        return turn.submitted_at_ns is not None and turn.started_at_ns < self.forked_at_ns

    def turn_of_denial(self, event: ev.PromptDenied) -> Turn:
        """The turn of a prompt that has no other record: a hook may have told of it before."""
        words = text_of(event.parts).strip()
        for turn in reversed(self.turns):
            if turn.record_id == event.record_id:
                return turn
            is_told = turn.submitted_at_ns is not None and turn.record_id is None
            if is_told and words in ("", text_of(turn.prompt).strip()):
                return turn
        turn = Turn(session_id=self.session_id, started_at_ns=event.at_ns)
        self.turns.append(turn)
        return turn

    def is_within(self, event: ev.PromptSubmitted) -> bool:
        """Whether a program gave this command while the turn that was read last ran."""
        turn = self.reading
        return (
            turn is not None
            and event.is_command
            and not turn.is_command
            and self._same(turn, event)
        )

    def is_prepared(self, event: ev.PromptSubmitted) -> bool:
        """Whether the command that was read last was given between two prompts, for this one."""
        turn = self.reading
        return (
            turn is not None
            and turn.is_command
            and not (event.is_command or turn.has_work or turn.compactions)
            and self._same(turn, event)
        )

    def _same(self, turn: Turn, event: ev.PromptSubmitted) -> bool:
        """A program's command (`set_model()`) has a prompt's id; all copies of a fork have one."""
        return (
            turn.record_id not in (None, event.record_id)
            and turn.prompt_id is not None
            and turn.prompt_id == event.prompt_id
            and turn.started_at_ns >= self.forked_at_ns
            and event.conversation_id in (None, self.session_id)
        )

    def _nameless(self) -> Turn | None:
        """A turn of which only its work was read. CLI 2.1.112 sometimes writes that first."""
        turn = self.reading
        if turn is None or turn.record_id is not None or turn.submitted_at_ns is not None:
            return None
        return turn if turn.prompt_id is None else None

    def tool(
        self,
        tool_use_id: str,
        name: str,
        agent_id: str | None,
        at_ns: int,
        prompt_id: str | None = None,
        *,
        is_placed: bool = True,
    ) -> ToolCall:
        tool = self.tools.get(tool_use_id)
        if tool is None:
            if agent_id is not None:
                owner: Turn | Subagent = self.agent(agent_id, at_ns, prompt_id=prompt_id)
                turn = owner.turn
            else:
                owner = turn = self.turn_of_prompt(prompt_id, at_ns)
            tool = ToolCall(key=tool_use_id, turn=turn, owner=owner, agent_id=agent_id, name=name)
            tool.touched_ns = self.now_ns
            tool.is_placed = is_placed or prompt_id is not None
            self.tools[tool_use_id] = self.open_tools[tool_use_id] = tool
            if tool.is_placed:
                turn.tool_use_ids.add(tool_use_id)
        return tool

    def match_asks(self) -> None:
        """Give each dialog to the one open call of that agent, name and exact input.

        Hooks tell an input with its defaults filled in, the transcript as the model gave it.
        """
        for ask in list(self.unmatched_asks):
            same = [
                tool
                for tool in self.open_tools.values()
                if (tool.agent_id, tool.name) == (ask.agent_id, ask.name)
                and ask.input in (tool.input, tool.input_of_hooks)
                and tool.asked_at_ns is None
            ]
            if not same:
                continue
            self.unmatched_asks.remove(ask)
            self.asked(same, ask)

    def asked(self, tools: list[ToolCall], ask: ev.PermissionAsked) -> None:
        """A dialog was shown for one of `tools`: more than one, and it is not known for which."""
        for tool in tools:
            tool.asked_at_ns, tool.asked_is_ambiguous = ask.at_ns, len(tools) > 1
        tools[0].turn.permission_waits.append(
            PermissionWait(
                asked_at_ns=ask.at_ns,
                tool_name=ask.name,
                tool_use_id=tools[0].key if len(tools) == 1 else None,
                is_ambiguous=len(tools) > 1,
            )
        )

    def decided(self, tool: ToolCall, answer: ev.PermissionDecided) -> None:
        """Whoever was asked for `tool` has answered."""
        tool.decided_at_ns, tool.decision = answer.at_ns, answer.decision or tool.decision
        for at, wait in enumerate(tool.turn.permission_waits):
            if wait.tool_use_id == tool.key and wait.decision is None:
                waited_ms = (answer.at_ns - wait.asked_at_ns) / 1e6
                tool.turn.permission_waits[at] = replace(
                    wait, decision=answer.decision, waited_ms=waited_ms
                )
