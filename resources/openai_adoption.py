"""Whether a batch that somebody else made asks what a request would have asked: by its file, byte by byte."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from resources.openai_settling import AnswersGone

if TYPE_CHECKING:
    from openai.types import Batch

    from resources.lake import Lake
    from resources.openai_account import OpenAIAccount

_BLOCK = 1 << 20


def compare_file(lake: Lake, account: OpenAIAccount, batch: Batch, path: str) -> list[str]:
    """What about a batch is not as requested, a sentence without its end each.

    Args:
        path: the requests' file in the lake.

    Raises:
        Unreachable, Refused: the service's word, or the lake's.
    """
    ours = hashlib.sha256()
    with lake.local_copy(path) as local, local.open("rb") as file:
        while block := file.read(_BLOCK):
            ours.update(block)
    theirs = hashlib.sha256()
    try:
        for block in account.download(batch.input_file_id):
            theirs.update(block)
    except AnswersGone:
        return [f"its file {batch.input_file_id} is gone, so that nobody can tell what it asks"]
    if theirs.digest() != ours.digest():
        return [f"its file {batch.input_file_id} does not ask what the partition would ask: its bytes are others"]
    return []
