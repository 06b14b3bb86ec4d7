from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from local_cloud.bundle import job_id_of, load_bundle
from local_cloud.errors import BundleError

from .conftest import WORK, job


def write(tmp_path: Path, **parts: Any) -> Path:
    (tmp_path / "work.py").write_text(WORK)
    path = tmp_path / "databricks.yml"
    path.write_text(yaml.safe_dump({"bundle": {"name": "tests"}, **parts}))
    return path


def test_variables_and_the_default_target_are_applied(tmp_path: Path) -> None:
    train = job("adfml_${bundle.target}_${var.team}", max_concurrent_runs="${var.runs}")
    train["parameters"][3]["default"] = "/Users/${workspace.current_user.userName}/${var.where}"
    path = write(
        tmp_path,
        variables={"team": {"default": "a"}, "runs": {"default": 3}, "where": {"default": "in ${bundle.name}"}},
        resources={"jobs": {"train": train}},
        targets={
            "prod": {"variables": {"team": "p"}},
            "dev": {
                "default": True,
                "mode": "development",
                "variables": {"team": "d"},
                "resources": {"jobs": {"train": {"timeout_seconds": 77}}},
            },
        },
    )
    found = load_bundle(path)[job_id_of("tests", "train")]
    assert (found.name, found.max_concurrent_runs, found.timeout_seconds) == ("adfml_dev_d", 3, 77)
    assert found.parameters[3].default == "/Users/local/in tests"
    assert found.queue.enabled, "Jobs API 2.2 queues where a job says nothing"


@pytest.mark.parametrize(
    ("change", "where", "problem"),
    [
        ({"tasks": []}, "tasks", "one spark_python_task"),
        ({"tasks": [{"task_key": "a", "notebook_task": {}}]}, "tasks.0.spark_python_task", "one spark_python_task"),
        ({"max_concurrent_runs": "many"}, "max_concurrent_runs", "many"),
        ({"parameters": [{"name": "n", "default": 5}]}, "parameters.0.default", "found 5"),
        ({"parameters": []}, "parameters", "job.parameters.mode"),
        ({"name": "${var.nobody}"}, "name", "has no value here"),
    ],
)
def test_a_job_that_cannot_be_run_is_refused(tmp_path: Path, change: dict[str, Any], where: str, problem: str) -> None:
    path = write(tmp_path, resources={"jobs": {"train": {**job("train"), **change}}})
    with pytest.raises(BundleError, match=problem) as caught:
        load_bundle(path)
    assert caught.value.where.startswith("resources.jobs.train.")
    assert where in caught.value.where


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        load_bundle(tmp_path / "databricks.yml")
    path = write(tmp_path, resources={"jobs": {"train": job("train")}})
    (tmp_path / "work.py").unlink()
    with pytest.raises(BundleError, match=r"there is no file .*work\.py"):
        load_bundle(path)


def test_variables_that_go_in_circles_are_refused(tmp_path: Path) -> None:
    circle = {"a": {"default": "${var.b}"}, "b": {"default": "${var.a}"}}
    path = write(tmp_path, variables=circle, resources={"jobs": {"train": job("${var.a}")}})
    with pytest.raises(BundleError, match="circle"):
        load_bundle(path)
