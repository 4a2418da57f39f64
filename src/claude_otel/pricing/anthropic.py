"""What a call to a Claude model cost, by the list prices of its day.

The prices are `genai-prices`' own dated tables, bundled with that package: nothing is
fetched. No price ever stands here, and no token is counted here (`model/usage.py`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from claude_otel.model.usage import Usage

# Anthropic adds a tenth to every token (not to searches) for inference kept in the US; the
# library has no such figure. The same factor is in the CLI (2.1.330).
_US_INFERENCE = Decimal("1.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """US dollars. Web searches are in `total_usd` only: they are neither input nor output."""

    input_usd: float  # uncached input, cache reads and cache writes
    output_usd: float
    total_usd: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            input_usd=self.input_usd + other.input_usd,
            output_usd=self.output_usd + other.output_usd,
            total_usd=self.total_usd + other.total_usd,
        )


def cost_of(
    model: str,
    usage: Usage,
    at_ns: int,
    *,
    speed: str | None = None,
    inference_geo: str | None = None,
) -> Cost | None:
    """Return what `usage` cost on `model` at `at_ns` (Unix nanoseconds), or None if unknown.

    `model` is the model that answered, in Anthropic's or Bedrock's spelling. Give it one call
    at a time: some models charge a long prompt at a higher rate. `speed` and `inference_geo`
    are the response's own `usage.speed` and `usage.inference_geo`. Never raises.
    """
    # 0.25 s and 30 MB: only a process that prices pays for it.
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    name = model.removesuffix("[1m]")  # Claude Code's own mark for the long context window
    try:
        price = calc_price(
            PricedUsage(
                input_tokens=usage.input_tokens,
                cache_read_tokens=usage.cache_read_input_tokens,
                cache_write_tokens=usage.cache_write_input_tokens,
                cache_write_1h_tokens=usage.cache_write_1h_input_tokens,
                output_tokens=usage.output_tokens,
                web_searches=usage.web_search_requests,
            ),
            name,
            provider_id="aws" if "anthropic." in name else "anthropic",
            genai_request_timestamp=datetime.fromtimestamp(at_ns / 1e9, tz=UTC),
            price_context={"speed": "fast"} if speed == "fast" else None,
        )
    except (LookupError, ValueError, OverflowError, OSError):
        # No such model, or figures that no call can have: a negative count, the year 10000.
        return None
    searches_usd = price.total_price - price.input_price - price.output_price
    factor = _US_INFERENCE if inference_geo == "us" else Decimal(1)
    input_usd, output_usd = price.input_price * factor, price.output_price * factor
    return Cost(
        input_usd=float(input_usd),
        output_usd=float(output_usd),
        total_usd=float(input_usd + output_usd + searches_usd),
    )
