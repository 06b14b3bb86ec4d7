"""`adfml jobs cancel` and `retry`: at the real protocol of the service, and through Dagster's own storage."""

from __future__ import annotations

import json

import dagster as dg
import pytest

from tests.command.conftest import BEHIND, DAY, JOB, RESULT, Deployment, call


def test_cancel_stops_the_job_at_the_service_and_says_who_did_it(deployment: Deployment) -> None:
    job = deployment.submit("slow")
    result = call("jobs", "cancel", job.submission_key, "--reason", "wrong data", "--yes")
    assert (result.exit_code, result.stdout) == (
        0,
        f"{job.submission_key}: told to stop; the sensor records its end.\n",
    )
    deployment.jobs.tick_until(lambda: not deployment.jobs.get(job).outstanding)
    ended = deployment.jobs.get(job)
    assert ended.state == "cancelled"
    assert ended.message is not None
    assert ended.message.startswith("Cancelled by ")
    assert ended.message.endswith(": wrong data.")
    run = deployment.jobs.service.client.jobs.get_run(int(str(job.remote_id)))
    assert run.state is not None
    assert str(run.state.result_state).endswith("CANCELED")
    again = call("jobs", "cancel", job.submission_key, "--yes")
    assert again.exit_code == 1
    assert "has been cancelled at" in again.stderr


@pytest.mark.parametrize(("answer", "said"), [("n\n", "Nothing was done."), ("", "Nobody answered")])
def test_cancel_asks_first(deployment: Deployment, answer: str, said: str) -> None:
    job = deployment.submit("slow")
    result = call("jobs", "cancel", f"{RESULT}|{DAY}", answer=answer)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"Cancel {job.submission_key} (databricks {job.remote_id})?" in result.stderr
    assert said in result.stderr
    assert deployment.jobs.get(job).cancel_reason is None
    assert call("jobs", "cancel", f"{RESULT}|{DAY}", answer="y\n").exit_code == 0
    assert deployment.jobs.get(job).cancel_reason is not None


def test_where_the_service_does_not_answer_the_wish_stays(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = deployment.submit("slow")
    deployment.jobs.order(kind="status", path="/api/2.2/jobs/runs/cancel", code=403, times=None)
    result = call("jobs", "cancel", job.submission_key, "--yes", "--json")
    assert result.exit_code == 1
    assert "The wish is in the ledger; the sensor goes on with it." in result.stderr
    (shown,) = json.loads(result.stdout)["jobs"]
    assert (shown["state"], shown["cancel_reason"][:12]) == ("running", "Cancelled by")
    said = call("jobs", "cancel", job.submission_key, "--yes")
    assert said.stdout == "", "it was told nothing"
    assert f"{job.submission_key} is not told yet:" in said.stderr


def test_retry_launches_what_submits_and_collects_with_the_config_of_the_run_before(deployment: Deployment) -> None:
    failed = deployment.end("fail")
    result = call("jobs", "retry", failed.submission_key, "--yes", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    backfill_id = document["backfill"]["id"]
    assert document["backfill"]["assets"] == {JOB: [DAY], RESULT: [DAY]}
    assert any(BEHIND in message for message in document["messages"]), "what follows is named"
    backfill = deployment.require_backfill(backfill_id)
    assert (backfill.tags or {})["adfml/retry_of"] == failed.submission_key
    assert backfill.run_config == {"ops": {"ml__m_job": {"config": {"mode": "fail"}}}}
    deployment.materialise(JOB, config=backfill.run_config, tags={"dagster/backfill": backfill_id})
    second = deployment.latest()
    assert (second.attempt, second.request, second.backfill_id) == (2, failed.request, backfill_id)


def test_what_follows_the_result_is_in_the_retry_when_asked_for(deployment: Deployment) -> None:
    job = deployment.end("fail")
    document = json.loads(call("jobs", "retry", job.submission_key, "--downstream", "--yes", "--json").stdout)
    assert document["backfill"]["assets"] == {JOB: [DAY], RESULT: [DAY], BEHIND: [DAY]}


def test_a_result_that_nobody_has_is_collected_and_not_paid_for_again(deployment: Deployment) -> None:
    job = deployment.end("ok")
    document = json.loads(call("jobs", "retry", job.submission_key, "--yes", "--json").stdout)
    assert document["backfill"]["assets"] == {RESULT: [DAY]}
    assert deployment.materialise(RESULT).status == dg.DagsterRunStatus.SUCCESS
    done = call("jobs", "retry", job.submission_key, "--yes")
    assert done.exit_code == 1
    assert "its result was collected by run" in done.stderr
    forced = json.loads(call("jobs", "retry", job.submission_key, "--yes", "--force", "--json").stdout)
    assert forced["backfill"]["assets"] == {JOB: [DAY], RESULT: [DAY]}


def test_a_job_under_way_is_not_retried(deployment: Deployment) -> None:
    job, before = deployment.submit("slow"), len(deployment.list_backfills())
    result = call("jobs", "retry", f"{RESULT}|{DAY}", "--yes")
    assert result.exit_code == 1
    assert f"adfml jobs cancel '{job.submission_key}'" in result.stderr
    assert len(deployment.list_backfills()) == before


def test_a_job_whose_assets_are_gone_is_not_retried(deployment: Deployment) -> None:
    jobs = deployment.jobs
    job = jobs.ledger.open_job(
        asset="ml/old_job",
        collecting_asset="ml/old",
        partition="1",
        service="databricks",
        request={"job": "tinny", "parameters": {}},
        deadline=jobs.get(deployment.submit("ok")).deadline_at - jobs.get(deployment.latest()).created_at,
        max_tries=1,
        run_id="run",
    )
    call("jobs", "cancel", job.submission_key, "--yes")
    result = call("jobs", "retry", job.submission_key, "--yes")
    assert result.exit_code == 1
    assert "ml/old_job is no longer declared by this deployment" in result.stderr
