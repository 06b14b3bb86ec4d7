"""The documented types are those the readers use."""

from pathlib import Path

from resources.servers.type_tables import build_document

DOCUMENT = Path(__file__).parents[2] / "docs/types.md"


def test_the_document_is_what_the_readers_do() -> None:
    assert DOCUMENT.read_text() == build_document(), "python -m resources.servers.type_tables > docs/types.md"
