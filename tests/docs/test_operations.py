"""docs/operations.md says of each error what to do: none is missing, none is there that no longer exists."""

from __future__ import annotations

import re

from resources.help import name_anchor
from tests.docs.error_classes import INTERNAL, ROOT, WITHOUT_ANCHOR, find_error_classes

PAGE = (ROOT / "docs/operations.md").read_text()
ROWS = re.findall(r'^\| <a id="([a-z0-9-]+)"></a>`(\w+)` \| (.+) \| (.+) \|$', PAGE, re.MULTILINE)
CLASSES = find_error_classes()


def test_the_classes_are_found() -> None:
    names = {one.qualified for one in CLASSES}
    assert {"adfml_assets.errors.PastSnapshot", "resources.language_turns.TurnLost"} <= names
    assert set(INTERNAL) | WITHOUT_ANCHOR <= names, "what is listed here as without an anchor exists"


def test_every_error_a_user_can_meet_has_its_row_and_no_row_is_stale() -> None:
    expected = {one.name for one in CLASSES if one.is_documented}
    assert {name for _, name, _, _ in ROWS} == expected


def test_every_other_exception_is_known_to_meet_no_user() -> None:
    others = {one.qualified for one in CLASSES if not one.is_documented and one.qualified not in WITHOUT_ANCHOR}
    assert others == set(INTERNAL), "descend from ResourceError, AdfmlError or CommandFailed, or be in INTERNAL"


def test_a_row_has_the_anchor_that_its_error_names() -> None:
    assert [(anchor, name) for anchor, name, _, _ in ROWS if anchor != name_anchor(name)] == []
    anchors = re.findall(r'<a id="([^"]+)"', PAGE)
    assert len(anchors) == len(set(anchors)) == len(ROWS), "each row is read, and each anchor is there once"


def test_a_row_says_when_and_what_to_do() -> None:
    assert [name for _, name, when, advice in ROWS if len(when) < 20 or not advice.endswith((".", ")"))] == []
