"""The files in deploy/ say the same as dagster.yaml, name only what exists, and hold no secret."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import process_config
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import construct_dagster_k8s_job

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
        ("schedules", "schedules"),
        ("backfills", "backfills"),
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
        assert pod["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert values["global"]["serviceAccountName"] == values["serviceAccount"]["name"]


def test_the_pod_of_a_run_has_what_the_run_launcher_says(values: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: None)
    checked = process_config(K8sRunLauncher.config_type(), _launcher_as_the_chart_writes_it(values))
    assert checked.success, checked.errors
    launcher = K8sRunLauncher.from_config_value(None, checked.value)
    # With it, what the code location has is merged into the pod of every run, its memory too.
    (code,) = values["dagster-user-deployments"]["deployments"]
    assert code["includeConfigInLaunchedRuns"] == {"enabled": False}
    context = K8sContainerContext.create_for_run(dg.DagsterRun(job_name="any"), launcher, include_run_tags=True)
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config("adfml:1", launcher), ["dagster"], "run", context.run_k8s_config
    ).to_dict()
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["spec"]["backoff_limit"] == 0
    assert job["spec"]["template"]["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert (pod["service_account_name"], pod["restart_policy"]) == ("adfml", "Never")
    assert (pod["security_context"]["run_as_user"], pod["security_context"]["run_as_non_root"]) == (10001, True)
    assert container["security_context"]["allow_privilege_escalation"] is False
    assert container["resources"]["limits"] == {"memory": "4Gi"}
    assert [source["name"] for kind in container["env_from"] for source in kind.values() if source] == [
        "adfml-settings",
        "adfml-secrets",
    ]
    assert [mount["name"] for mount in container["volume_mounts"]] == [volume["name"] for volume in pod["volumes"]]
    homes = [one["value"] for one in container["env"] if one["name"] == "DAGSTER_HOME"]
    assert homes == [re.findall(r"DAGSTER_HOME=(\S+)", (DEPLOY / "Containerfile").read_text())[0]]


def test_the_webserver_listens_where_nobody_special_may_and_is_asked_there(values: Any) -> None:
    webserver = values["dagsterWebserver"]
    assert webserver["service"]["port"] == webserver["readinessProbe"]["httpGet"]["port"] >= 1024


def test_a_second_upgrade_meets_no_job_of_the_first(values: Any) -> None:
    # A job of the chart has a fixed name, and Kubernetes refuses to change its image.
    assert values["migrate"] == {"enabled": False}


def test_every_location_is_called_what_pyproject_calls_it(values: Any) -> None:
    name = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["dg"]["project"]["code_location_name"]
    (code,) = values["dagster-user-deployments"]["deployments"]
    (server,) = (it["grpc_server"] for it in read_yaml(DEPLOY / "workspace.yaml")["load_from"])
    image = json.loads(re.findall(r"(?m)^CMD (.+)$", (DEPLOY / "Containerfile").read_text())[0])
    arguments = [code["dagsterApiGrpcArgs"], image]
    assert [server["location_name"], code["name"]] == [name, name]
    assert [it[it.index("--location-name") + 1] for it in arguments] == [name, name]


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
    # Dagster makes folders beside the definitions when it first loads them: nobody special may not.
    loaded = [it for it, line in enumerate(lines) if "dagster definitions validate" in line]
    (final,) = (it for it, line in enumerate(lines) if line.startswith("COPY --from=build /app"))
    assert loaded
    assert loaded[0] < final
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


def _launcher_as_the_chart_writes_it(values: Any) -> dict[str, Any]:
    """`run_launcher.config` of dagster.yaml, as the chart's template makes it of `runLauncher`."""
    given = values["runLauncher"]["config"]["k8sRunLauncher"]
    same = {"loadInclusterConfig", "imagePullPolicy", "labels", "securityContext", "volumes", "volumeMounts"}
    return {
        **{_snake(name): given[name] for name in sorted(same)},
        **{_snake(kind): [one["name"] for one in given[kind]] for kind in ("envConfigMaps", "envSecrets")},
        "run_k8s_config": {_snake(name): value for name, value in given["runK8sConfig"].items()},
        "service_account_name": values["global"]["serviceAccountName"],
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "dagster_home": values["global"]["dagsterHome"],
        "instance_config_map": "adfml-dagster-instance",
        "job_namespace": "any",
    }


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", lambda found: f"_{found[1].lower()}", name)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def _camel_deep(value: Any) -> Any:
    return {_camel(name): _camel_deep(it) for name, it in value.items()} if isinstance(value, dict) else value
