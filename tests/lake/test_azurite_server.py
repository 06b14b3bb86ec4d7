"""The emulator of the tests ends with them, however they end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests import azurite_server

HOLDER = """
import time
from pathlib import Path
from tests.azurite_server import run_azurite

with run_azurite() as server:
    print(server.process.pid, flush=True)
    time.sleep(100)
"""


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 15
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, f"process {pid} is still there"
        time.sleep(0.05)


def test_it_is_gone_after_its_block() -> None:
    with azurite_server.run_azurite() as server:
        assert server.process.poll() is None
    assert server.process.poll() is not None
    assert not psutil.pid_exists(server.process.pid)


def test_it_is_gone_when_the_tests_are_killed() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        pid = int(holder.stdout.readline())
        assert psutil.pid_exists(pid)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    wait_until_gone(pid)


def test_where_it_is_missing_it_is_said_who_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(azurite_server, "ROOT", tmp_path)
    with (
        pytest.raises(AssertionError, match=r"Azurite is not in .*: `make` installs it, or ADFML_TEST_AZURITE says"),
        azurite_server.run_azurite(),
    ):
        pass
