"""What the Azure OpenAI service of the local cloud has deployed, and the limits it holds requests to.

The limits are those of Microsoft's "Azure OpenAI batch" and "Quotas and limits" pages.
"""

from __future__ import annotations

import hashlib

DEPLOYMENTS = {
    "gpt-4o": "gpt-4o-2024-11-20",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
}
"""The deployments by name, each with the model version its answers name. All of them answer alike."""

MAX_FILE_BYTES = 200 * 1024 * 1024
MAX_REQUESTS = 100_000
MAX_FILES = 500
MAX_FILES_WITH_EXPIRY = 10_000
MIN_EXPIRY_SECONDS = 1_209_600
MAX_EXPIRY_SECONDS = 2_592_000
WINDOW_SECONDS = 24 * 3600
MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
MAX_CUSTOM_ID = 512
CHARACTERS_PER_TOKEN = 4
"""The rule tokens are counted by: a token is four characters, rounded up; four bytes where a whole file is judged."""


def count_tokens(characters: int) -> int:
    """The tokens of a text of so many characters."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def normalise_url(url: str) -> str:
    """An endpoint without its version: the service takes ``/chat/completions`` and ``/v1/chat/completions``."""
    return url.removeprefix("/v1")


def digest(*parts: str) -> str:
    """A name of 32 hexadecimal digits that always comes out the same for the same parts."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def fraction(*parts: str) -> float:
    """A number in [0, 1) that always comes out the same for the same parts."""
    return int(digest(*parts)[:13], 16) / 16**13
