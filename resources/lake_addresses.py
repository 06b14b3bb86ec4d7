"""Where the lake is: a folder, or a storage account and the address of its Blob service."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from resources.addresses import is_safe
from resources.errors import SettingInvalid
from resources.settings import LAKE, LAKE_ENDPOINT, Setting

ACCOUNT_CONTAINERS = {"ml": "ml-data"}
"""The lake's containers that have another name in an account: Azure wants three characters at least."""

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_HOST = re.compile(r"(?P<account>[a-z0-9]{3,24})(?P<zone>\.z[0-9]+)?\.(?:blob|dfs)\.(?P<cloud>[a-z0-9][a-z0-9.-]*)")
_EXPECTED = (
    "a folder, or abfss://<account>.dfs.core.windows.net without a container, https://<account>.blob.core.windows.net, "
    "or https://<host>/<account>; without a SAS token or key, which {sas} and {key} are for"
)


@dataclass(frozen=True)
class FolderAddress:
    """A lake in a folder of this machine; `folder` is absolute."""

    folder: Path

    def __str__(self) -> str:
        """The folder."""
        return str(self.folder)

    def build_uri(self, container: str, key: str) -> str:
        """The path of a file."""
        return str(self.folder / container / key)

    def build_url(self, container: str, key: str) -> None:
        """None: a browser opens no files of the machine that runs the web server."""


@dataclass(frozen=True)
class AccountAddress:
    """A lake in a storage account.

    Attributes:
        account: its name.
        endpoint: the Blob service's address, `https://<account>.blob.core.windows.net` or `https://<host>/<account>`.
        host: of the Data Lake service, as `abfss://` addresses have it; None: only the Blob service is known.
    """

    account: str
    endpoint: str
    host: str | None

    def __str__(self) -> str:
        """As `abfss://` where that is known, as messages have it."""
        return f"abfss://{self.host}" if self.host else self.endpoint

    @property
    def plain_http(self) -> bool:
        """Whether the endpoint is without TLS: only ever on this machine."""
        return self.endpoint.startswith("http://")

    def name_container(self, container: str) -> str:
        """What a container of the lake is called in the account."""
        return ACCOUNT_CONTAINERS.get(container, container)

    def build_uri(self, container: str, key: str) -> str:
        """The address of a file as Databricks takes it, or of its blob where there is no Data Lake service."""
        container = self.name_container(container)
        if self.host:
            return f"abfss://{container}@{self.host}/{key}"
        return f"{self.endpoint}/{container}/{key}"

    def build_url(self, container: str, key: str) -> str:
        """The address of a blob, for whoever may read it."""
        return f"{self.endpoint}/{self.name_container(container)}/{key}"


LakeAddress = FolderAddress | AccountAddress


def read_address() -> LakeAddress:
    """The address in ADFML_LAKE, and ADFML_LAKE_ENDPOINT where the Blob service is not where Azure has it.

    Raises:
        SettingMissing, SettingInvalid: one of them; the value is not repeated, it may hold a secret by mistake.
    """
    value = LAKE.read()
    endpoint = LAKE_ENDPOINT.read().rstrip("/")
    if value.startswith("file://") or "://" not in value:
        if endpoint:
            raise SettingInvalid(LAKE_ENDPOINT.name, f"nothing, since {LAKE.name} is a folder")
        return FolderAddress(Path(value.removeprefix("file://")).absolute())
    address = _parse_account(value.rstrip("/"))
    if not endpoint:
        return address
    parts = _split(endpoint, LAKE_ENDPOINT, "https://<host> or https://<host>/<account>, plain http only to loopback")
    _require_safe(parts, LAKE_ENDPOINT)
    return AccountAddress(address.account, endpoint, address.host)


def _parse_account(value: str) -> AccountAddress:
    expected = _EXPECTED.format(sas="ADFML_LAKE_SAS", key="ADFML_LAKE_KEY")
    parts = _split(value, LAKE, expected)
    match = _HOST.fullmatch(parts.netloc)
    path = parts.path.strip("/")
    if match and not path and parts.scheme in {"abfss", "https"}:
        zone, cloud = match["zone"] or "", match["cloud"]
        account = match["account"]
        return AccountAddress(account, f"https://{account}{zone}.blob.{cloud}", f"{account}{zone}.dfs.{cloud}")
    if not match and _ACCOUNT.fullmatch(path) and parts.scheme in {"http", "https"}:
        _require_safe(parts, LAKE)
        return AccountAddress(path, value, None)
    raise SettingInvalid(LAKE.name, expected)


def _split(value: str, setting: Setting, expected: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        known = parts.hostname is not None and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known or "@" in value or parts.query or parts.fragment:
        raise SettingInvalid(setting.name, expected)
    return parts


def _require_safe(parts: SplitResult, setting: Setting) -> None:
    """Credentials travel in the requests: without TLS they may not leave this machine."""
    if not is_safe(parts):
        raise SettingInvalid(setting.name, "an https address; plain http is only for 127.0.0.1 and localhost")
