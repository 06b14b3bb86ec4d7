"""A definition's tree as Spark's SQL, with DuckDB's meaning where the two differ in values.

- `/` is a division of floats: Spark would divide decimals with few digits.
- A division by zero, and its remainder, are NULL: Spark would raise.
- An average of decimals is a float: Spark would round it to four digits more than the decimals have.

What stays different: a fraction cast to an integer is rounded by DuckDB and cut by Spark. Say `round` or `floor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot.exp import Expression


def to_spark_sql(tree: Expression) -> str:
    """The text of a query for Spark and Databricks."""
    from ibis.backends.sql.dialects import PySpark

    return tree.copy().transform(_align).sql(dialect=PySpark, pretty=True, comments=False)


def _align(node: Expression) -> Expression:
    from sqlglot import exp

    if isinstance(node, exp.Div):
        return exp.func("TRY_DIVIDE", _to_float(node.this), _to_float(node.expression))
    if isinstance(node, exp.IntDiv | exp.Mod):
        node.set("expression", exp.func("NULLIF", node.expression, exp.Literal.number(0)))
    if isinstance(node, exp.Avg):
        node.set("this", _to_float(node.this))
    if isinstance(node, exp.Interval) and node.this is not None:
        node.set("this", node.this.unnest())
    return node


def _to_float(node: Expression) -> Expression:
    from sqlglot import exp

    if isinstance(node, exp.Distinct):
        node.set("expressions", [_to_float(one) for one in node.expressions])
        return node
    return exp.cast(node.unnest(), exp.DataType.Type.DOUBLE)
