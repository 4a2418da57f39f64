"""Whole lines out of a file that somebody is still writing."""

from __future__ import annotations


class LineBuffer:
    """Bytes in, in pieces of any size; whole lines out, each exactly once.

    `consumed` is the offset after the last whole line: where a reader that lost
    its memory begins again.
    """

    def __init__(self, offset: int = 0) -> None:
        self.consumed = offset
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.consumed += sum(len(line) + 1 for line in lines)
        return lines

    def end(self) -> list[bytes]:
        """The last line, if its writer never ended it."""
        rest, self._rest = self._rest, b""
        self.consumed += len(rest)
        return [rest] if rest else []
