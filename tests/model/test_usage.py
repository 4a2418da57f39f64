"""What counts as an input token, and how calls add up."""

from claude_otel.model.usage import Usage


def test_input_is_uncached_plus_cache_read_plus_cache_write() -> None:
    usage = Usage(
        uncached_input_tokens=1,
        cache_read_input_tokens=20,
        cache_write_5m_input_tokens=300,
        cache_write_1h_input_tokens=4000,
        output_tokens=50000,
    )
    assert usage.cache_write_input_tokens == 4300
    assert usage.input_tokens == 4321


def test_calls_add_up_field_by_field() -> None:
    one = Usage(
        uncached_input_tokens=1,
        cache_read_input_tokens=2,
        cache_write_5m_input_tokens=3,
        cache_write_1h_input_tokens=4,
        output_tokens=5,
        thinking_tokens=6,
        web_search_requests=7,
        web_fetch_requests=8,
    )
    assert one + one == Usage(
        uncached_input_tokens=2,
        cache_read_input_tokens=4,
        cache_write_5m_input_tokens=6,
        cache_write_1h_input_tokens=8,
        output_tokens=10,
        thinking_tokens=12,
        web_search_requests=14,
        web_fetch_requests=16,
    )


def test_thinking_that_nobody_stated_stays_unknown() -> None:
    assert (Usage() + Usage()).thinking_tokens is None
    assert (Usage() + Usage(thinking_tokens=3)).thinking_tokens == 3
    assert (Usage(thinking_tokens=3) + Usage()).thinking_tokens == 3
