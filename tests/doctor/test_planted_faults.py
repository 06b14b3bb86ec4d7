"""Many faults planted in one deployment: the report names each of them, with what to do."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData

from resources.control import ControlDatabase
from tests.doctor.conftest import Seen, Site, beat

FAULTS = {
    "a setting that nothing reads": ("settings", "ADFML_DATABRICK_HOST", "nothing reads it", "ADFML_DATABRICKS_HOST"),
    "a time zone nobody knows": ("definitions", r"wrong/defs.yaml:\d+", "Europe/Wien", "Correct it"),
    "a wrong declaration": ("definitions", r"wrong/defs.yaml:3", "no field 'modee'", "Correct it"),
    "another coordinator": ("dagster", "run coordinator", "not through HoldingRunCoordinator", "dagster.yaml"),
    "no run monitoring": ("dagster", "run monitoring", "for ever", "enabled: true"),
    "a daemon that is silent": ("daemons", "daemons", "SENSOR", "dagster-daemon run"),
    "a sensor that is stopped": ("sensors", "databricks_jobs", "Is off", "dagster sensor start"),
    "a table that is missing": (
        "databases",
        "warehouse.public.custmers",
        "Did you mean 'customers'",
        "Correct the name",
    ),
    "a table that may not be written": ("databases", "warehouse.public.orders", "lacks INSERT", "GRANT INSERT"),
    "a database's path": ("databases", "shop", "the file does not exist", "ADFML_SHOP_URL"),
    "a control database of a newer version": ("control", "revision", "9999", "Install that version"),
    "a job past its deadline": ("jobs", r"ml/models/old_job\|1\|1", "past its deadline", "sensor databricks_jobs"),
    "a container that cannot be written": ("lake", "ml", "The lake at .* refused", "Check"),
    "a secret that is missing": ("key_vault", "secret language-key", "language-key", "ADFML_LANGUAGE_KEY_SECRET"),
    "a job that is missing": (
        "databricks",
        "job adfml_scorin",
        "Did you mean 'adfml_scoring'",
        "the bundle is deployed",
    ),
    "a job that may not be run": ("databricks", "job adfml_training", "CAN_VIEW", "CAN MANAGE RUN"),
    "a batch endpoint that is missing": ("azure_ml_batch", "endpoint adfml-scorin", "'adfml-scoring'", "endpoint"),
    "a deployment that is missing": ("azure_ml_online", "endpoint sales-forecast", "'canary'", "engine.deployment"),
    "an OpenAI key that is wrong": ("openai", "deployment gpt-4o-mini", "401", "ADFML_OPENAI_KEY"),
    "a Language key that is missing": ("language", "Azure AI Language", "language-key", "ADFML_LANGUAGE_KEY_SECRET"),
    "a mail server that is down": ("alerts", "email", "ConnectionRefusedError", "ADFML_ALERTS_SMTP"),
    "a webhook that is down": ("alerts", "slack", "ConnectError", "ADFML_ALERTS_SLACK_URL"),
    "alerts without a link to the run": ("alerts", "channels", "no link", "ADFML_UI_URL"),
    "a clock that is off": ("clock", "Azure OpenAI", "3[56][0-9]{2} s ahead", "NTP"),
}
"""Fault -> check, subject, what is found, and what to do; as patterns."""

WRONG = """
type: adfml_assets.components.ArchivedDatabase
attributes:
  modee: full
  database: shop
---
type: adfml_assets.components.ArchivedDatabase
attributes:
  database: shop
  schedule: { cron: "0 5 * * *", timezone: Europe/Wien }
"""


@pytest.fixture(scope="module")
def seen(build_site: Callable[[], Site]) -> Seen:
    site = build_site()
    with site.running():
        ControlDatabase().ledger.open_job(
            asset="ml/models/old_job",
            collecting_asset="ml/models/old",
            partition="1",
            service="databricks",
            request={"job": "adfml_training", "parameters": {}},
            deadline=timedelta(hours=-2),
            max_tries=1,
            run_id="r",
        )
    with closing(sqlite3.connect(site.control)) as control, control:
        control.execute("UPDATE adfml_schema_version SET version_num = '9999'")
    (site.folder / "lake" / "ml").write_text("a file where a folder belongs")
    (site.folder / "defs" / "wrong").mkdir()
    (site.folder / "defs" / "wrong" / "defs.yaml").write_text(WRONG.lstrip())
    for right, wrong in (
        ("public.customers", "public.custmers"),
        ("warehouse.public.churn", "warehouse.public.orders"),
        ("job: adfml_scoring", "job: adfml_scorin"),
        ("endpoint: adfml-scoring", "endpoint: adfml-scorin"),
        ("deployment: champion", "deployment: canary"),
    ):
        assert right in site.declared
        site.declared = site.declared.replace(right, wrong)
    assert site.dagster_yaml is not None
    # Without one Dagster takes its own.
    without_coordinator = re.sub(r"(?m)^run_coordinator:\n(?:[ #].*\n)+", "", site.dagster_yaml)
    site.dagster_yaml = without_coordinator.replace(
        "run_monitoring:\n  enabled: true", "run_monitoring:\n  enabled: false"
    )
    site.prepare = _stop_things
    del site.settings["ADFML_LANGUAGE_KEY"]
    site.settings |= {
        "ADFML_DATABRICK_HOST": "https://adb-1.2.azuredatabricks.net",
        "ADFML_SHOP_URL": f"sqlite:///{site.folder}/shopp.sqlite",
        "ADFML_LANGUAGE_KEY_SECRET": "language-key",
        "ADFML_OPENAI_KEY": "0123456789abcdef",
        "ADFML_ALERTS_EMAIL_TO": "data-team@example.com",
        "ADFML_ALERTS_SMTP": "smtp://127.0.0.1:9",
        "ADFML_ALERTS_SLACK_URL": "http://127.0.0.1:9/hook",
    }
    site.order(kind="behaviour", name="databricks.view_only", times=None)
    site.order(kind="behaviour", name="server.clock", value=-3600, times=None)
    return site.examine(seconds=60)


def _stop_things(instance: dg.DagsterInstance) -> None:
    daemons = instance.get_required_daemon_types()
    instance.wipe_daemon_heartbeats()
    beat(instance, [name for name in daemons if name != "SENSOR"])
    location = RegisteredCodeLocationOrigin("adfml")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), "databricks_jobs")
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED, SensorInstigatorData())
    instance.add_instigator_state(state)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named_with_what_to_do(seen: Seen, fault: str) -> None:
    check, subject, found, advice = FAULTS[fault]
    named = [one for one in seen.report.findings if one.check == check and re.fullmatch(subject, one.subject)]
    wrong = [one for one in named if one.status in ("failed", "warning")]
    assert wrong, f"not named; findings are:\n{seen.describe()}"
    assert any(re.search(found, one.found) and re.search(advice, one.advice) for one in wrong), seen.describe()


def test_what_is_well_is_still_said_to_be_well(seen: Seen) -> None:
    assert "Can be read: public.orders." in seen.describe("ok")
    for check, subject in (("lake", "archive"), ("key_vault", "secret warehouse-password"), ("databricks", "sign-in")):
        assert seen.find(check, subject).status == "ok"


def test_the_report_fails_and_no_finding_is_without_advice(seen: Seen) -> None:
    assert seen.report.failed
    assert [one for one in seen.report.findings if one.status in ("failed", "warning") and not one.advice] == []
