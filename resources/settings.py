"""Settings: what a deployment sets in its environment. Values are read when they are needed, never at import.

A secret setting ADFML_X may be given by ADFML_X_SECRET instead: the name of the Key Vault secret that holds its value.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from resources.errors import SettingInvalid, SettingMissing
from resources.redaction import remember_secret

_PASSWORD = re.compile(r"://[^:/]*:([^@]+)@")
"""In a URL, as SQLAlchemy reads it: a user may hold @, as in user@server."""

_PASSWORD_OPTIONS = ("password", "pwd")


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

    @property
    def secret_name(self) -> str:
        """The environment variable that may name a Key Vault secret in place of a secret setting's value."""
        return f"{self.name}_SECRET"

    def read(self, environment: Mapping[str, str] | None = None) -> str:
        """The value, else that of the Key Vault secret that is named in its place, else the default.

        Raises:
            SettingMissing: there is none of them.
            SettingInvalid, Refused, Unreachable: the Key Vault's, see `resources.key_vault.read_secret`.
        """
        if value := self.read_given(environment):
            return value
        if named := self.read_named_secret(environment):
            from resources.key_vault import read_secret

            return read_secret(named, self.secret_name)
        if self.default is None:
            also = f" (or, in {self.secret_name}, the Key Vault secret that holds it)" if self.secret else ""
            raise SettingMissing(self.name, f"{self.purpose}{also}", self.example)
        return self.default

    def read_given(self, environment: Mapping[str, str] | None = None) -> str:
        """The value that the environment itself holds, or ""."""
        value = (os.environ if environment is None else environment).get(self.name, "").strip()
        if value:
            self._remember(value)
        return value

    def _remember(self, value: str) -> None:
        if self.secret:
            remember_secret(value)

    def read_named_secret(self, environment: Mapping[str, str] | None = None) -> str:
        """The name of the Key Vault secret that holds the value, or ""; of a setting that is no secret always ""."""
        found = (os.environ if environment is None else environment).get(self.secret_name, "").strip()
        return found if self.secret else ""

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
        if not 0 < number < math.inf:
            raise SettingInvalid(self.name, f"a number above 0, for example {self.example}")
        return number


@dataclass(frozen=True)
class DatabaseSetting(Setting):
    """The setting that holds a database's SQLAlchemy URL; its password may be in a setting of its own."""

    @property
    def password(self) -> Setting:
        """ADFML_X_PASSWORD for ADFML_X_URL: the password alone, where the URL has a user and none."""
        purpose = f"the password of the user in {self.name}, where the URL has none"
        return Setting(f"{self.name.removesuffix('_URL')}_PASSWORD", purpose, "a password", secret=True, default="")

    def read(self, environment: Mapping[str, str] | None = None) -> str:
        """The URL, with the password of its own setting where it has none.

        Raises:
            SettingInvalid: there is a password, but no user in the URL.
            SettingMissing, Refused, Unreachable: as `Setting.read`.
        """
        address = super().read(environment)
        self._remember(address)
        return add_password(address, self, self.password.read(environment))

    def _remember(self, value: str) -> None:
        # Of a URL only the password: messages show the rest, to say where a database is.
        password = _PASSWORD.search(value)
        if password is not None:
            remember_secret(password[1])
            remember_secret(unquote(password[1]))
        # A driver may be given its options behind the address, the password among them.
        for name, option in parse_qsl(value.partition("?")[2]):
            if name.lower() in _PASSWORD_OPTIONS:
                remember_secret(option)


