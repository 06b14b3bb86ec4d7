"""How often each test that kills a process is repeated: once in the suite, ADFML_TEST_KILLS times in `make soak`."""

from __future__ import annotations

import os

import pytest


def count_kills(default: int = 1) -> int:
    """ADFML_TEST_KILLS, or the default. Read while tests are collected: they themselves see no ADFML_ settings."""
    return int(os.environ.get("ADFML_TEST_KILLS", default))


def repeat_kills(default: int = 1) -> pytest.MarkDecorator:
    """Runs a test that often; it takes the number of the kill as `kill`."""
    return pytest.mark.parametrize("kill", range(count_kills(default)))
