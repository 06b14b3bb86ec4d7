"""What becomes of runs, ports and processes when the server, a supervisor or a workload dies or is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from local_cloud import supervisor
from local_cloud.errors import StartError, StateInUseError
from local_cloud.process import LocalCloud
from local_cloud.processes import MARKER

from .conftest import Workspace, lines, running, state_of, wait_for


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder of its own; whatever still works on it in the end is a failure."""
    folder = tmp_path / "state"
    yield folder
    wait_for(lambda: not _at_work(folder), "no process is left on the state folder")


def _at_work(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get(MARKER, "").startswith(str(folder)) or str(folder) in process.cmdline()
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture(scope="module")
def mortal(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A cloud that tests kill or stop, and start again before they leave it."""
    folder = tmp_path_factory.mktemp("mortal")
    cloud = LocalCloud(folder, bundle=bundle).start()
    yield Workspace(cloud)
    cloud.stop()
    wait_for(lambda: not _at_work(folder), "no process is left on the state folder")


def result_of(run: object) -> tuple[str, str]:
    return run.state.result_state.value, run.status.termination_details.code.value


def claim_file(state: Path, run: object) -> Path:
    return state / "runs" / str(run.tasks[0].run_id) / "claim.json"


def test_a_run_outlives_the_server_that_started_it(mortal: Workspace, journal: Path) -> None:
    url, environment = mortal.cloud.url, mortal.cloud.environment()
    still_running = mortal.run("plain", token="still", mode="gate", journal=journal)
    soon_over = mortal.run("plain", token="over", mode="fail", journal=journal)
    queued = [mortal.run("single", token=f"queued-{i}", journal=journal, seconds=0.2) for i in range(2)]
    wait_for(lambda: len(lines(journal)) >= 3, "three workloads are at work")
    mortal.cloud.kill()

    mortal.cloud.start()
    assert (mortal.cloud.url, mortal.cloud.environment()) == (url, environment), "clients find it where it was"
    assert state_of(mortal.jobs.get_run(still_running)) == "RUNNING"
    journal.with_suffix(".open").touch()
    failed = mortal.wait(soon_over)
    assert result_of(failed) == ("FAILED", "RUN_EXECUTION_ERROR")
    assert mortal.jobs.get_run_output(failed.tasks[0].run_id).error == "TrainingError: the training data is empty"
    assert {result_of(mortal.wait(run_id)) for run_id in (still_running, *queued)} == {("SUCCESS", "SUCCESS")}
    assert mortal.run("plain", token="still") == still_running
    assert mortal.run("plain", token="over") == soon_over
    assert [mortal.run("single", token=f"queued-{i}") for i in range(2)] == queued
    assert len(lines(journal)) == 4


def test_an_accepted_run_that_was_not_started_is_started_once(mortal: Workspace, journal: Path) -> None:
    mortal.order(kind="hold")
    run_ids = [mortal.run("plain", journal=journal) for _ in range(3)]
    mortal.cloud.kill()
    assert not lines(journal)
    mortal.cloud.start()
    assert {result_of(mortal.wait(run_id))[0] for run_id in run_ids} == {"SUCCESS"}
    assert len(lines(journal)) == 3


def test_killing_the_server_again_and_again_runs_nothing_twice(mortal: Workspace, journal: Path) -> None:
    run_ids = []
    for number in range(3):
        run_ids += [mortal.run("plain", token=f"{number}-{i}", journal=journal, seconds=0.3) for i in range(4)]
        time.sleep(number * 0.04)
        mortal.cloud.kill()
        mortal.cloud.start()
    assert {result_of(mortal.wait(run_id))[0] for run_id in run_ids} == {"SUCCESS"}
    assert len(lines(journal)) == len(run_ids) == 12


def test_runs_whose_processes_died_with_the_server_are_cloud_failures(mortal: Workspace, journal: Path) -> None:
    run_ids = [mortal.run("plain", journal=journal, seconds=60) for _ in range(2)]
    wait_for(lambda: len(lines(journal)) == 2, "the workloads are at work")
    path = claim_file(mortal.cloud.state, mortal.jobs.get_run(run_ids[1]))
    mortal.cloud.kill()
    for process in _at_work(mortal.cloud.state):
        process.kill()
    # This process stands for one that was given the id of the dead supervisor.
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": os.getpid()}))
    mortal.cloud.start()
    for run_id in run_ids:
        run = mortal.wait(run_id)
        assert state_of(run) == "INTERNAL_ERROR"
        assert result_of(run) == ("FAILED", "CLOUD_FAILURE")
        assert "gone without a result" in run.state.state_message


def test_no_work_goes_on_for_a_run_that_lost_its_supervisor(workspace: Workspace, journal: Path) -> None:
    run_id = workspace.run("plain", mode="parent", journal=journal, seconds=60)
    wait_for(lambda: len(lines(journal)) == 2, "the workload is at work")
    claim = json.loads(claim_file(workspace.cloud.state, workspace.jobs.get_run(run_id)).read_text())
    psutil.Process(claim["pid"]).kill()
    assert result_of(workspace.wait(run_id)) == ("FAILED", "CLOUD_FAILURE")
    wait_for(lambda: not running(journal), "workload and child are gone")


def test_two_supervisors_of_one_attempt_run_it_once(tmp_path: Path) -> None:
    order = {"command": [sys.executable, "-c", "print('once')"], "cwd": str(tmp_path)}
    (tmp_path / "order.json").write_text(json.dumps(order))
    started = [subprocess.Popen([sys.executable, "-I", supervisor.__file__, str(tmp_path)]) for _ in range(5)]
    assert [one.wait(20) for one in started] == [0] * 5
    assert (tmp_path / "log.txt").read_text() == "once\n"
    assert json.loads((tmp_path / "result.json").read_text())["exit_code"] == 0


def test_stopping_ends_running_workloads_and_keeps_the_queue(mortal: Workspace, journal: Path) -> None:
    at_work = mortal.run("single", mode="parent", journal=journal, seconds=60)
    queued = mortal.run("single")
    wait_for(lambda: len(lines(journal)) == 2, "the workload is at work")
    mortal.cloud.stop()
    wait_for(lambda: not running(journal), "workload and child are gone")
    assert not (mortal.cloud.state / "address.json").exists()
    mortal.cloud.start()
    stopped = mortal.jobs.get_run(at_work)
    assert state_of(stopped) == "INTERNAL_ERROR"
    assert result_of(stopped) == ("FAILED", "CLOUD_FAILURE")
    assert "local cloud was stopped" in stopped.status.termination_details.message
    assert result_of(mortal.wait(queued)) == ("SUCCESS", "SUCCESS")


def test_the_cloud_goes_when_its_starter_is_gone(state: Path, bundle: Path) -> None:
    start_and_die = f"LocalCloud({str(state)!r}, bundle={str(bundle)!r}).start(); os._exit(9)"
    starter = f"from local_cloud.process import LocalCloud; import os; {start_and_die}"
    assert subprocess.run([sys.executable, "-c", starter]).returncode == 9
    wait_for(lambda: not _at_work(state), "the server is gone")
    assert not (state / "address.json").exists()


def test_signals_inherited_as_ignored_still_stop_it(state: Path, bundle: Path, journal: Path) -> None:
    ignoring = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        workspace = Workspace(LocalCloud(state, bundle=bundle).start())
        run_id = workspace.run("plain", journal=journal, seconds=60)
        wait_for(lambda: lines(journal), "the workload is at work")
    finally:
        for number, handler in ignoring.items():
            signal.signal(number, handler)
    started = time.monotonic()
    workspace.jobs.cancel_run(run_id)
    assert result_of(workspace.wait(run_id))[0] == "CANCELED"
    assert time.monotonic() - started < 2, "the workload obeyed SIGTERM"
    os.kill(workspace.cloud.pid, signal.SIGINT)
    wait_for(lambda: not _at_work(state), "the server obeyed SIGINT")


def test_a_running_one_is_found_and_a_stale_address_is_not(state: Path, bundle: Path) -> None:
    state.mkdir()
    stale = {"url": "http://127.0.0.1:9", "pid": os.getpid(), "created": 1.0}
    (state / "address.json").write_text(json.dumps(stale))
    with LocalCloud(state, bundle=bundle) as first:
        assert not first.is_attached
        with LocalCloud(state, bundle=bundle) as second:
            assert second.is_attached
            assert (second.pid, second.environment()) == (first.pid, first.environment())
        assert psutil.pid_exists(first.pid), "leaving an attached one stops nothing"
        with pytest.raises(StateInUseError, match=str(first.pid)):
            LocalCloud(state, bundle=bundle, existing="fail").start()
        with LocalCloud(state, bundle=bundle, existing="replace") as third:
            assert third.pid != first.pid
            assert third.url == first.url


def test_two_that_start_at_once_end_up_with_one_server(state: Path, bundle: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        clouds = list(pool.map(lambda _: LocalCloud(state, bundle=bundle).start(), range(2)))
    assert clouds[0].pid == clouds[1].pid
    assert sorted(cloud.is_attached for cloud in clouds) == [False, True]
    clouds[1].stop()


def test_a_server_does_not_take_a_folder_that_is_served(workspace: Workspace, bundle: Path) -> None:
    folder = str(workspace.cloud.state)
    command = [sys.executable, "-m", "local_cloud", "serve", "--state", folder, "--bundle", str(bundle)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert refused.returncode == 3
    assert f"already served by process {workspace.cloud.pid}" in refused.stderr
    assert list(workspace.jobs.list())


def test_a_cloud_that_does_not_come_up_says_why(state: Path, tmp_path: Path) -> None:
    broken = tmp_path / "databricks.yml"
    broken.write_text("bundle: {name: broken}\nresources: {jobs: {train: {tasks: []}}}\n")
    with pytest.raises(StartError, match="exit code 1") as caught:
        LocalCloud(state, bundle=broken).start()
    assert "resources.jobs.train.tasks" in caught.value.log_tail