def add_password(address: str, setting: DatabaseSetting, password: str) -> str:
    """A SQLAlchemy URL with a password; one that has its own, or is no URL, stays as it is.

    Raises:
        SettingInvalid: the URL has no user that the password could be of.
    """
    if not password or address.startswith(("sqlite", "duckdb")):
        return address
    import sqlalchemy as sa

    try:
        url = sa.make_url(address)
    except (sa.exc.ArgumentError, ValueError):
        return address  # said by whoever opens the database
    if url.password:
        return address
    if not url.username:
        raise SettingInvalid(setting.name, f"a user before the host, as {setting.password.name} gives a password")
    return url.set(password=password).render_as_string(hide_password=False)


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
KEY_VAULT_URL = Setting(
    "ADFML_KEY_VAULT_URL",
    "the Key Vault that holds the secrets that other settings name",
    "https://myvault.vault.azure.net",
)
CA_BUNDLE = Setting(
    "ADFML_CA_BUNDLE",
    "a PEM file of the authorities that the Key Vault's certificate is checked against, in place of the public ones",
    "/etc/ssl/proxy.pem",
    default="",
)
CONTROL = DatabaseSetting(
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
DOCS_URL = Setting(
    "ADFML_DOCS_URL",
    "where the folder docs is published, for links from failures and alerts to what to do",
    "https://example.com/adfml/docs",
    default="",
)
FIRST_DAY = Setting(
    "ADFML_FIRST_DAY",
    "the first day of the daily partitions, UTC",
    "2026-01-01",
    default="2026-01-01",
)
ENVIRONMENT = Setting(
    "ADFML_ENVIRONMENT",
    "which environment this is: dev, staging or production; schedules and automation start as on in production only",
    "production",
    default="dev",
)
SCHEDULES = Setting(
    "ADFML_SCHEDULES",
    "whether schedules and automation start as on or off, where that is not to follow from ADFML_ENVIRONMENT",
    "on",
    default="",
)

GIT_URL = Setting(
    "ADFML_GIT_URL",
    "the address of the repository that this project is in (GitHub, GitLab, Azure Repos): code is linked there",
    "https://dev.azure.com/org/project/_git/adfml",
    default="",
)
GIT_BRANCH = Setting(
    "ADFML_GIT_BRANCH",
    "the branch that is deployed, for the links to ADFML_GIT_URL",
    "main",
    default="main",
)
POOL_LIMITS = Setting(
    "ADFML_POOL_LIMITS",
    "how many runs of a pool may run at once, where that is not to be what is declared",
    "databricks=4,database_shop=2",
    default="",
)
UI_URL = Setting(
    "ADFML_UI_URL",
    "the address of Dagster's UI, for links in alerts",
    "https://dagster.example.com",
    default="",
)
ALERTS_EMAIL_TO = Setting(
    "ADFML_ALERTS_EMAIL_TO",
    "who gets alerts by mail, separated by commas",
    "data-team@example.com,on-call@example.com",
    default="",
)
ALERTS_EMAIL_FROM = Setting("ADFML_ALERTS_EMAIL_FROM", "who sends them", "adfml@example.com", default="")
ALERTS_SMTP = Setting(
    "ADFML_ALERTS_SMTP",
    "the mail server: smtp:// with STARTTLS, smtps:// with TLS from the start, smtp+insecure:// a relay without either",
    "smtp://user@smtp.example.com:587",
)
ALERTS_SMTP_PASSWORD = Setting(
    "ADFML_ALERTS_SMTP_PASSWORD", "the password of the mail server's user", "a password", secret=True
)
ALERTS_TEAMS_URL = Setting(
    "ADFML_ALERTS_TEAMS_URL",
    "the webhook of a Teams workflow (`Post to a channel when a webhook request is received`)",
    "https://<region>.logic.azure.com/workflows/...",
    secret=True,
    default="",
)
ALERTS_SLACK_URL = Setting(
    "ADFML_ALERTS_SLACK_URL",
    "a Slack incoming webhook, or one that takes the same",
    "https://hooks.slack.com/services/...",
    secret=True,
    default="",
)
ALERTS_REPEAT_HOURS = Setting(
    "ADFML_ALERTS_REPEAT_HOURS",
    "after how many hours what keeps failing is told again",
    "24",
    default="24",
)

ALL: tuple[Setting, ...] = (
    LAKE,
    LAKE_ENDPOINT,
    LAKE_SAS,
    LAKE_KEY,
    KEY_VAULT_URL,
    CA_BUNDLE,
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
    DOCS_URL,
    FIRST_DAY,
    ENVIRONMENT,
    SCHEDULES,
    POOL_LIMITS,
    UI_URL,
    ALERTS_EMAIL_TO,
    ALERTS_EMAIL_FROM,
    ALERTS_SMTP,
    ALERTS_SMTP_PASSWORD,
    ALERTS_TEAMS_URL,
    ALERTS_SLACK_URL,
    ALERTS_REPEAT_HOURS,
    GIT_URL,
    GIT_BRANCH,
)


def database_setting(database: str) -> DatabaseSetting:
    """The setting that holds the address of a source database: `shop` is at ADFML_SHOP_URL."""
    return DatabaseSetting(
        f"ADFML_{re.sub(r'[^A-Za-z0-9]', '_', database).upper()}_URL",
        f"the SQLAlchemy URL of database '{database}'",
        "sqlite:///shop.sqlite, duckdb:///shop.duckdb, postgresql+psycopg://user@host/db or "
        "mssql+mssqlpython://@server:1433/db?Encrypt=yes",
        secret=True,
    )
