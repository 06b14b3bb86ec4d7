"""What a table's own declaration suggests about its archive: watermarks to follow it by, personal data in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resources.servers.base import Column, TableSchema, WatermarkKind

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_CHANGED = {"modified", "updated", "changed", "modify", "update", "change", "mtime", "lastmod", "touched", "edited"}
_ADDED = {"created", "inserted", "added", "loaded", "logged", "ctime", "create", "insert", "timestamp", "recorded"}

# Words of a column's name, all of which have to be in it. The first that fits names the kind.
_PERSONAL: tuple[tuple[str, tuple[frozenset[str], ...]], ...] = tuple(
    (kind, tuple(frozenset(words.split()) for words in alternatives))
    for kind, alternatives in (
        ("e-mail address", ("email", "mail address", "e mail")),
        ("telephone number", ("phone", "telephone", "mobile", "fax", "msisdn", "cell number")),
        ("date of birth", ("birth", "birthday", "birthdate", "dob")),
        ("identity number", ("ssn", "passport", "social security", "national id", "tax id", "nino", "licence number")),
        ("bank account", ("iban", "bic", "card number", "account number", "pan", "creditcard")),
        ("network address", ("ip address", "ipaddress", "ip", "mac address", "device id")),
        ("person's name", ("first name", "last name", "full name", "surname", "firstname", "lastname", "fullname")),
        ("person's name", ("given name", "family name", "contact name", "middle name", "customer name", "maiden name")),
        ("postal address", ("address", "street", "postcode", "zip", "postal code", "zipcode")),
        ("password or its hash", ("password", "passwd", "pwd")),
        ("position", ("latitude", "longitude", "geolocation")),
        ("health or belief", ("religion", "ethnicity", "diagnosis", "disability")),
        ("sex", ("gender", "sex")),
    )
)


@dataclass(frozen=True)
class WatermarkCandidate:
    """A column that rows could be followed by.

    Attributes:
        column: its name.
        kind: as `watermark_kind` in YAML.
        sees_changes: whether a row that changes gets a new value; otherwise only new rows are seen.
        why: in words.
    """

    column: str
    kind: WatermarkKind
    sees_changes: bool
    why: str


def split_words(name: str) -> list[str]:
    """The words of a column's name, in small letters: `CustomerEMail2`, `customer_e_mail`."""
    return [word.lower() for word in _WORD.findall(name)]


def find_watermarks(table: TableSchema) -> list[WatermarkCandidate]:
    """The columns that a table could be followed by, the best first; by types and names, not by rows."""
    found = []
    for column in table.columns:
        candidate = _judge_watermark(column, table.primary_key)
        if candidate is not None:
            found.append(candidate)
    return sorted(found, key=lambda one: (not one.sees_changes, one.kind != "rowversion", one.kind == "integer"))


def find_personal(table: TableSchema) -> dict[str, str]:
    """The columns whose names look like personal data, and what they look like."""
    found = {column.name: name_personal(column.name) for column in table.columns}
    return {name: kind for name, kind in found.items() if kind is not None}


def name_personal(column: str) -> str | None:
    """What kind of personal data a column's name looks like; None: like none."""
    words = split_words(column)
    known = {*words, *("".join(pair) for pair in pairwise(words))}
    return next((kind for kind, options in _PERSONAL if any(one <= known for one in options)), None)


def _judge_watermark(column: Column, primary_key: tuple[str, ...]) -> WatermarkCandidate | None:
    import pyarrow as pa

    kind, words = column.source_type.lower(), set(split_words(column.name))
    if kind in ("rowversion", "timestamp") and not pa.types.is_temporal(column.arrow_type):
        return WatermarkCandidate(column.name, "rowversion", True, "SQL Server's rowversion: new with every change")
    temporal = pa.types.is_timestamp(column.arrow_type) or (
        pa.types.is_string(column.arrow_type) and kind.startswith("datetime")
    )
    if temporal and words & _CHANGED:
        return WatermarkCandidate(column.name, "datetime", True, "by its name it says when the row was changed")
    if temporal and words & _ADDED:
        return WatermarkCandidate(column.name, "datetime", False, "by its name it says when the row was added")
    integer = pa.types.is_integer(column.arrow_type)
    if integer and primary_key == (column.name,):
        return WatermarkCandidate(
            column.name, "integer", False, "a whole number and the key: new rows have larger ones"
        )
    return None
