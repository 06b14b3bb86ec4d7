"""Unity Catalog's registered models and their aliases, over the registry that the state folder's workloads write to.

As `databricks.sdk` calls it: ``GET /api/2.1/unity-catalog/models/{full_name}``, ``PUT`` and ``DELETE`` of
``…/aliases/{alias}``. Models are registered by workloads through MLflow; those whose names have three parts,
``catalog.schema.model``, are in Unity Catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from local_cloud.databricks_access import build_endpoint
from local_cloud.databricks_requests import Call, invalid, read_flag, read_number
from local_cloud.errors import ApiError
from local_cloud.model_registry import open_registry
from local_cloud.state import StateFolder
from local_cloud.tokens import TokenIssuer

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

PREFIX = "/api/2.1/unity-catalog/models"

_MISSING, _INVALID = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"


class UnityCatalogApi:
    """Answers the requests."""

    def __init__(self, state: StateFolder) -> None:
        """Create the API over a state folder's registry."""
        self._state = state

    def get_model(self, call: Call) -> dict[str, Any]:
        """``GET {full_name}``; with ``include_aliases=true`` also the aliases."""
        with_aliases = read_flag(call.query, "include_aliases")
        _, model = self._find(call)
        catalog, schema, name = model.name.split(".")
        shown = {
            "name": name,
            "catalog_name": catalog,
            "schema_name": schema,
            "full_name": model.name,
            "created_at": model.creation_timestamp,
            "updated_at": model.last_updated_timestamp,
        }
        if with_aliases and model.aliases:
            aliases = sorted(model.aliases.items())
            shown["aliases"] = [{"alias_name": alias, "version_num": int(version)} for alias, version in aliases]
        return shown

    def set_alias(self, call: Call) -> dict[str, Any]:
        """``PUT {full_name}/aliases/{alias}``: points an alias to a version, from whatever it pointed to."""
        alias, version = call.parts["alias"], read_number(call.body, "version_num")
        client, model = self._find(call)
        if version < 1:
            raise invalid(f"version_num must be the number of a version, from 1 up, not {version}.")
        with _translated():
            client.set_registered_model_alias(model.name, alias, str(version))
        return {"alias_name": alias, "version_num": version}

    def delete_alias(self, call: Call) -> dict[str, Any]:
        """``DELETE {full_name}/aliases/{alias}``."""
        alias = call.parts["alias"]
        client, model = self._find(call)
        if alias not in model.aliases:
            raise ApiError(404, _MISSING, f"Alias '{alias}' of registered model '{model.name}' does not exist.")
        with _translated():
            client.delete_registered_model_alias(model.name, alias)
        return {}

    def _find(self, call: Call) -> tuple[MlflowClient, RegisteredModel]:
        name = call.parts["full_name"]
        parts = name.split(".")
        if len(parts) != 3 or not all(parts):
            raise invalid(f"'{name}' is not a valid name: a registered model is catalog.schema.model.")
        client = open_registry(self._state)
        if client is None:
            raise ApiError(404, _MISSING, f"Registered model '{name}' does not exist.")
        with _translated():
            return client, client.get_registered_model(name)


def build_routes(state: StateFolder, issuer: TokenIssuer) -> list[Route]:
    """The routes of the API; every one demands a token for the workspace."""
    api = UnityCatalogApi(state)
    alias = f"{PREFIX}/{{full_name}}/aliases/{{alias}}"
    served: list[tuple[str, str, Callable[[Call], dict[str, Any]]]] = [
        ("GET", f"{PREFIX}/{{full_name}}", api.get_model),
        ("PUT", alias, api.set_alias),
        ("DELETE", alias, api.delete_alias),
    ]
    return [Route(path, build_endpoint(handler, issuer), methods=[method]) for method, path, handler in served]


@contextmanager
def _translated() -> Iterator[None]:
    """MLflow's errors as the service has them."""
    from mlflow.exceptions import MlflowException

    statuses = {_MISSING: 404, _INVALID: 400}
    try:
        yield
    except MlflowException as error:
        if error.error_code not in statuses:
            raise
        raise ApiError(statuses[error.error_code], error.error_code, str(error.message)) from error
