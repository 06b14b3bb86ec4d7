"""Signing in to Databricks with the Azure identity of the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from databricks.sdk.credentials_provider import CredentialsStrategy

from resources.settings import DATABRICKS_RESOURCE_ID

if TYPE_CHECKING:
    from databricks.sdk.core import Config

DATABRICKS_SCOPE = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d/.default"
MANAGEMENT_SCOPE = "https://management.core.windows.net//.default"


class AzureIdentityCredentials(CredentialsStrategy):
    """databricks-sdk has no managed-identity strategy of its own: azure-identity's default chain, as one.

    An identity that is no user of the workspace, but has a role on its Azure resource, also needs
    ADFML_DATABRICKS_RESOURCE_ID (Databricks, "Service principal authentication with Microsoft Entra ID tokens").
    """

    def auth_type(self) -> str:
        """The strategy's name in the SDK's messages."""
        return "azure-identity"

    def __call__(self, cfg: Config) -> Callable[[], dict[str, str]]:
        """A function that gives the headers of a request; azure-identity caches and renews the tokens."""
        from azure.identity import DefaultAzureCredential

        credential = DefaultAzureCredential()
        resource_id = DATABRICKS_RESOURCE_ID.read()

        def build_headers() -> dict[str, str]:
            headers = {"Authorization": f"Bearer {credential.get_token(DATABRICKS_SCOPE).token}"}
            if resource_id:
                headers["X-Databricks-Azure-Workspace-Resource-Id"] = resource_id
                headers["X-Databricks-Azure-SP-Management-Token"] = credential.get_token(MANAGEMENT_SCOPE).token
            return headers

        return build_headers
