"""What was ordered to happen to a batch: the ``openai.*`` behaviours among the faults, and which rows they hit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from local_cloud.faults import FaultBox
from local_cloud.openai_limits import fraction

ROW_BEHAVIOURS = ("row_errors", "content_filter", "refusal", "invalid_answers")
"""Behaviours that hit single rows; a row two of them choose gets the first."""

_BATCH_BEHAVIOURS = ("expire", "cancel", "fail", "slow", "hold")


@dataclass(frozen=True)
class RowOrder:
    """A share of the rows to hit, and whether a row is hit again in a later batch."""

    share: float
    again: bool


@dataclass(frozen=True)
class Orders:
    """What happens to one batch. A share is a number in [0, 1].

    A batch takes up one of each behaviour in force when it is created (one of its ``times``), and keeps it over a
    restart of the server, ``hold`` excepted. The behaviours, with their ``value``:

    - ``openai.quota``: without a value, POST batches is refused with 400 ``token_limit_exceeded``; with one, that
      many tokens are the quota of enqueued tokens until the faults are cleared, and what surpasses it is refused.
    - ``openai.quota_at_run``: the same, but the batch is created and then fails with ``token_limit_exceeded``.
    - ``openai.expire``: the share that is answered before the batch expires (0 without a value). The other rows are
      in the error file with the error ``batch_expired``, as OpenAI documents.
    - ``openai.cancel``: the share that is answered before somebody cancels the batch in the portal. The other rows
      are in neither file.
    - ``openai.row_errors``: the share of rows that end in the error file: 429, 500 or 503, or an error without a
      response.
    - ``openai.content_filter``: the share of rows that are filtered, half of them with 400 ``content_filter`` in the
      error file (the prompt), half with finish_reason ``content_filter`` in the output file (the answer).
    - ``openai.refusal``: the share of rows whose message is a refusal.
    - ``openai.invalid_answers``: the share of rows whose answer does not meet its schema, half of them cut off with
      finish_reason ``length``.
    - ``openai.fail``: the batch fails with ``server_error``.
    - ``openai.slow``: the seconds it stays in_progress before it is answered (1 without a value).
    - ``openai.hold``: it stays in_progress until the faults are cleared or the server is restarted; with a share as
      value, so much is answered already and is kept if the batch is cancelled.

    The four behaviours of rows: ordered a number of times, they hit exactly the share, rounded up, of the rows that
    no earlier batch has processed, those with the smallest hash of their custom_id; a row tried again in a later
    batch is never hit again. Ordered with ``times`` null, they hit every row whose hash is below the share, in every
    batch: such a row never succeeds.
    """

    expire: float | None = None
    cancel: float | None = None
    fail: bool = False
    slow: float = 0.0
    hold: float | None = None
    rows: dict[str, RowOrder] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As kept in the database."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Self:
        """As it was kept."""
        rows = {name: RowOrder(**order) for name, order in kept["rows"].items()}
        return cls(**{**kept, "rows": rows})


def take_orders(faults: FaultBox, method: str, path: str) -> Orders:
    """What is to happen to a batch that is being created, each behaviour used up by one."""
    taken = {name: faults.take_behaviour(f"openai.{name}") for name in (*_BATCH_BEHAVIOURS, *ROW_BEHAVIOURS)}
    values = {name: fault.value for name, fault in taken.items() if fault is not None}
    held = "hold" in values or faults.take(("hold",), method, path) is not None
    return Orders(
        expire=_share(values["expire"], 0.0) if "expire" in values else None,
        cancel=_share(values["cancel"], 0.0) if "cancel" in values else None,
        fail="fail" in values,
        slow=(1.0 if values["slow"] is None else values["slow"]) if "slow" in values else 0.0,
        hold=_share(values.get("hold"), 0.0) if held else None,
        rows={
            name: RowOrder(_share(fault.value, 1.0), fault.times is None)
            for name in ROW_BEHAVIOURS
            if (fault := taken[name]) is not None
        },
    )


def exceeds_quota(faults: FaultBox, name: str, count_enqueued: Callable[[], int]) -> bool:
    """Whether the enqueued tokens are too many for the behaviour ``openai.quota`` or ``openai.quota_at_run``."""
    wanted = f"openai.{name}"
    limits = [
        fault.value
        for fault in faults.faults()
        if fault.kind == "behaviour" and fault.name == wanted and fault.value is not None
    ]
    # A limit is a condition that lasts: it is looked at, not used up.
    return count_enqueued() > min(limits) if limits else faults.take_behaviour(wanted) is not None


def choose_rows(name: str, order: RowOrder, custom_ids: Sequence[str], fresh: set[str]) -> set[str]:
    """The rows of a batch that a behaviour hits.

    Args:
        name: The behaviour, one of `ROW_BEHAVIOURS`.
        order: How many, and whether again.
        custom_ids: All rows of the batch.
        fresh: Those that no earlier batch has processed.
    """
    if order.again:
        return {custom_id for custom_id in custom_ids if fraction(name, custom_id) < order.share}
    candidates = sorted((fraction(name, custom_id), custom_id) for custom_id in custom_ids if custom_id in fresh)
    return {custom_id for _, custom_id in candidates[: _round_up(order.share * len(candidates))]}


def _share(value: float | None, default: float) -> float:
    return default if value is None else min(max(value, 0.0), 1.0)


def share_of(share: float, rows: int) -> int:
    """A share of so many rows, rounded down."""
    return int(share * rows + 1e-9)


def _round_up(number: float) -> int:
    # 0.07 * 100 is 7.000000000000001, which is 7.
    return -int(-(number - 1e-9) // 1) if number > 0 else 0
