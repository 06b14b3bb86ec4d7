"""Which columns of its tables each column of a definition is made of: followed through the SQL that it compiles to.

Exact where the SQL can be followed, and nothing where it cannot. Values count, conditions do not: a column is made of
what it is computed from, not of what the rows were filtered or joined by.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adfml_assets.origins import Origin

if TYPE_CHECKING:
    from ibis.expr.types import Table

    from adfml_assets.features.sources import Source
    from adfml_assets.features.statement import Statement

_DIALECT = "duckdb"


def trace_columns(
    sql: str, tables: Mapping[str, Sequence[str]], columns: Sequence[str], constants: Collection[str] = ()
) -> dict[str, list[tuple[str, str]]]:
    """Column of a query -> the (table, column) pairs it is computed from; columns it cannot follow are left out.

    Args:
        sql: DuckDB's.
        tables: the columns of each table that the query reads.
        columns: of the query's result.
        constants: tables that are part of the query itself: what is made of them is made of nothing.
    """
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage

    kinds = {table: dict.fromkeys(names, "unknown") for table, names in tables.items()}
    try:
        nodes: Any = lineage(None, sql, kinds, dialect=_DIALECT, trim_selects=False)
    except (SqlglotError, ValueError, KeyError, AttributeError, RecursionError):
        # Whatever of DuckDB's SQL it does not know: then nothing is known of the columns.
        return {}
    by_name = {name.lower(): node for name, node in nodes.items()}
    found = {}
    for name in columns:
        leaves = _find_leaves(by_name.get(name.lower()), tables)
        if leaves is not None:
            found[name] = sorted(leaf for leaf in leaves if leaf[0] not in constants)
    return found


def trace_statement(statement: Statement, sources: Mapping[str, Source]) -> dict[str, list[Origin]]:
    """The origins of a definition's columns: the archived tables' own."""
    tables = {name: source.schema.names for name, source in sources.items()}
    constants = {name: table.column_names for name, table in statement.constants.items()}
    found = trace_columns(statement.duckdb, {**tables, **constants}, statement.schema.names, constants)
    return name_assets(found, {name: source.manifest.asset for name, source in sources.items()})


def name_assets(found: Mapping[str, Sequence[tuple[str, str]]], assets: Mapping[str, str]) -> dict[str, list[Origin]]:
    """What columns are made of, by asset in place of table. Two tables may be one asset.

    Args:
        assets: table -> asset.
    """
    return {
        name: list(dict.fromkeys((assets[table], column) for table, column in origins))
        for name, origins in found.items()
    }


def trace_expression(expression: Table, tables: Mapping[str, Sequence[str]]) -> dict[str, list[tuple[str, str]]]:
    """As `trace_columns`, for an ibis expression; tables in memory are constants."""
    import ibis.backends.sql.compilers as compilers
    import ibis.expr.operations as ops

    unbound = expression.unbind()
    sql = compilers.duckdb.compiler.to_sqlglot(unbound).sql(dialect=_DIALECT)
    memory = {op.name: list(op.schema.names) for op in unbound.op().find(ops.InMemoryTable)}
    return trace_columns(sql, {**tables, **memory}, list(expression.columns), memory)


def _find_leaves(node: Any, tables: Mapping[str, Sequence[str]]) -> set[tuple[str, str]] | None:
    """The table columns below a node; None where one of them is no column of a known table."""
    from sqlglot import exp

    if node is None:
        return None
    leaves = set()
    for one in node.walk():
        if one.downstream:
            continue
        if isinstance(one.source, exp.Table):
            leaf = _match(one.source.name, exp.to_column(one.name, dialect=_DIALECT).name, tables)
            if leaf is None:
                return None
            leaves.add(leaf)
        elif one.expression.find(exp.Column, exp.TableColumn, exp.Columns):
            return None
    return leaves


def _match(table: str, column: str, tables: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """A table's column under its own name: DuckDB does not tell upper case from lower case."""
    for name, columns in tables.items():
        if name.lower() == table.lower():
            same = [one for one in columns if one.lower() == column.lower()]
            return (name, same[0]) if len(same) == 1 else None
    return None
