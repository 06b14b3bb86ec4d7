"""Addresses of the lake as Azure ML takes them, and where a submission's output goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from resources.remote_jobs import RemoteJob

_FOLDER_CHARACTERS = 20


def translate_uri(uri: str, datastore: str | None = None) -> str:
    """An address of the lake (`Lake.uri`) as an input or output of an Azure ML job.

    Azure ML reads and writes blobs by https, or by a datastore of the workspace; its clients refuse `abfss://`
    (Microsoft, "Create jobs and input data for batch endpoints"). Local paths become `file://` addresses.

    Args:
        uri: a local path, `abfss://container@account.dfs.<suffix>/key` or an https address, not percent-encoded.
        datastore: a datastore of the workspace whose root is the lake's container; None: the blob's own address.
    """
    if "://" not in uri:
        return Path(uri).as_uri()
    scheme, _, rest = uri.partition("://")
    host, _, path = rest.partition("/")
    if scheme != "abfss":
        # An account without a Data Lake service: its address is host/account/container/key already.
        return f"{scheme}://{host}/{quote(path, safe='/')}"
    container, _, account = host.partition("@")
    if datastore:
        return f"azureml://datastores/{datastore}/paths/{path}"
    return f"https://{account.replace('.dfs.', '.blob.', 1)}/{container}/{quote(path, safe='/')}"


def output_folder(folder: str, token: str) -> str:
    """The folder below `folder` that one submission writes to, and no other ever does.

    An output of Azure ML must not exist yet, and a late or doubled job must not write over another's result: so each
    try has a folder of its own. It holds part of the token, by which the job is also found again.
    """
    return f"{folder.rstrip('/')}/{submission_folder(token)}"


def find_output(folder: str, job: RemoteJob) -> str:
    """The folder below `folder` that a job writes to: a submission's own, or the one that an adopted job was given."""
    return f"{folder.rstrip('/')}/{job.facts.get('output_name') or submission_folder(job.token)}"


def submission_folder(token: str) -> str:
    """The name of a submission's folder."""
    return f"submission-{token[:_FOLDER_CHARACTERS]}"
