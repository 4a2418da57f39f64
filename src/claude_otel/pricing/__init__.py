"""WHAT IT COST: a thin face over a price library.

An unknown model has no cost; it is never zero.
"""

from claude_otel.pricing.anthropic import Cost, cost_of

__all__ = ["Cost", "cost_of"]
