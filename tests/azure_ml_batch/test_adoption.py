"""A batch job that somebody started by hand becomes the ledger's, where it is the one that would be submitted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adfml_assets.adoption import adopt_remote_job
from resources.control import utc_now
from resources.errors import NotAdopted, NotFound
from resources.remote_jobs import RemoteJob
from tests.azure_ml_batch.conftest import Bench


def start_by_hand(bench: Bench, mode: str = "ok", folder: str = "by-hand", **more: Any) -> str:
    """What `az ml batch-endpoint invoke` posts; no ledger knows of it."""
    request = bench.request(mode)
    outputs = {name: {**value, "Uri": f"{value['Uri']}/{folder}"} for name, value in request["output_data"].items()}
    body = {"properties": {"InputData": {**request["input_data"], **more}, "OutputData": outputs}}
    url = request["scoring_uri"]
    answer = bench.client.post(url, json=body, headers=bench.service.calls._sign_in(url)).raise_for_status()
    return str(answer.json()["name"])


def adopt(bench: Bench, remote_id: str, request: dict[str, Any] | None = None, **more: Any) -> RemoteJob:
    values: dict[str, Any] = {
        "asset": "ml/m_job",
        "collecting_asset": "ml/m",
        "partition": "1",
        "service": "azure_ml_batch",
        "max_tries": 2,
        "run_id": "run",
        "input_written_at": utc_now() - timedelta(minutes=5),
        "deadline_at": utc_now() + timedelta(hours=1),
        **more,
    }
    return adopt_remote_job(bench.ledger, bench.service, remote_id, [request or bench.request("ok")], **values)


def test_it_is_followed_to_its_end_and_its_output_is_known(bench: Bench) -> None:
    remote_id = start_by_hand(bench)
    job = adopt(bench, remote_id)
    assert (job.remote_id, job.state, job.sends, job.facts["output_name"]) == (remote_id, "running", 0, "by-hand")
    assert job.url is not None
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert bench.get(job).state == "succeeded"
    assert (bench.folder / "out" / "by-hand" / "done.txt").exists()
    with pytest.raises(NotAdopted, match=r"it is in the ledger as ml/m_job\|1\|1 \(succeeded\)"):
        adopt(bench, remote_id, partition="2")


def test_every_difference_is_said_and_nothing_changes(bench: Bench) -> None:
    remote_id = start_by_hand(bench, "fail", folder="some/where")
    bench.tick_until(lambda: bench.service.inspect(remote_id, bench.request("ok")).status.state == "failed")
    request = {**bench.request("ok"), "submission_key_input": "submission_key"}
    with pytest.raises(NotAdopted) as refused:
        adopt(bench, remote_id, request, input_written_at=utc_now() + timedelta(hours=1))
    said = str(refused.value)
    assert "its input mode is 'fail', not 'ok'" in said
    assert "it was started without the input submission_key" in said
    assert "not to a folder in" in said
    assert "it has failed" in said
    assert "before its input was written" in said
    assert bench.ledger.list_jobs() == []


def test_what_it_was_told_as_its_key_is_kept(bench: Bench) -> None:
    number = {"number": {"JobInputType": "Literal", "Value": 7}}
    remote_id = start_by_hand(bench, **number)
    job = adopt(bench, remote_id, {**bench.request("ok"), "submission_key_input": "number"})
    assert job.remote_key == "7"


def test_a_job_that_does_not_exist_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound, match="no-such-job"):
        adopt(bench, "no-such-job")
