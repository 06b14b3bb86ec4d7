"""The files in deploy/ say the same as dagster.yaml, name only what exists, and hold no secret."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.home import PROJECT

DEPLOY = PROJECT / "deploy"
STORAGE = {"storage", "compute_logs"}


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope="module")
def values() -> Any:
    return read_yaml(DEPLOY / "helm/values.yaml")


@pytest.mark.parametrize("name", ["dagster.yaml", "tryout/dagster.yaml"])
def test_only_the_storage_differs_from_the_dagster_yaml_of_one_machine(name: str) -> None:
    there, here = read_yaml(DEPLOY / name), read_yaml(PROJECT / "dagster.yaml")
    assert set(there) - set(here) == STORAGE
    assert {key: value for key, value in there.items() if key not in STORAGE} == here


def test_the_chart_is_given_the_same_coordinator_logs_and_limits(values: Any) -> None:
    instance = read_yaml(DEPLOY / "dagster.yaml")
    daemon = values["dagsterDaemon"]
    assert daemon["runCoordinator"]["config"]["customRunCoordinator"] == instance["run_coordinator"]
    assert values["computeLogManager"]["config"]["customComputeLogManager"] == instance["compute_logs"]
    for section, of_chart in (
        ("run_monitoring", "runMonitoring"),
        ("run_retries", "runRetries"),
        ("sensors", "sensors"),
    ):
        wanted = {_camel(name): value for name, value in instance[section].items()}
        assert daemon[of_chart] == wanted, section
    assert values["concurrency"] == {"enabled": True, **_camel_deep(instance["concurrency"])}
    assert values["postgresql"]["postgresqlScheme"] == instance["storage"]["postgres"]["postgres_db"]["scheme"]


def test_every_pod_runs_our_image_as_the_identity_and_not_as_root(values: Any) -> None:
    (code,) = values["dagster-user-deployments"]["deployments"]
    pods = [code, values["dagsterWebserver"], values["dagsterDaemon"]]
    assert len({str(pod["image"]) for pod in pods}) == 1
    assert all(pod["podSecurityContext"]["runAsNonRoot"] for pod in pods)
    run = values["runLauncher"]["config"]["k8sRunLauncher"]
    for pod in [*pods, run]:
        assert pod["labels"] == {"azure.workload.identity/use": "true"}
        assert (pod["envConfigMaps"], pod["envSecrets"]) == ([{"name": "adfml-settings"}], [{"name": "adfml-secrets"}])
    assert values["global"]["serviceAccountName"] == values["serviceAccount"]["name"]


def test_the_charts_version_is_the_packages(values: Any) -> None:
    text = (DEPLOY / "helm/values.yaml").read_text()
    (pinned,) = re.findall(r"(?m)^dagster==(\S+)$", (PROJECT / "constraints.txt").read_text())
    assert set(re.findall(r"--version (\S+)|chart, version (\S+):", text)) == {(pinned, ""), ("", pinned)}


def test_every_setting_in_the_files_is_one_of_the_project() -> None:
    from resources.settings import ALL

    known = {setting.name for setting in ALL} | {setting.secret_name for setting in ALL if setting.secret}
    own = {"ADFML_SHOP_URL", "ADFML_CONTROL_PASSWORD", "ADFML_LOGS_ACCOUNT", "ADFML_LOGS_CONTAINER"}
    compose = {"ADFML_VERSION", "ADFML_SETTINGS", "ADFML_DAGSTER_YAML", "ADFML_PORT"}
    code = {"ADFML_CODE_HOST", "ADFML_CODE_PORT"}
    files = [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.env"), DEPLOY / "Containerfile"]
    named = {name for file in files for name in re.findall(r"\bADFML_[A-Z_]+\b", file.read_text())}
    assert named - known - own - compose - code == set()


def test_the_image_copies_what_exists_and_runs_as_nobody_special() -> None:
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    copied = [shlex.split(line)[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line]
    assert copied
    assert [name for names in copied for name in names if not (PROJECT / name).exists()] == []
    packages = {
        path.parent.name for path in PROJECT.glob("*/__init__.py") if path.parent.name not in {"tests", "benchmarks"}
    }
    assert packages <= {name for names in copied for name in names}
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text().split()
    assert {name.partition("/")[0] for names in copied for name in names} <= {line[1:] for line in ignored}
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001"]
    assert not [line for line in lines if re.search(r"(?i)password|secret|token|key=", line)]


@pytest.mark.parametrize("profile", ["azure", "try"])
def test_compose_starts_everything_once_and_only_the_ui_is_open_to_this_machine(profile: str) -> None:
    services = read_yaml(DEPLOY / "compose.yaml")["services"]
    started = {name: it for name, it in services.items() if profile in it.get("profiles", [profile])}
    assert set(started) == {
        "postgresql",
        "upgrade",
        "daemon",
        "webserver",
        "code" if profile == "azure" else "code-try",
    }
    ports = [port for service in started.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:${ADFML_PORT:-3000}:3000"]
    for name, service in started.items():
        if name != "postgresql":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def _camel_deep(value: Any) -> Any:
    return {_camel(name): _camel_deep(it) for name, it in value.items()} if isinstance(value, dict) else value
