"""`adfml jobs adopt`: a run that somebody started by hand becomes an asset's, where it is the one it would submit."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest

from tests.command.conftest import DAY, JOB, RESULT, Deployment, call


def start_by_hand(deployment: Deployment, **parameters: str) -> str:
    """A run of the Databricks job that no ledger knows of."""
    client = deployment.jobs.service.client
    (tiny,) = client.jobs.list(name="tiny")
    answer: Any = client.jobs.run_now(int(tiny.job_id or 0), job_parameters=parameters).response
    return str(answer.run_id)


def test_a_run_started_by_hand_is_followed_and_its_result_collected(deployment: Deployment) -> None:
    remote_id = start_by_hand(deployment, mode="ok", submission_key="by hand")
    result = call("jobs", "adopt", RESULT, DAY, remote_id, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["backfill"]["assets"] == {RESULT: [DAY]}
    assert document["messages"][0] == f"databricks {remote_id} is {JOB}|{DAY}|1 in the ledger now."
    job = deployment.latest()
    assert (job.remote_id, job.remote_key, job.sends) == (remote_id, "by hand", 0)
    assert job.url is not None
    deployment.jobs.tick_until(lambda: not deployment.jobs.get(job).outstanding)
    assert deployment.materialise(RESULT).status == dg.DagsterRunStatus.SUCCESS
    assert deployment.jobs.get(job).collected_at is not None
    assert DAY in deployment.instance.get_materialized_partitions(dg.AssetKey(["ml", "m"]))
    again = call("jobs", "adopt", JOB, "2026-03-02", remote_id)
    assert again.exit_code == 1
    assert f"it is in the ledger as {job.submission_key} (succeeded)" in again.stderr


def test_a_run_that_does_not_fit_is_refused_with_every_reason_and_nothing_changes(deployment: Deployment) -> None:
    remote_id = start_by_hand(deployment, mode="fail")
    deployment.jobs.tick_until(
        lambda: str(deployment.jobs.service.client.jobs.get_run(int(remote_id)).state.result_state).endswith("FAILED")
    )
    result = call("jobs", "adopt", RESULT, DAY, remote_id)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[0] == (
        f"Job {remote_id} is not adopted for {JOB}, partition {DAY}; nothing was changed:"
    )
    assert "- its parameter mode is 'fail', not 'ok'." in result.stderr
    assert "- it was started without submission_key" in result.stderr
    assert "- it has failed (INTERNAL_ERROR" in result.stderr
    assert deployment.jobs.ledger.list_jobs() == []


def test_a_partition_with_a_job_under_way_takes_no_other(deployment: Deployment) -> None:
    own = deployment.submit("slow")
    remote_id = start_by_hand(deployment, mode="ok", submission_key="by hand")
    result = call("jobs", "adopt", RESULT, DAY, remote_id)
    assert result.exit_code == 1
    assert f"- {own.submission_key} of the same partition is under way: wait for it, or cancel it." in result.stderr
    assert deployment.latest() == own


def test_a_run_that_failed_and_was_repaired_at_the_service_is_taken_up_again(deployment: Deployment) -> None:
    """Databricks' "Repair run" goes on under the same id."""
    job = deployment.submit("ok")
    ledger = deployment.jobs.ledger
    from resources.remote_jobs import RemoteStatus

    ledger.record_ended(job.submission_key, RemoteStatus("failed", "TERMINATED/FAILED", "a disk was full"))
    result = call("jobs", "adopt", RESULT, DAY, str(job.remote_id))
    assert result.exit_code == 0, result.stderr
    second = deployment.latest()
    assert (second.attempt, second.remote_id, second.remote_key) == (2, job.remote_id, job.remote_key)
    deployment.jobs.tick_until(lambda: not deployment.jobs.get(second).outstanding)
    assert deployment.jobs.get(second).state == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ml/n", DAY, "1"), "'ml/n' is no asset that collects a remote job's result; those are: ml/m."),
        ((RESULT, "2020-01-01", "1"), "ml/m_job has no partition '2020-01-01'"),
        ((RESULT, DAY, "4711"), "There is no run '4711' in the workspace"),
        ((RESULT, DAY, "soon"), "There is no run 'soon' in the workspace"),
    ],
)
def test_what_is_not_there_is_one_sentence(deployment: Deployment, arguments: tuple[str, ...], said: str) -> None:
    result = call("jobs", "adopt", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert deployment.jobs.ledger.list_jobs() == []
