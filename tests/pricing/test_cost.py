"""What a call cost, against the CLI's own dollars.

Every CLI figure here is `cost-state.modelUsage[model].costUSD` as Claude Code 2.1.330 wrote it
after one session against a loopback API that answered with exactly that usage (2026-11-23).
"""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from claude_otel.model.usage import Usage
from claude_otel.pricing import Cost, cost_of

RECORDED_AT_NS = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("model", "usage", "facts", "cli_usd"),
    [
        pytest.param(
            "claude-opus-5-5",
            Usage(
                uncached_input_tokens=200,
                cache_read_input_tokens=2000,
                cache_write_5m_input_tokens=100,
                output_tokens=40,
            ),
            {},
            0.0025,
            id="two calls whose cache writes state no lifetime",
        ),
        pytest.param(
            "claude-opus-5-5",
            Usage(cache_write_5m_input_tokens=1000),
            {},
            0.005,
            id="only cache writes, without their lifetime: the CLI takes the 5 minute price",
        ),
        pytest.param(
            "claude-opus-5-5",
            Usage(
                uncached_input_tokens=1000,
                cache_read_input_tokens=10000,
                cache_write_5m_input_tokens=1000,
                cache_write_1h_input_tokens=2000,
                output_tokens=500,
            ),
            {},
            0.037000000000000005,
            id="cache writes of both lifetimes",
        ),
        pytest.param(
            "claude-sonnet-5-5",
            Usage(
                uncached_input_tokens=1000,
                output_tokens=10,
                web_search_requests=3,
                web_fetch_requests=2,
            ),
            {},
            0.0321,
            id="web searches are one cent each, fetches are free",
        ),
        pytest.param(
            "claude-opus-5-5",
            Usage(uncached_input_tokens=1000, output_tokens=10, web_search_requests=1),
            {"speed": "fast"},
            0.0184,
            id="fast mode doubles the tokens",
        ),
        pytest.param(
            "claude-opus-5-5",
            Usage(uncached_input_tokens=1000, output_tokens=10, web_search_requests=1),
            {"inference_geo": "us"},
            0.014620000000000001,
            id="inference kept in the US adds a tenth to tokens, not to searches",
        ),
        pytest.param(
            "claude-haiku-5-5",
            Usage(uncached_input_tokens=150000, cache_read_input_tokens=1000, output_tokens=1000),
            {},
            0.07755,
            id="a long prompt at the higher rate",
        ),
    ],
)
def test_a_call_costs_what_the_cli_says_it_cost(
    model: str, usage: Usage, facts: dict[str, str], cli_usd: float
) -> None:
    cost = cost_of(model, usage, RECORDED_AT_NS, **facts)
    assert cost is not None
    assert cost.total_usd == pytest.approx(cli_usd, abs=1e-12)


def test_input_holds_the_cache_and_searches_are_only_in_the_total() -> None:
    usage = Usage(
        uncached_input_tokens=1_000_000,
        cache_read_input_tokens=1_000_000,
        cache_write_5m_input_tokens=1_000_000,
        cache_write_1h_input_tokens=1_000_000,
        output_tokens=1_000_000,
        web_search_requests=1,
    )
    assert cost_of("claude-opus-5-5", usage, RECORDED_AT_NS) == Cost(
        input_usd=4 + 0.2 + 5 + 8, output_usd=20.0, total_usd=37.21
    )


@pytest.mark.parametrize("model", ["claude-nonesuch-9", "<synthetic>", "gpt-5", "", "opus"])
def test_an_unknown_model_has_no_cost(model: str) -> None:
    assert cost_of(model, Usage(uncached_input_tokens=1000), RECORDED_AT_NS) is None


def test_a_known_model_that_used_nothing_costs_nothing() -> None:
    nothing = Cost(input_usd=0.0, output_usd=0.0, total_usd=0.0)
    assert cost_of("claude-opus-5-5", Usage(), RECORDED_AT_NS) == nothing


def test_the_mark_of_the_long_context_window_is_not_part_of_the_model() -> None:
    usage = Usage(uncached_input_tokens=1000, output_tokens=10)
    marked = cost_of("claude-opus-5-5[1m]", usage, RECORDED_AT_NS)
    assert marked is not None
    assert marked == cost_of("claude-opus-5-5", usage, RECORDED_AT_NS)


def test_a_bedrock_model_has_bedrocks_price() -> None:
    cost = cost_of(
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        Usage(uncached_input_tokens=1_000_000, output_tokens=1_000_000),
        RECORDED_AT_NS,
    )
    # A tenth above Anthropic's own 3 and 15 dollars: the price of a regional profile.
    assert cost is not None
    assert (cost.input_usd, cost.output_usd) == (3.3, 16.5)


def test_a_price_is_that_of_its_day() -> None:
    # Long prompts on Opus 4.6 lost their surcharge on 2026-03-13.
    usage = Usage(uncached_input_tokens=300_000)
    before = cost_of(
        "claude-opus-4-6",
        usage,
        int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 10**9,
    )
    after = cost_of("claude-opus-4-6", usage, RECORDED_AT_NS)
    assert before is not None
    assert after is not None
    assert (before.input_usd, after.input_usd) == (3.0, 1.5)


@pytest.mark.parametrize(
    ("usage", "at_ns"),
    [
        (Usage(uncached_input_tokens=-1), RECORDED_AT_NS),
        (Usage(uncached_input_tokens=1), 10**30),
    ],
)
def test_figures_that_no_call_can_have_give_no_cost(usage: Usage, at_ns: int) -> None:
    assert cost_of("claude-opus-5-5", usage, at_ns) is None


def test_costs_add_up() -> None:
    one = Cost(input_usd=0.25, output_usd=0.5, total_usd=1.0)
    assert one + one == Cost(input_usd=0.5, output_usd=1.0, total_usd=2.0)


def test_pricing_opens_no_socket_starts_no_thread_and_costs_nothing_to_import() -> None:
    program = """
import sys

used = []
sys.addaudithook(lambda name, args: used.append(name) if name.startswith("socket.") else None)
from claude_otel.model.usage import Usage
from claude_otel.pricing import cost_of

assert "genai_prices" not in sys.modules
assert cost_of("claude-opus-5-5", Usage(output_tokens=1), 1795417722774000000) is not None

import threading

# Importing a TLS library may ask the machine for its own name or for IPv6; nobody is called.
print([name for name in used if name in ("socket.connect", "socket.getaddrinfo", "socket.sendto")])
print(len(threading.enumerate()))
"""
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (finished.stdout, finished.stderr) == ("[]\n1\n", "")
