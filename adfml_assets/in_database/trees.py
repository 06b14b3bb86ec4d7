"""Trees as nested CASE, and the sum of many of them.

A branch is one CASE in another, which is twice as fast as one condition a leaf, but databases limit how deep CASE may
lie in CASE. So of two branches the one that needs more depth goes to ELSE, where the next WHEN of the same CASE
continues it: a tree of 15 leaves then needs 4 levels at most, whatever its shape. What is still too deep is written as
one WHEN a leaf with all conditions on the way to it.

NULL is never TRUE in a comparison, so rows with a missing value go to ELSE unless the condition asks for NULL too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from adfml_assets.in_database.columns import Query
from adfml_assets.in_database.sql import Name, Piece, Sql, add_up, build, build_case

if TYPE_CHECKING:
    import numpy as np

NESTING = 8
"""CASE in CASE at most: T-SQL stops at 10, and the stack of SQLite's parser holds 100 words."""

_GROUP_LEAVES = 5_000
_GROUP_TREES = 100


@dataclass(frozen=True)
class Tree:
    """A binary tree: node 0 is the root, each entry of a sequence is a node.

    Attributes:
        left, right: the children; a leaf is its own left child.
        feature: the column that is compared, as a position among the model's columns.
        threshold: a row goes left where the column is not larger; infinity: wherever it is not missing.
        missing_left: rows without a value go left.
        value: of a leaf.
    """

    left: Sequence[int]
    right: Sequence[int]
    feature: Sequence[int]
    threshold: Sequence[float]
    missing_left: Sequence[bool]
    value: Sequence[float]

    def is_leaf(self, node: int) -> bool:
        """Whether a node has no children."""
        return self.left[node] == node

    @cached_property
    def leaves(self) -> int:
        """How many leaves it has."""
        return sum(self.is_leaf(node) for node in range(len(self.left)))

    @cached_property
    def depths(self) -> list[int]:
        """How deep CASE in CASE each node needs at least."""
        found = [0] * len(self.left)
        for node in reversed(range(len(self.left))):  # children come after their parents
            if not self.is_leaf(node):
                left, right = found[self.left[node]], found[self.right[node]]
                found[node] = max(left, right, min(left, right) + 1)
        return found


def round_down_to_float32(thresholds: np.ndarray) -> np.ndarray:
    """Thresholds for float64 values that decide as scikit-learn does, which rounds the values to float32 first.

    Returns:
        For each threshold the largest float64 that, as a float32, is not larger than it: the middle between two
        float32 if it is rounded down, or the float64 below.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        below = thresholds.astype(np.float32)
        below = np.where(below > thresholds, np.nextafter(below, np.float32(-np.inf)), below)
        above = np.nextafter(below, np.float32(np.inf)).astype(np.float64)
        # What would come after the largest float32 rounds to infinity, and such a row is refused.
        above = np.where(np.isinf(above), 2.0**128, above)
        middle = (below.astype(np.float64) + above) / 2
        return np.where(middle.astype(np.float32) > below, np.nextafter(middle, -np.inf), middle)


def write_tree(tree: Tree, columns: Sequence[Name], nesting: int) -> Sql:
    """The value of the leaf a row comes to.

    Args:
        columns: the model's columns.
        nesting: CASE in CASE at most, at least 1.
    """
    whens, otherwise = _write_branch(tree, columns, 0, nesting)
    return build_case(whens, otherwise) if whens else build(otherwise)


def add_trees(
    query: Query, trees: Sequence[Tree], columns: Sequence[Name], start: float, nesting: int = NESTING
) -> Sql:
    """The sum of a number and of what trees say, in the order of the trees.

    Trees are added up in groups, a column of the query for each: SQL Server does not take more than 65,535 columns and
    values in an expression.
    """
    groups: list[list[Piece]] = [[start]]
    leaves = 0
    for tree in trees:
        if len(groups[-1]) > _GROUP_TREES or (leaves and leaves + tree.leaves > _GROUP_LEAVES):
            groups.append([])
            leaves = 0
        groups[-1].append(write_tree(tree, columns, nesting))
        leaves += tree.leaves
    return add_up([query.define(add_up(group)) for group in groups])


Whens = list[tuple[Piece, Piece]]


def _write_branch(tree: Tree, columns: Sequence[Name], node: int, nesting: int) -> tuple[Whens, Piece]:
    """The WHENs of a branch and its ELSE."""
    whens: Whens = []
    while not tree.is_leaf(node):
        left, right = tree.left[node], tree.right[node]
        if tree.threshold[node] == math.inf and tree.missing_left[node]:
            node = left
            continue
        goes_left = _choose_then(tree, node, nesting)
        condition = _write_condition(tree, columns[tree.feature[node]], node, goes_left)
        then, node = (left, right) if goes_left else (right, left)
        if tree.depths[then] < nesting or tree.is_leaf(then):
            inner, otherwise = _write_branch(tree, columns, then, nesting - 1)
            whens.append((condition, build_case(inner, otherwise) if inner else otherwise))
        else:
            inner, otherwise = _write_branch(tree, columns, then, nesting)
            whens += [(build("(", condition, ") AND (", also, ")"), value) for also, value in inner]
            whens.append((condition, otherwise))
    return whens, tree.value[node]


def _choose_then(tree: Tree, node: int, nesting: int) -> bool:
    """Whether the left branch stands at THEN. The cheaper condition decides where both fit."""
    left, right = tree.depths[tree.left[node]], tree.depths[tree.right[node]]
    if left < nesting and right < nesting:
        return not tree.missing_left[node]
    return left < right or (left == right and not tree.missing_left[node])


def _write_condition(tree: Tree, column: Name, node: int, goes_left: bool) -> Sql:
    threshold, missing_left = tree.threshold[node], tree.missing_left[node]
    if threshold == math.inf:
        return build(column, " IS NOT NULL" if goes_left else " IS NULL")
    comparison = build(column, " <= " if goes_left else " > ", threshold)
    return build(comparison, " OR ", column, " IS NULL") if goes_left == missing_left else comparison
