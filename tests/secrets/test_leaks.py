"""Planted secrets are used by real runs that succeed and that fail, and are then looked for in all that was written."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from azure.identity import DefaultAzureCredential

from local_cloud.process import LocalCloud

from .conftest import PasswordServer, Vault
from .searching import find_secrets, read_everything

ROOT = Path(__file__).resolve().parent.parent.parent
DATABRICKS_SCOPE = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d/.default"
REFUSED = "127.0.0.1:9"
DAGSTER_YAML = """
telemetry: {enabled: false}
python_logs: {managed_python_loggers: [root], python_log_level: LEVEL}
"""


def plant(name: str, mark: str) -> str:
    """A value as people and generators make them: with characters that URLs and shells change.

    The mark is no secret's beginning or end: it is looked for too, as values are also shown in part.
    """
    return f"{name}-p@ss/w:rd+{mark}=%?&"


@dataclass
class Planting:
    """The values, and the runs that use them: how each has to end."""

    values: dict[str, str]
    runs: list[dict[str, Any]]
    succeed: set[str]

    def add(self, name: str, action: str, *, succeeds: bool = False, **settings: str) -> None:
        self.runs.append({"name": name, "action": action, "settings": settings})
        if succeeds:
            self.succeed.add(name)


def build_planting(vault: Vault, server: PasswordServer) -> Planting:
    """Runs over every resource: one that works where there is something to work with, and those that cannot."""
    cloud = vault.cloud.environment()
    names = ("database", "wrong", "hash", "sas", "key", "openai", "language", "azureml", "databricks", "log", "value")
    marks = {name: secrets.token_hex(6) for name in names}
    planting = Planting({name: plant(name, mark) for name, mark in marks.items()}, [], set())
    values = planting.values
    values |= {f"a part of {name}": mark for name, mark in marks.items()}
    values["sas"] = f"sv=2024-11-04&ss=b&sig={secrets.token_hex(20)}%3D"
    values["key"] = base64.b64encode(secrets.token_bytes(48)).decode()
    values["jwt"] = DefaultAzureCredential().get_token(DATABRICKS_SCOPE).token
    values["identity header"] = cloud["IDENTITY_HEADER"]
    server.set_password(values["database"])
    for name in ("database", "hash", "language", "value"):
        vault.put(f"planted-{name}", values[name])

    server_url = str(server.url)
    wrong = server.url.set(password=values["wrong"])
    planting.add("archive", "archive", succeeds=True, ADFML_PLANTED_URL=server_url)
    planting.add("archive_hash_missing", "archive", ADFML_PLANTED_URL=server_url, ADFML_HASH_KEY_SECRET="no-such-name")
    planting.add("archive_wrong", "archive", ADFML_PLANTED_URL=wrong.render_as_string(hide_password=False))
    for name, url in {
        "wrong_password": wrong.render_as_string(hide_password=False),
        "refused": wrong.set(host="127.0.0.1", port=9, query={}).render_as_string(hide_password=False),
        "no_host": wrong.set(host="no-such-host.invalid", query={}).render_as_string(hide_password=False),
        "not_encoded": f"postgresql+psycopg://u:{values['wrong']}@{REFUSED}/db",
        "no_host_at_all": f"postgresql+psycopg://u:{marks['wrong']} h",
        "in_an_option": f"postgresql+psycopg://u@{REFUSED}/db?password={quote(values['wrong'], safe='')}",
        "no_such_dialect": wrong.set(drivername="nosuch+driver").render_as_string(hide_password=False),
        "sql_server": wrong.set(drivername="mssql+mssqlpython", host="127.0.0.1", port=9, query={}).render_as_string(
            hide_password=False
        ),
    }.items():
        planting.add(f"database_{name}", "connect", ADFML_PLANTED_URL=url)
        planting.add(f"control_{name}", "open_control", ADFML_CONTROL_URL=url)

    account = {"ADFML_LAKE": f"http://{REFUSED}/devaccount1"}
    planting.add("lake_key", "write_lake", ADFML_LAKE_KEY=values["key"], **account)
    planting.add("lake_sas", "write_lake", ADFML_LAKE_SAS=values["sas"], **account)
    planting.add("lake_not_a_key", "write_lake", ADFML_LAKE_KEY=values["wrong"], **account)
    planting.add("lake_in_address", "write_lake", ADFML_LAKE=f"https://a.blob.core.windows.net?{values['sas']}")

    databricks = {"ADFML_DATABRICKS_HOST": cloud["ADFML_DATABRICKS_HOST"]}
    planting.add("databricks", "list_databricks", succeeds=True, ADFML_DATABRICKS_TOKEN=values["jwt"], **databricks)
    planting.add("databricks_wrong", "submit_databricks", ADFML_DATABRICKS_TOKEN=values["databricks"], **databricks)
    for name, host in (("refused", f"http://{REFUSED}"), ("no_host", "https://no-such-host.invalid")):
        planting.add(
            f"databricks_{name}",
            "submit_databricks",
            ADFML_DATABRICKS_TOKEN=values["databricks"],
            ADFML_DATABRICKS_HOST=host,
        )

    openai = cloud["ADFML_OPENAI_ENDPOINT"]
    planting.add("openai_wrong", "list_batches", ADFML_OPENAI_KEY=values["openai"], ADFML_OPENAI_ENDPOINT=openai)
    planting.add(
        "openai_none", "list_batches", ADFML_OPENAI_KEY=values["openai"], ADFML_OPENAI_ENDPOINT=f"http://{REFUSED}"
    )
    language = cloud["ADFML_LANGUAGE_ENDPOINT"]
    values["language key"] = cloud["ADFML_LANGUAGE_KEY"]
    planting.add(
        "language",
        "analyze",
        succeeds=True,
        ADFML_LANGUAGE_KEY=values["language key"],
        PLANTED_PATIENCE="30",
        ADFML_LANGUAGE_ENDPOINT=language,
    )
    planting.add(
        "language_wrong", "analyze", ADFML_LANGUAGE_KEY_SECRET="planted-language", ADFML_LANGUAGE_ENDPOINT=language
    )
    planting.add(
        "language_none", "analyze", ADFML_LANGUAGE_KEY=values["language"], ADFML_LANGUAGE_ENDPOINT=f"http://{REFUSED}"
    )
    for name, uri in (
        ("wrong", f"{vault.cloud.url}/azureml/online/none/score"),
        ("refused", f"http://{REFUSED}/score"),
    ):
        planting.add(f"online_{name}", "score_online", ADFML_AZURE_ML_KEY=values["azureml"], PLANTED_SCORING_URI=uri)

    for name, address in (("refused", f"http://{REFUSED}"), ("answered", f"{vault.cloud.url}/_local/requests")):
        code = quote(values["log"], safe="")
        planting.add(f"log_{name}", "post_completion", ADFML_LOGGING_ENDPOINT=f"{address}?code={code}")
    planting.add("vault", "read_vault", succeeds=True)
    planting.add("vault_none", "read_vault", ADFML_KEY_VAULT_URL="https://127.0.0.1:9")
    planting.add("vault_no_identity", "read_vault", IDENTITY_HEADER=values["wrong"])
    return planting


@dataclass
class Runs:
    """The process with the runs, in a folder of its own."""

    folder: Path
    planting: Planting
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path, planting: Planting, *, second_line: bool) -> Runs:
        """Start it: with everything logged, or with what is logged by default and nothing taken out of that."""
        level = "DEBUG" if second_line else "INFO"
        order = folder / "order" / "order.json"
        for inner in (folder / "dagster", order.parent):
            inner.mkdir(parents=True)
        (folder / "dagster" / "dagster.yaml").write_text(DAGSTER_YAML.replace("LEVEL", level))
        how = {"log": str(folder / "log.txt"), "level": level, "second_line": second_line}
        order.write_text(json.dumps({"runs": planting.runs, **how}))
        settings = {
            "DAGSTER_HOME": str(folder / "dagster"),
            "ADFML_LAKE": str(folder / "lake"),
            "ADFML_CONTROL_URL": f"sqlite:///{folder}/control.sqlite",
            "ADFML_PLANTED_PASSWORD_SECRET": "planted-database",
            "ADFML_HASH_KEY_SECRET": "planted-hash",
        }
        with (folder / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.secrets.planted_runs", str(order)],
                cwd=ROOT,
                env={**os.environ, **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return cls(folder, planting, process)

    def check(self, cloud: LocalCloud) -> None:
        """Every run ended as it has to, and no planted value was written anywhere."""
        assert self.process.wait(120) == 0, (self.folder / "output.txt").read_text()[-3000:]
        ended = json.loads((self.folder / "order" / "order.ended.json").read_text())
        assert {name for name, success in ended.items() if success} == self.planting.succeed
        assert len(ended) == len(self.planting.runs)
        places = [self.folder / name for name in ("dagster", "log.txt", "output.txt", "lake", "control.sqlite")]
        places.append(cloud.state / "server.log")
        assert all(place.exists() for place in places)
        written = b"".join(data for place in places for _, data in read_everything(place))
        # What is known to be there is found: the search sees what it looks at.
        assert all(word in written for word in (b"password authentication failed", b"database_refused", b"name 50"))
        assert find_secrets(places, self.planting.values) == set()


def test_planted_secrets_show_nowhere(vault: Vault, server: PasswordServer, tmp_path: Path) -> None:
    planting = build_planting(vault, server)
    started = [Runs.start(tmp_path / f"{line}", planting, second_line=line) for line in (True, False)]
    try:
        for runs in started:
            runs.check(vault.cloud)
    finally:
        for runs in started:
            runs.process.kill()
            runs.process.wait()
