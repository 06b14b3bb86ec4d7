"""The defs.yaml of discovered tables, with what speaks for each suggestion as a comment beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adfml_cli.tables import FoundTable

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_RESERVED = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def write_yaml(database: str, found: Sequence[FoundTable], *, hash_personal: bool, concurrency: int = 10) -> str:
    """An `ArchivedDatabase` of tables.

    Args:
        hash_personal: whether columns that look like personal data are hashed; otherwise that is a comment.
    """
    return "\n".join(_write_lines(database, found, hash_personal=hash_personal, concurrency=concurrency)) + "\n"


def quote(text: str) -> str:
    """Text as a YAML scalar: as it is where nothing can mistake it, else in double quotes."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED else json.dumps(text, ensure_ascii=False)


def _write_lines(database: str, found: Sequence[FoundTable], *, hash_personal: bool, concurrency: int) -> Iterator[str]:
    from resources.settings import database_setting

    rows = sum(one.rows or 0 for one in found)
    counted = f", {rows:,} rows" if any(one.rows is not None for one in found) else ""
    yield f"# {len(found)} tables{counted}. Large ones follow a watermark where they have one; others are copied whole."
    yield "type: adfml_assets.components.ArchivedDatabase"
    yield "attributes:"
    yield f"  database: {quote(database)} # its address is in {database_setting(database).name}"
    yield "  mode: full"
    yield f"  concurrency: {concurrency} # tables copied at once"
    yield "  tables:"
    names = _name_assets(found)
    declared = [one for one in found if one.problem is None and names[str(one.name)] is not None]
    for one in declared:
        yield from _write_table(one, names[str(one.name)], hash_personal=hash_personal)
    if not declared:
        yield "    []"
    for one in found:
        if one not in declared:
            why = one.problem or "a schema with a dot in its name cannot be declared"
            yield f"    # - table: {json.dumps(str(one.name))} # {_to_line(why)}"


def _write_table(one: FoundTable, asset_name: str | None, *, hash_personal: bool) -> Iterator[str]:
    assert one.schema is not None  # noqa: S101 - asked for by the caller
    key = f"key {', '.join(one.schema.primary_key)}" if one.schema.primary_key else "no primary key"
    counted = f"{one.rows:,} rows, " if one.rows is not None else ""
    yield f"    - table: {quote(str(one.name))} # {counted}{len(one.schema.columns)} columns, {_to_line(key)}"
    if asset_name:
        yield f"      asset_name: {quote(asset_name)} # another table would have the same"
    best = one.watermark
    if best is not None:
        yield "      mode: incremental # large: only what is new is read"
        yield f"      watermark: {quote(best.column)} # {_to_line(best.why)}"
        if best.kind != "datetime":
            yield f"      watermark_kind: {best.kind}"
        if not best.sees_changes:
            yield "      # Rows that change later are not seen by it: mode: full, where they do."
        if one.without_watermark:
            yield f"      # {one.without_watermark:,} rows have none: they are in no extract."
    elif one.large:
        yield "      # Large, and nothing in it looks like a watermark: it is copied whole every day."
    others = [other.column for other in one.watermarks if other is not best]
    if others:
        yield f"      # {'Also' if best else 'Could be'} followed by: {_to_line(', '.join(others))}"
    if one.personal:
        listed = ", ".join(quote(name) for name in one.personal)
        kinds = ", ".join(dict.fromkeys(one.personal.values()))
        if hash_personal:
            yield f"      hash: [{listed}] # by their names personal data ({kinds}); ADFML_HASH_KEY"
        else:
            yield f"      # By their names personal data ({kinds}):"
            yield f"      # hash: [{listed}] # or leave_out"


def _name_assets(found: Sequence[FoundTable]) -> dict[str, str | None]:
    """`schema.table` -> "" or the asset's name where another table has it already; None: it cannot be declared."""
    from adfml_assets.asset_keys import archive_key

    taken: set[tuple[str, ...]] = set()
    names: dict[str, str | None] = {}
    # A table whose name needs no replacing keeps it.
    for one in sorted(
        found, key=lambda one: archive_key("d", one.name.schema, one.name.table).path[-1] != one.name.table
    ):
        if "." in one.name.schema:
            names[str(one.name)] = None
            continue
        key = archive_key("d", one.name.schema, one.name.table)
        number, path = 1, tuple(key.path)
        while path in taken:
            number += 1
            path = (*key.path[:-1], f"{key.path[-1]}_{number}")
        taken.add(path)
        names[str(one.name)] = path[-1] if number > 1 else ""
    return names


def _to_line(text: str) -> str:
    return " ".join(text.split())
