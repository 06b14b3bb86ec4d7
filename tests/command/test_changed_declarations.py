"""What is launched waits for a daemon that has not read the declarations yet; Dagster would let its backfill fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from adfml_cli.daemon import RELOAD_SECONDS, await_reload, find_wait


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").touch()
    (folder / "workspace.yaml").write_text("load_from: []\n")
    return folder


@pytest.fixture
def began(home: Path) -> Iterator[float]:
    """When the daemon of `home` began."""
    command = [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-w", str(home / "workspace.yaml")]
    with subprocess.Popen(
        command, env={**os.environ, "DAGSTER_HOME": str(home)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as daemon:
        yield psutil.Process(daemon.pid).create_time()
        daemon.kill()


def declare(folder: Path, changed: float) -> Path:
    (folder / "declared").mkdir(exist_ok=True)
    file = folder / "declared" / "defs.yaml"
    file.touch()
    os.utime(file, (changed, changed))
    return folder / "declared"


def test_what_was_changed_after_the_daemon_began_is_waited_for(home: Path, began: float, tmp_path: Path) -> None:
    declared = declare(tmp_path, began + 20)
    assert find_wait(home, declared, began + 30) == pytest.approx(RELOAD_SECONDS - 10)
    assert find_wait(home, declared, began + 21 + RELOAD_SECONDS) == 0, "it has read them since"


def test_a_daemon_that_began_later_has_read_them(home: Path, began: float, tmp_path: Path) -> None:
    assert find_wait(home, declare(tmp_path, began - 1), began + 2) == 0


def test_daemons_of_others_do_not_count(began: float, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert find_wait(other, declare(tmp_path, began + 20), began + 30) == 0


def test_it_is_said_how_long_it_takes(home: Path, began: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert began
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setattr("adfml_cli.daemon.find_wait", lambda *_: 42.4)
    said, slept = list[str](), list[float]()
    await_reload(said.append, slept.append)
    assert said == ["Declarations have changed; the daemon reads them once a minute: launching in 42 s."]
    assert slept == [42.4]


def test_without_a_daemon_nothing_is_waited_for(home: Path, tmp_path: Path) -> None:
    assert find_wait(home, declare(tmp_path, time.time()), time.time()) == 0
