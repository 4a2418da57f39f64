"""Whole lines out of a file that somebody is still writing."""

import pytest

from claude_otel.sources.lines import LineBuffer


def test_a_torn_last_line_is_read_once_it_is_whole():
    lines = LineBuffer()
    assert lines.feed(b'{"a":1}\n{"b"') == [b'{"a":1}']
    assert lines.feed(b":2") == []
    assert lines.feed(b"}\n") == [b'{"b":2}']


def test_consumed_is_where_the_next_reader_begins():
    lines = LineBuffer(offset=100)
    lines.feed(b"one\ntwo\nthr")
    assert lines.consumed == 108


def test_an_end_without_a_line_break_gives_the_rest_once():
    lines = LineBuffer()
    lines.feed(b"one\ntwo")
    assert lines.end() == [b"two"]
    assert lines.end() == []
    assert lines.consumed == 7


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_character_may_be_torn_in_the_middle(size: int):
    content = '{"a":"ü€🙂"}\n'.encode()
    lines, told = LineBuffer(), []
    for begin in range(0, len(content), size):
        told += lines.feed(content[begin : begin + size])
    assert told == [content[:-1]]
