"""Turns that sampling left out, in words: for `status` and `flush`."""

from collections.abc import Mapping
from typing import Final

_LEFT_OUT: Final = {
    "sampler": "by the sampler (OTEL_TRACES_SAMPLER, or `sampler` of a configuration file)",
    "caller": "because the caller's trace is not sampled (TRACEPARENT)",
}


def unsampled_texts(turns: Mapping[str, int]) -> list[str]:
    """One text for each who left turns out; `turns` has how many, by the keys of `UnsampledBy`."""
    return [
        f"{count:,} {'turn' if count == 1 else 'turns'} of the last day not sampled, "
        f"{_LEFT_OUT.get(by, by)}"
        for by, count in sorted(turns.items())
    ]
