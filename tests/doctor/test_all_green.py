"""Where all is well, every check says so, and what is not declared is not asked for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from adfml_cli.doctor.examining import CHECKS
from tests.doctor.conftest import PASSWORD, Seen, Site


@pytest.fixture(scope="module")
def site(build_site: Callable[[], Site]) -> Site:
    return build_site()


@pytest.fixture(scope="module")
def seen(site: Site) -> Seen:
    return site.examine(seconds=60)


def test_nothing_fails_and_nothing_is_to_be_done(seen: Seen) -> None:
    assert seen.describe("failed", "warning") == ""
    assert not seen.report.failed
    assert seen.hanging == 0


def test_every_check_has_said_something(seen: Seen) -> None:
    assert {one.check for one in seen.report.findings} == set(CHECKS)


def test_what_is_there_is_named(seen: Seen) -> None:
    text = seen.describe("ok")
    assert "Can be read: public.orders, public.customers." in text
    assert "Can be read and written: public.predictions." in text
    assert "signed in as adfml." in text
    assert "job adfml_training | ok | Is there" in text
    assert "endpoint adfml-scoring | ok | Is there, with deployment score." in text
    assert "endpoint sales-forecast | ok | Is there, with deployment champion." in text
    assert "Are on: azure_ml_batch_jobs, databricks_jobs" in text
    assert "Europe/Vienna" in text


def test_a_table_that_is_made_when_it_is_written_is_no_failure(seen: Seen) -> None:
    found = seen.find("databases", "warehouse.public.churn")
    assert (found.status, "may be made" in found.found) == ("ok", True)


def test_no_secret_is_in_the_report(seen: Seen, site: Site) -> None:
    text = json.dumps(seen.report.to_json())
    secrets = [PASSWORD, *(site.settings[name] for name in ("ADFML_AZURE_ML_KEY", "ADFML_LANGUAGE_KEY"))]
    assert not [secret for secret in secrets if secret in text]


def test_no_probe_file_stays_in_the_lake(seen: Seen, site: Site) -> None:
    lake = site.folder / "lake"
    assert sorted(str(path.relative_to(lake)) for path in lake.rglob("*")) == [
        "archive",
        "feature-store",
        "incremental",
        "ml",
    ]


def test_services_that_nothing_declared_uses_are_not_asked(site: Site) -> None:
    site.declared = ""
    site.settings = {name: value for name, value in site.settings.items() if not name.endswith("_SECRET")}
    seen = site.examine(
        "databricks", "azure_ml_batch", "azure_ml_online", "openai", "language", "key_vault", "databases"
    )
    assert {one.status for one in seen.report.findings} == {"unused"}
