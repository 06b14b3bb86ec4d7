from __future__ import annotations

import sqlite3
import time

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError, DefaultAzureCredential, ManagedIdentityCredential
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import CredentialsStrategy
from databricks.sdk.errors import PermissionDenied, Unauthenticated

from local_cloud.databricks_access import RESOURCE
from local_cloud.state import StateFolder
from local_cloud.tokens import TokenIssuer

from .conftest import SCOPE, Workspace


class FixedToken(CredentialsStrategy):
    def __init__(self, token: str | None) -> None:
        self._token = token

    def auth_type(self) -> str:
        return "fixed"

    def __call__(self, cfg: object) -> object:
        return lambda: {} if self._token is None else {"Authorization": f"Bearer {self._token}"}


@pytest.fixture
def environment(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found = workspace.cloud.environment()
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def client(workspace: Workspace, token: str | None) -> WorkspaceClient:
    return WorkspaceClient(host=workspace.cloud.url, credentials_strategy=FixedToken(token))


def issuer(workspace: Workspace) -> TokenIssuer:
    state = StateFolder.at(workspace.cloud.state)
    with sqlite3.connect(state.database) as connection:
        secret = connection.execute("SELECT value FROM settings WHERE name = 'token_secret'").fetchone()[0]
    return TokenIssuer(secret)


@pytest.mark.parametrize("credential", [DefaultAzureCredential, ManagedIdentityCredential])
def test_azure_identity_gets_a_token_that_databricks_takes(
    workspace: Workspace, environment: dict[str, str], credential: type
) -> None:
    token = credential().get_token(SCOPE)
    assert token.expires_on > time.time() + 3600
    assert {job.settings.name for job in client(workspace, token.token).jobs.list()} >= {"plain", "flaky"}


def test_a_user_assigned_identity_is_who_runs_are_started_by(workspace: Workspace, environment: dict[str, str]) -> None:
    token = ManagedIdentityCredential(client_id="11111111-2222-3333-4444-555555555555").get_token(SCOPE).token
    run_id = client(workspace, token).jobs.run_now(workspace.ids["plain"]).response.run_id
    assert workspace.wait(run_id).creator_user_name == "11111111-2222-3333-4444-555555555555"


def test_a_wrong_identity_header_is_refused(
    workspace: Workspace, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, query = environment["IDENTITY_ENDPOINT"], {"api-version": "2019-08-01", "resource": RESOURCE}
    for headers in ({}, {"x-identity-header": "wrong"}):
        answer = httpx.get(endpoint, params=query, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["statusCode"] == 401
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises((ClientAuthenticationError, CredentialUnavailableError), match="X-IDENTITY-HEADER"):
        ManagedIdentityCredential().get_token(SCOPE)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"api-version": "2019-08-01"}, "resource is required"),
        ({"api-version": "2017-09-01", "resource": RESOURCE}, "2017-09-01"),
    ],
)
def test_an_incomplete_identity_request_says_what_is_wrong(
    environment: dict[str, str], query: dict[str, str], problem: str
) -> None:
    headers = {"x-identity-header": environment["IDENTITY_HEADER"]}
    answer = httpx.get(environment["IDENTITY_ENDPOINT"], params=query, headers=headers)
    assert answer.status_code == 400
    assert problem in answer.json()["message"]


def test_databricks_refuses_what_is_no_valid_token_of_its_own(workspace: Workspace) -> None:
    valid, _ = issuer(workspace).issue(RESOURCE, "me")
    expired, _ = issuer(workspace).issue(RESOURCE, "me", lifetime_seconds=-1)
    foreign, _ = issuer(workspace).issue("https://ml.azure.com", "me")
    forged, _ = TokenIssuer("another secret").issue(RESOURCE, "me")
    assert list(client(workspace, valid).jobs.list())
    cases = [
        (None, Unauthenticated, "Credential was not sent"),
        ("no-token", Unauthenticated, "Credential was not sent"),
        (expired, Unauthenticated, "expired"),
        (foreign, Unauthenticated, "Expected aud claim"),
        (forged, PermissionDenied, "Invalid access token"),
    ]
    for token, error, message in cases:
        with pytest.raises(error, match=message):
            list(client(workspace, token).jobs.list())


def test_another_host_name_is_not_served(workspace: Workspace) -> None:
    answer = httpx.get(f"{workspace.cloud.url}/_local/health", headers={"Host": "evil.example"})
    assert answer.status_code == 400
