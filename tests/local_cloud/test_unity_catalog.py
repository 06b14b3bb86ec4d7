"""Aliases of registered models through the real SDK, over the registry that workloads and online endpoints use."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from databricks.sdk.errors import InternalError, InvalidParameterValue, NotFound, ResourceDoesNotExist

from local_cloud.databricks_requests import Call
from local_cloud.errors import ApiError
from local_cloud.state import StateFolder
from local_cloud.tokens import Claims
from local_cloud.unity_catalog_api import PREFIX, UnityCatalogApi

from .conftest import Registry, Workspace

NAME = "main.ml.spend"


@pytest.fixture
def models(registry: Registry, workspace: Workspace) -> object:
    return workspace.client.registered_models


def test_aliases_are_pointed_moved_and_taken_away(models, registry: Registry) -> None:
    assert (models.get(NAME).full_name, models.get(NAME, include_aliases=True).aliases) == (NAME, [])
    pointed = models.set_alias(NAME, "champion", 1)
    assert (pointed.alias_name, pointed.version_num) == ("champion", 1)
    models.set_alias(NAME, "challenger", 2)
    models.set_alias(NAME, "champion", 2)
    found = models.get(NAME, include_aliases=True)
    assert [(one.alias_name, one.version_num) for one in found.aliases] == [("challenger", 2), ("champion", 2)]
    assert (found.catalog_name, found.schema_name, found.name) == ("main", "ml", "spend")
    assert models.get(NAME).aliases == []
    # The very registry: what a job or an online endpoint sees.
    assert registry.aliases(NAME) == {"champion": 2, "challenger": 2}
    for alias in ("champion", "challenger"):
        models.delete_alias(NAME, alias)
    assert registry.aliases(NAME) == {}


def test_what_is_not_there_is_said_as_the_service_does(models) -> None:
    with pytest.raises(ResourceDoesNotExist, match=r"main\.ml\.other"):
        models.get("main.ml.other")
    with pytest.raises(ResourceDoesNotExist, match=r"main\.ml\.other"):
        models.set_alias("main.ml.other", "champion", 1)
    with pytest.raises(ResourceDoesNotExist, match="version=3"):
        models.set_alias(NAME, "champion", 3)
    with pytest.raises(NotFound, match=f"Alias 'champion' of registered model '{NAME}' does not exist"):
        models.delete_alias(NAME, "champion")
    call = Call("GET", PREFIX, {}, {}, Claims("me", "you", 0), {"full_name": NAME})
    with pytest.raises(ApiError, match="404 RESOURCE_DOES_NOT_EXIST"):
        UnityCatalogApi(StateFolder.at(Path("/nowhere"))).get_model(call)


@pytest.mark.parametrize(
    ("name", "alias", "version", "expected"),
    [
        ("forecast", "champion", 1, "'forecast' is not a valid name"),
        ("main.ml.", "champion", 1, "'main.ml.' is not a valid name"),
        (NAME, "latest", 1, "'latest' alias name"),
        (NAME, "v1", 1, "alias name 'v1' is reserved"),
        (NAME, "champion", 0, "from 1 up, not 0"),
        (NAME, "champion", None, "Missing required field: version_num"),
        (NAME, "champion", "one", "version_num must be a number, not 'one'"),
    ],
)
def test_wrong_values_are_refused(models, name: str, alias: str, version: object, expected: str) -> None:
    with pytest.raises(InvalidParameterValue, match=expected):
        models.set_alias(name, alias, version)


def test_only_the_workspaces_tokens_open_it(models, workspace: Workspace) -> None:
    url = f"{workspace.cloud.url}{PREFIX}/{NAME}"
    assert workspace.http.get(url).json()["error_code"] == "UNAUTHENTICATED"
    headers = workspace.client.config.authenticate()
    assert workspace.http.get(url, headers=headers).json()["full_name"] == NAME
    assert workspace.http.put(f"{url}/aliases/champion", headers=headers, content=b"{").status_code == 400


def test_faults_apply_as_everywhere(models, registry: Registry, workspace: Workspace) -> None:
    path = f"{PREFIX}/{NAME}/aliases/champion"
    workspace.order(kind="status", path=path, code=500)
    with pytest.raises(InternalError):
        models.set_alias(NAME, "champion", 1)
    assert registry.aliases(NAME) == {}
    workspace.order(kind="lost_answer", path=path, times=1)
    headers = workspace.client.config.authenticate()
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        httpx.put(f"{workspace.cloud.url}{path}", headers=headers, json={"version_num": 2})
    assert registry.aliases(NAME) == {"champion": 2}
    models.delete_alias(NAME, "champion")
