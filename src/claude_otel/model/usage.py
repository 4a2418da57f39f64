"""Tokens of one model call, as the provider counts them, and their sums.

What counts as an input token is decided here and nowhere else. Raw dictionaries
never come in: `sources/` parses them. Money is in `pricing/`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one model call, or their sum over several.

    The four input kinds are disjoint. When a provider states cache writes without
    their lifetimes, `sources/` puts all of them into `cache_write_5m_input_tokens`.
    """

    uncached_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_5m_input_tokens: int = 0
    cache_write_1h_input_tokens: int = 0
    output_tokens: int = 0  # includes thinking
    thinking_tokens: int | None = None
    web_search_requests: int = 0
    web_fetch_requests: int = 0

    @property
    def cache_write_input_tokens(self) -> int:
        """Cache writes of both lifetimes."""
        return self.cache_write_5m_input_tokens + self.cache_write_1h_input_tokens

    @property
    def input_tokens(self) -> int:
        """All that was read as input: uncached, cache read and cache write."""
        return (
            self.uncached_input_tokens
            + self.cache_read_input_tokens
            + self.cache_write_input_tokens
        )

    def __add__(self, other: "Usage") -> "Usage":
        """Sum field by field; thinking stays None only while no part stated it."""
        return Usage(
            uncached_input_tokens=self.uncached_input_tokens + other.uncached_input_tokens,
            cache_read_input_tokens=self.cache_read_input_tokens + other.cache_read_input_tokens,
            cache_write_5m_input_tokens=self.cache_write_5m_input_tokens
            + other.cache_write_5m_input_tokens,
            cache_write_1h_input_tokens=self.cache_write_1h_input_tokens
            + other.cache_write_1h_input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            thinking_tokens=_sum_of_known(self.thinking_tokens, other.thinking_tokens),
            web_search_requests=self.web_search_requests + other.web_search_requests,
            web_fetch_requests=self.web_fetch_requests + other.web_fetch_requests,
        )

    def __sub__(self, other: "Usage") -> "Usage":
        """What `other` leaves over, field by field; cache writes may change their lifetime."""
        return Usage(
            uncached_input_tokens=self.uncached_input_tokens - other.uncached_input_tokens,
            cache_read_input_tokens=self.cache_read_input_tokens - other.cache_read_input_tokens,
            cache_write_5m_input_tokens=self.cache_write_input_tokens
            - other.cache_write_input_tokens,
            output_tokens=self.output_tokens - other.output_tokens,
        )


def _sum_of_known(one: int | None, other: int | None) -> int | None:
    if one is None:
        return other
    return one if other is None else one + other
