"""What a batch's tokens cost, and what they would have cost one call at a time."""

from __future__ import annotations

BATCH_SHARE = 0.5
"""A batch's price against the standard price (Microsoft, "Azure OpenAI batch")."""

_MILLION = 1_000_000


def compute_standard_cost(input_tokens: int, output_tokens: int, *, input_price: float, output_price: float) -> float:
    """The cost of tokens at prices of a million each; input from a cache counts as any other."""
    return (input_tokens * input_price + output_tokens * output_price) / _MILLION
