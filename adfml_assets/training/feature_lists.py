"""Lists of features: what identifies one, and how two of them differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest

_MOST_LINES = 10
_NONE = "-"


def hash_features(definition_sha256: str, names: Sequence[str], pinned: Mapping[str, Sequence[str]]) -> str:
    """The `features_sha256` that a model is bound to: how features are made, their names in order, their categories.

    Args:
        definition_sha256: the identity of a feature set's definition; '' for columns of a table, which say nothing of
            how they are made.
        names: as the model gets them: category columns expanded, in order.
        pinned: category column -> its categories.
    """
    content = [definition_sha256, list(names), {column: sorted(pinned[column]) for column in sorted(pinned)}]
    return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


def describe_difference(wanted: Sequence[str], found: Sequence[str]) -> str:
    """Two lists of features side by side: position, wanted, found, of the first lines that differ; then the counts.

    Returns:
        Lines of text; '' where the lists are equal.
    """
    pairs = enumerate(zip_longest(wanted, found, fillvalue=_NONE), start=1)
    differing = [(str(position), one, other) for position, (one, other) in pairs if one != other]
    if not differing:
        return ""
    rows = [("position", "wanted", "found"), *differing[:_MOST_LINES]]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"  {row[0]:>{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows]
    if len(differing) > _MOST_LINES:
        lines.append(f"  and {len(differing) - _MOST_LINES} more positions")
    missing = [name for name in wanted if name not in set(found)]
    unwanted = [name for name in found if name not in set(wanted)]
    counts = f"{len(wanted)} wanted, {len(found)} found; {len(missing)} missing, {len(unwanted)} not wanted"
    order = ", the same names in another order" if sorted(wanted) == sorted(found) else ""
    return "\n".join([*lines, f"  {counts}{order}."])
