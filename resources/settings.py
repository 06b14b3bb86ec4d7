"""Settings: what a deployment sets in its environment. Values are read when they are needed, never at import."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from resources.errors import SettingInvalid, SettingMissing


@dataclass(frozen=True)
class Setting:
    """One environment variable of the project.

    Attributes:
        name: of the environment variable.
        purpose: what it is, in words that complete "X is not set: ...".
        example: a value that works.
        secret: whether the value must never be shown.
        default: what holds when it is not set; None: it is needed.
    """

    name: str
    purpose: str
    example: str
    secret: bool = False
    default: str | None = None

    def read(self, environment: Mapping[str, str] | None = None) -> str:
        """The value, or the default.

        Raises:
            SettingMissing: there is neither.
        """
        value = (os.environ if environment is None else environment).get(self.name, "").strip()
        if value:
            return value
        if self.default is None:
            raise SettingMissing(self.name, self.purpose, self.example)
        return self.default

    def read_number(self) -> float:
        """The value as a number above 0.

        Raises:
            SettingInvalid: it is none.
        """
        text = self.read()
        try:
            number = float(text)
        except ValueError:
            raise SettingInvalid(self.name, f"a number, for example {self.example}") from None
        if number <= 0:
            raise SettingInvalid(self.name, f"a number above 0, for example {self.example}")
        return number


LAKE = Setting(
    "ADFML_LAKE",
    "the lake's root, a folder or an ADLS Gen2 / Blob account",
    "./lake or abfss://myaccount.dfs.core.windows.net",
)
LAKE_ENDPOINT = Setting(
    "ADFML_LAKE_ENDPOINT",
    "the Blob service's address where it is not https://<account>.blob.core.windows.net",
    "https://<host>/<account>",
    default="",
)
LAKE_SAS = Setting(
    "ADFML_LAKE_SAS",
    "a SAS token for the lake's account, with read, add, create, write, delete and list",
    "sv=...&sig=...",
    secret=True,
    default="",
)
LAKE_KEY = Setting("ADFML_LAKE_KEY", "the access key of the lake's account", "base64", secret=True, default="")
LAKE_SAS_SECRET = Setting(
    "ADFML_LAKE_SAS_SECRET", "the name of the Key Vault secret that holds the lake's SAS token", "lake-sas", default=""
)
LAKE_KEY_SECRET = Setting(
    "ADFML_LAKE_KEY_SECRET",
    "the name of the Key Vault secret that holds the lake's account key",
    "lake-key",
    default="",
)
KEY_VAULT_URL = Setting(
    "ADFML_KEY_VAULT_URL",
    "the Key Vault that holds the secrets that other settings name",
    "https://myvault.vault.azure.net",
)
CONTROL = Setting(
    "ADFML_CONTROL_URL",
    "the SQLAlchemy URL of the control database, which holds the ledger of remote jobs and the watermark intervals",
    "sqlite:///control.sqlite or postgresql+psycopg://user@host/adfml",
    secret=True,
)
DATABRICKS_HOST = Setting(
    "ADFML_DATABRICKS_HOST",
    "the Databricks workspace's address",
    "https://adb-123.4.azuredatabricks.net",
)
DATABRICKS_TOKEN = Setting(
    "ADFML_DATABRICKS_TOKEN",
    "a personal access token; leave it out to use the managed identity",
    "dapi...",
    secret=True,
    default="",
)
DATABRICKS_RESOURCE_ID = Setting(
    "ADFML_DATABRICKS_RESOURCE_ID",
    "the workspace's Azure resource id; needed where the identity is no user of the workspace",
    "/subscriptions/.../workspaces/ml",
    default="",
)
AZURE_ML_WORKSPACE = Setting(
    "ADFML_AZURE_ML_WORKSPACE",
    "the Azure resource id of the Azure ML workspace: to cancel batch jobs, and to look up what the YAML does not give",
    "/subscriptions/<id>/resourceGroups/<group>/providers/Microsoft.MachineLearningServices/workspaces/<name>",
)
AZURE_ML_KEY = Setting(
    "ADFML_AZURE_ML_KEY",
    "the key of the online endpoint; leave it out to use the managed identity",
    "base64",
    secret=True,
    default="",
)
OPENAI_ENDPOINT = Setting(
    "ADFML_OPENAI_ENDPOINT",
    "the Azure OpenAI resource's v1 address",
    "https://myresource.openai.azure.com/openai/v1/",
)
OPENAI_KEY = Setting(
    "ADFML_OPENAI_KEY",
    "the Azure OpenAI resource's key; leave it out to use the managed identity",
    "hexadecimal",
    secret=True,
    default="",
)
LANGUAGE_ENDPOINT = Setting(
    "ADFML_LANGUAGE_ENDPOINT",
    "the Azure AI Language resource's address",
    "https://myresource.cognitiveservices.azure.com",
)
LANGUAGE_KEY = Setting(
    "ADFML_LANGUAGE_KEY",
    "the Azure AI Language resource's key; leave it out to use the managed identity",
    "hexadecimal",
    secret=True,
    default="",
)
LOGGING_ENDPOINT = Setting(
    "ADFML_LOGGING_ENDPOINT",
    "where completions are posted (the pipelines' LoggingEndpoint); without it they are only logged",
    "https://example.com/log",
    default="",
)
MANAGED_IDENTITY_CLIENT_ID = Setting(
    "AZURE_CLIENT_ID",
    "the client id of a user-assigned managed identity",
    "00000000-0000-0000-0000-000000000000",
    default="",
)
HASH_KEY = Setting(
    "ADFML_HASH_KEY",
    "the key under which personal data is hashed; needed where a table has `hash` columns",
    "the output of: openssl rand -hex 32",
    secret=True,
)
FIRST_DAY = Setting(
    "ADFML_FIRST_DAY",
    "the first day of the daily partitions, UTC",
    "2026-01-01",
    default="2026-01-01",
)

ALL: tuple[Setting, ...] = (
    LAKE,
    LAKE_ENDPOINT,
    LAKE_SAS,
    LAKE_KEY,
    LAKE_SAS_SECRET,
    LAKE_KEY_SECRET,
    KEY_VAULT_URL,
    CONTROL,
    DATABRICKS_HOST,
    DATABRICKS_TOKEN,
    DATABRICKS_RESOURCE_ID,
    AZURE_ML_WORKSPACE,
    AZURE_ML_KEY,
    OPENAI_ENDPOINT,
    OPENAI_KEY,
    LANGUAGE_ENDPOINT,
    LANGUAGE_KEY,
    MANAGED_IDENTITY_CLIENT_ID,
    LOGGING_ENDPOINT,
    HASH_KEY,
    FIRST_DAY,
)


def database_setting(database: str) -> Setting:
    """The setting that holds the address of a source database: `shop` is at ADFML_SHOP_URL."""
    return Setting(
        f"ADFML_{re.sub(r'[^A-Za-z0-9]', '_', database).upper()}_URL",
        f"the SQLAlchemy URL of database '{database}'",
        "sqlite:///shop.sqlite, postgresql+psycopg://user@host/db or mssql+mssqlpython://@server:1433/db?Encrypt=yes",
        secret=True,
    )
