"""Cancelling a run that submits cancels its job, also where the interrupt itself is lost on the way."""

from contextlib import suppress
from typing import Any

import dagster as dg

from adfml_assets.remote_assets import submit_remote_job
from resources.remote_jobs import RemoteJob, RemoteRun
from tests.remote_jobs.conftest import Bench


def test_a_cancelled_runs_job_is_cancelled_without_an_interrupt(bench: Bench) -> None:
    instance = dg.DagsterInstance.ephemeral()
    bench.order(kind="hold")

    class CancelledMeanwhile:
        """The real service; while it is asked, somebody cancels the run, and nothing interrupts the call."""

        def __getattr__(self, name: str) -> Any:
            return getattr(bench.service, name)

        def submit(self, job: RemoteJob) -> RemoteRun:
            run = instance.get_run_by_id(job.run_id)
            assert run is not None
            instance.report_run_canceling(run)
            return bench.service.submit(job)

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["1"]))
    def model_job(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        return submit_remote_job(
            context,
            bench.ledger,
            CancelledMeanwhile(),  # type: ignore[arg-type]
            collecting_asset=dg.AssetKey("model"),
            request={"job": "tiny", "parameters": {"mode": "ok"}},
            deadline_hours=1,
            max_tries=1,
        )

    job = dg.Definitions(assets=[model_job], executor=dg.in_process_executor).resolve_implicit_global_asset_job_def()
    with suppress(dg.DagsterExecutionInterruptedError):
        job.execute_in_process(partition_key="1", instance=instance, raise_on_error=False)
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.CANCELED
    submitted = bench.ledger.find_latest("model", "1")
    assert submitted is not None
    assert submitted.remote_id is not None
    bench.tick_until(lambda: not bench.get(submitted).outstanding)
    assert bench.get(submitted).state == "cancelled"
