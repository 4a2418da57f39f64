"""The spool read back while it grows, breaks off, is replaced or goes away."""

import fcntl
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_otel.capture.spool import (
    TORN_LINES,
    SpoolRecord,
    delete_if_read,
    read_records,
)


def line(n: int, payload: bytes = b'{"a":1}') -> bytes:
    return b"%d 42 %s\n" % (n, payload)


def record(n: int, payload: bytes = b'{"a":1}') -> SpoolRecord:
    return SpoolRecord(received_at_ns=n, claude_pid=42, payload=payload)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_a_missing_spool_has_no_records(spool: Path) -> None:
    assert read_records(spool, 17) == ([], 0)


def test_a_spool_that_cannot_be_read_has_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path, 17) == ([], 0)


def test_a_torn_last_line_is_read_once_it_is_whole(spool: Path) -> None:
    whole = line(1) + line(2)
    spool.write_bytes(whole[:-4])
    records, offset = read_records(spool)
    assert records == [record(1)]
    assert read_records(spool, offset) == ([], offset)
    spool.write_bytes(whole)
    assert read_records(spool, offset) == ([record(2)], len(whole))


@pytest.mark.parametrize(
    "torn",
    [
        b"17",
        b"17 42",
        b'17 42 {"a":1',
        b'17 42 {"a":{"b":1}',
        b'x 42 {"a":1}',
        b"17 42 [1]",
        b"\xff\0",
    ],
)
def test_a_line_that_is_no_record_is_counted_and_skipped(spool: Path, torn: bytes) -> None:
    spool.write_bytes(line(1) + torn + b"\n" + line(2))
    counts: Counter[str] = Counter()
    records, offset = read_records(spool, counts=counts)
    assert (records, counts) == ([record(1), record(2)], {TORN_LINES: 1})
    assert read_records(spool, offset, counts=counts) == ([], offset)
    assert counts == {TORN_LINES: 1}


def test_a_shorter_file_is_another_file(spool: Path) -> None:
    spool.write_bytes(line(1) + line(2))
    _, offset = read_records(spool)
    spool.write_bytes(line(3))
    assert read_records(spool, offset) == ([record(3)], len(line(3)))


def test_a_file_without_a_line_end_at_the_offset_is_another_file(spool: Path) -> None:
    spool.write_bytes(line(1))
    _, offset = read_records(spool)
    other = line(2, b'{"longer":"than before"}')
    spool.write_bytes(other)
    assert read_records(spool, offset) == ([record(2, b'{"longer":"than before"}')], len(other))


def test_a_record_longer_than_one_read_is_whole(spool: Path) -> None:
    long = json.dumps({"a": "x" * 40_000_000}).encode()
    spool.write_bytes(line(1, long) + line(2))
    first, offset = read_records(spool)
    second, end = read_records(spool, offset)
    assert [*first, *second] == [record(1, long), record(2)]
    assert end == spool.stat().st_size


PAYLOADS = st.lists(st.dictionaries(st.text(), st.text() | st.integers()))


@given(PAYLOADS, st.lists(st.integers(min_value=0, max_value=2000)))
def test_any_way_of_growing_gives_the_same_records(
    payloads: list[dict[str, object]], cuts: list[int]
) -> None:
    encoded = [json.dumps(payload).encode() for payload in payloads]
    whole = b"".join(line(n, payload) for n, payload in enumerate(encoded))
    records: list[SpoolRecord] = []
    offset = 0
    with TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        for cut in [*sorted(cuts), len(whole)]:
            spool.write_bytes(whole[:cut])
            found, offset = read_records(spool, offset)
            records += found
    assert records == [record(n, payload) for n, payload in enumerate(encoded)]


@given(st.binary())
def test_nothing_that_a_spool_may_hold_raises(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        spool.write_bytes(content)
        _, offset = read_records(spool, counts=Counter())
        assert offset == content.rfind(b"\n") + 1


def test_a_spool_is_deleted_only_when_all_of_it_was_read(spool: Path) -> None:
    spool.write_bytes(line(1))
    _, offset = read_records(spool)
    with spool.open("ab") as more:
        more.write(line(2))
    assert not delete_if_read(spool, offset)
    assert spool.read_bytes() == line(1) + line(2)
    assert delete_if_read(spool, spool.stat().st_size)
    assert not spool.exists()
    assert delete_if_read(spool, 0)


def test_deleting_waits_for_the_hook_that_is_writing(spool: Path) -> None:
    spool.write_bytes(line(1))
    with spool.open("ab") as hook:
        fcntl.flock(hook, fcntl.LOCK_EX)
        answers: list[bool] = []
        deleting = Thread(target=lambda: answers.append(delete_if_read(spool, len(line(1)))))
        deleting.start()
        hook.write(line(2))
        hook.flush()
        fcntl.flock(hook, fcntl.LOCK_UN)
    deleting.join()
    assert (answers, spool.read_bytes()) == ([False], line(1) + line(2))
