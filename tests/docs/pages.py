"""The README and the pages in docs, as markdown-it reads them: headings, links, and what is in fences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parent.parent.parent
_ANCHOR = re.compile(r'<a (?:id|name)="([^"]+)"')


@dataclass(frozen=True)
class Fence:
    """A fenced block: what its info says it is, its text, and where it begins."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """One page."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def tokens(self) -> list[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.path.read_text())

    @property
    def fences(self) -> list[Fence]:
        return [
            Fence(self.name, (token.map or [0])[0] + 1, token.info.split()[0] if token.info else "", token.content)
            for token in self.tokens
            if token.type == "fence"
        ]

    @property
    def links(self) -> list[str]:
        """Where links and pictures lead."""
        found = [child.attrs.get("href") or child.attrs.get("src") for child in self._inline()]
        return [str(one) for one in found if one]

    @cached_property
    def anchors(self) -> set[str]:
        """What a link may name after `#`: headings as GitHub names them, and anchors set by hand."""
        seen: Counter[str] = Counter()
        found = set()
        for heading, content in zip(self.tokens, self.tokens[1:], strict=False):
            if heading.type != "heading_open":
                continue
            slug = _slug("".join(c.content for c in content.children or [] if c.type in ("text", "code_inline")))
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        html = [child.content for child in self._inline() if child.type == "html_inline"]
        html += [token.content for token in self.tokens if token.type == "html_block"]
        return found | {anchor for text in html for anchor in _ANCHOR.findall(text)}

    def _inline(self) -> Iterator[Token]:
        for token in self.tokens:
            yield from token.children or []


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


PAGES = [Page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
