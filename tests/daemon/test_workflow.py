"""The end-to-end workflow's job: train or score, and nothing else."""

from __future__ import annotations

import json
import uuid

import dagster as dg
import pytest

from tests.daemon.conftest import Site

pytestmark = pytest.mark.slow


def test_another_mode_than_train_or_score_is_refused(site: Site) -> None:
    run_id = str(uuid.uuid4())
    config = {"ops": {"launch_workflow": {"config": {"mode": "x"}}}}
    command = ["dagster", "job", "launch", "-w", "workspace.yaml", "-j", "PL_EndToEnd_ML_Workflow"]
    launched = site.run_command(*command, "--run-id", run_id, "--config-json", json.dumps(config))
    assert launched.returncode == 0, launched.stderr[-2000:]

    def ended() -> dg.DagsterRun | None:
        run = site.instance.get_run_by_id(run_id)
        return run if run is not None and run.is_finished else None

    assert site.wait("the run to end", ended).status == dg.DagsterRunStatus.FAILURE
    assert site.failure(run_id) == "INVALID_MODE: 'x'. Expected: train or score"
    launched_by = {(b.tags or {}).get("adfml/launched_by") for b in site.instance.get_backfills()}
    assert run_id not in launched_by
