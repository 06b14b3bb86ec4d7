"""What PostgreSQL's catalogs say of tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.errors import NotFound
from resources.servers.base import Column, TableName, TableSchema
from resources.servers.postgresql_types import Form, find_form

if TYPE_CHECKING:
    import psycopg

    from resources.servers.postgresql_errors import Messages

_LIST = """
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = ANY ({kinds}) AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
_TABLE = """
SELECT c.oid, c.relkind::text, has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT'),
  CASE WHEN c.relkind IN ('r', 'm', 'p')
    THEN (WITH RECURSIVE {tree} SELECT sum(pg_table_size(t.oid))::bigint FROM tree t) END,
  c.relkind = 'r' AND a.amname IS NOT DISTINCT FROM 'heap'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)
    AND current_setting('server_version_num')::int >= 140000,
  row_security_active(c.oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_TREE = """tree AS (
  SELECT {table}::oid AS oid
  UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid)"""
# Each column's type, followed through domains and one array to what its values are made of.
_COLUMNS = """
WITH RECURSIVE step AS (
  SELECT a.attnum, a.atttypid AS typ, a.atttypmod AS modifier, 0 AS depth, false AS is_array,
    a.atttypid AS sent, a.atttypmod AS sent_modifier
  FROM pg_catalog.pg_attribute a WHERE a.attrelid = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT s.attnum,
    CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END,
    CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE s.modifier END,
    s.depth + 1, s.is_array OR t.typtype <> 'd',
    CASE WHEN t.typtype = 'd' AND NOT s.is_array THEN t.typbasetype ELSE s.sent END,
    CASE WHEN t.typtype = 'd' AND NOT s.is_array THEN t.typtypmod ELSE s.sent_modifier END
  FROM step s JOIN pg_catalog.pg_type t ON t.oid = s.typ
  WHERE t.typtype = 'd' OR (t.typcategory = 'A' AND t.typlen = -1 AND t.typelem <> 0 AND NOT s.is_array
    AND t.typname NOT IN ('int2vector', 'oidvector'))
)
SELECT DISTINCT ON (a.attnum) a.attname::text, format_type(a.atttypid, a.atttypmod),
  a.attnotnull AND c.relkind <> 'f' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'n' AND NOT k.convalidated
      AND a.attnum = ANY (k.conkey)),
  t.typname::text, t.typnamespace = 'pg_catalog'::regnamespace, t.typtype = 'e', s.modifier, s.is_array,
  s.sent::bigint, s.sent_modifier
FROM step s JOIN pg_catalog.pg_attribute a ON a.attrelid = %(table)s AND a.attnum = s.attnum
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_type t ON t.oid = s.typ
ORDER BY a.attnum, s.depth DESC
"""
_KEY = """
SELECT a.attname::text
FROM pg_catalog.pg_index i CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = %s AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place
"""
# TRUNCATE and rewriting ALTERs do not wait for snapshots: older ones see the table empty from then on.
_REWRITTEN = """
WITH RECURSIVE {tree}
SELECT EXISTS (SELECT FROM tree LEFT JOIN pg_catalog.pg_class c USING (oid)
  WHERE c.oid IS NULL OR (c.relkind IN ('r', 'm') AND pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode))
"""
_PAGES = (
    "SELECT (pg_relation_size(%s::oid) + block - 1) / block FROM (SELECT current_setting('block_size')::int) s(block)"
)


@dataclass(frozen=True)
class PgColumn:
    """A column as it is read: its form, and the type and modifier with which the server sends it."""

    name: str
    source_type: str
    form: Form
    nullable: bool
    sent_type: int
    sent_modifier: int


@dataclass(frozen=True)
class PgTable:
    """A table as the catalogs have it; `can_split`: its rows can be read by ranges of pages."""

    oid: int
    schema: TableSchema
    columns: dict[str, PgColumn]
    can_split: bool


def list_relations(connection: psycopg.Connection[Any], kinds: str = "rp") -> list[TableName]:
    """Relations of the kinds (`pg_class.relkind`), no partitions, none of the system's, none temporary; sorted."""
    rows = connection.execute(_LIST.format(kinds=f"'{{{','.join(kinds)}}}'::\"char\"[]")).fetchall()
    return sorted(TableName(schema, table) for schema, table in rows)


def describe_table(connection: psycopg.Connection[Any], name: TableName, messages: Messages) -> PgTable:
    """A table's declaration.

    Raises:
        NotFound, NotPermitted.
    """
    found = connection.execute(_TABLE.format(tree=_TREE.format(table="c.oid")), (name.schema, name.table)).fetchone()
    if found is None:
        existing = [str(other) for other in list_relations(connection, "rpvmf")]
        raise NotFound("table", str(name), messages.where, existing)
    oid, _, permitted, size, can_split, filtered = found
    if not permitted:
        raise messages.forbidden(name, "permission denied")
    if filtered:
        raise messages.forbidden(name, "row-level security hides rows from this login")
    columns = [_build_column(*row) for row in connection.execute(_COLUMNS, {"table": oid})]
    key = tuple(row[0] for row in connection.execute(_KEY, (oid,)))
    described = tuple(Column(c.name, c.source_type, c.form.arrow_type, c.nullable, c.form.note) for c in columns)
    return PgTable(oid, TableSchema(name, described, key, size), {column.name: column for column in columns}, can_split)


def _build_column(
    name: str,
    declared: str,
    filled: bool,
    type_name: str,
    catalog: bool,
    enum: bool,
    modifier: int,
    array: bool,
    sent_type: int,
    sent_modifier: int,
) -> PgColumn:
    form = find_form(type_name, catalog=catalog, enum=enum, modifier=modifier, array=array)
    return PgColumn(name, declared, form, not filled, sent_type, sent_modifier)


def is_rewritten(connection: psycopg.Connection[Any], oid: int) -> bool:
    """Whether a table was dropped, truncated or rewritten since the transaction's snapshot was taken.

    Only of use when the transaction holds a lock on it.
    """
    row = connection.execute(_REWRITTEN.format(tree=_TREE.format(table=int(oid)))).fetchone()
    return bool(row and row[0])


def count_pages(connection: psycopg.Connection[Any], oid: int) -> int:
    """The pages of an ordinary table now."""
    row = connection.execute(_PAGES, (oid,)).fetchone()
    return int(row[0]) if row else 0
