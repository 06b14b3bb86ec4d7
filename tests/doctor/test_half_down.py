"""Half of Azure is down or hangs: the report comes all the same, soon, and says so of each."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.doctor.conftest import Seen, Site

SECONDS = 6.0
FAULTS = {
    "a token that is refused": ("databricks", "sign-in", "refused", "the token in ADFML_DATABRICKS_TOKEN"),
    "a service that hangs": ("azure_ml_batch", "endpoint adfml-scoring", "No answer within|timed out", "firewall|up"),
    "another one that hangs": ("language", "Azure AI Language", "No answer within|timed out", "firewall|ENDPOINT"),
    "a service that is down": ("openai", "deployment gpt-4o-mini", "cannot be reached", "ADFML_OPENAI_ENDPOINT"),
    "a password that is wrong": ("databases", "warehouse", "password authentication failed", "ADFML_WAREHOUSE_URL"),
    "a control database that is not there": ("control", "control database", "cannot be reached", "ADFML_CONTROL_URL"),
    "no dagster.yaml": ("dagster", "DAGSTER_HOME", "no dagster.yaml", "project's dagster.yaml"),
    "sensors that cannot be looked at": ("sensors", "sensors", "could not be opened", "check dagster"),
    "a vault without a role": ("key_vault", "secret databricks-token", "Forbidden|refused", "Key Vault Secrets User"),
}


@pytest.fixture(scope="module")
def seen(build_site: Callable[[], Site]) -> Seen:
    site = build_site()
    (site.folder / "dagster" / "dagster.yaml").unlink()
    site.dagster_yaml = None
    del site.settings["ADFML_WAREHOUSE_PASSWORD_SECRET"]
    site.settings |= {
        "ADFML_DATABRICKS_TOKEN": "dapi-refused-by-the-workspace",
        "ADFML_LAKE_KEY_SECRET": "databricks-token",  # named, though a folder has no key: it is looked at all the same
        "ADFML_WAREHOUSE_PASSWORD": "another-Passw0rd",
        "ADFML_OPENAI_ENDPOINT": "http://127.0.0.1:9/openai/v1/",
        "ADFML_CONTROL_URL": "postgresql+psycopg://adfml@127.0.0.1:9/adfml",
    }
    site.order(kind="behaviour", name="key_vault.forbidden", times=None)
    for path in ("/subscriptions/*", "/language/*"):
        site.order(kind="delay", path=path, seconds=3600, times=None)
    return site.examine(seconds=SECONDS)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_is_named_with_what_to_do(seen: Seen, fault: str) -> None:
    check, subject, found, advice = FAULTS[fault]
    one = seen.find(check, subject)
    assert one.status == "failed"
    assert re.search(found, one.found), one
    assert re.search(advice, one.advice), one


def test_what_is_up_is_still_said_to_be_well(seen: Seen) -> None:
    for check, subject in (("lake", "ml"), ("databases", "shop"), ("definitions", "definitions")):
        assert seen.find(check, subject).status == "ok"


def test_the_report_takes_little_longer_than_one_limit(seen: Seen) -> None:
    assert seen.report.seconds < 3 * SECONDS


def test_no_secret_is_in_the_report(seen: Seen) -> None:
    assert "dapi-refused" not in seen.describe()
    assert "another-Passw0rd" not in seen.describe()
