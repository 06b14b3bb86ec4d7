"""obstore's stores of the lake's containers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from resources.lake_addresses import FolderAddress, LakeAddress
from resources.lake_administration import create_container
from resources.lake_credentials import LakeCredential
from resources.lake_errors import explain_errors, is_container_missing

# A block of 4 MB must pass a slow line within this; obstore's own limit is 30 seconds.
_REQUEST_TIMEOUT = timedelta(minutes=2)
_CONNECT_TIMEOUT = timedelta(seconds=10)
MAX_RETRIES = 8
_MAX_BACKOFF = timedelta(seconds=8)
_RETRY_TIMEOUT = timedelta(minutes=3)


def build_store(address: LakeAddress, container: str, credential: LakeCredential | None) -> Any:
    """The store of a container.

    Raises:
        Refused, StorageFull: a folder cannot be made.
    """
    if isinstance(address, FolderAddress):
        from obstore.store import LocalStore

        folder = address.folder / container
        with explain_errors(address, container, ""):
            folder.mkdir(parents=True, exist_ok=True)
        return LocalStore(folder)
    from obstore.store import AzureStore

    assert credential is not None  # noqa: S101 - an account is always signed in to
    return AzureStore(
        address.name_container(container),
        account_name=address.account,
        endpoint=address.endpoint,
        credential_provider=credential.build_provider(),
        client_options={
            "allow_http": address.plain_http,
            "timeout": _REQUEST_TIMEOUT,
            "connect_timeout": _CONNECT_TIMEOUT,
        },
        retry_config={
            "max_retries": MAX_RETRIES,
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": _MAX_BACKOFF, "base": 2},
            "retry_timeout": _RETRY_TIMEOUT,
        },
    )


def ensure_container(store: Any, address: LakeAddress, container: str, credential: LakeCredential | None) -> None:
    """Make a container that is missing. Looked at before the first write: a stream that failed cannot be sent again.

    Raises:
        Refused: it is missing, and may not be made with this credential.
        Unreachable: the account does not answer.
    """
    import obstore
    from obstore.exceptions import BaseError

    if credential is None or isinstance(address, FolderAddress):
        return
    with explain_errors(address, container, credential.advice):
        try:
            # A prefix without files: one request, whatever the container holds.
            obstore.list(store, "_none").collect()
        except (BaseError, FileNotFoundError) as error:
            if not is_container_missing(error):
                raise
        else:
            return
    create_container(address, container, credential)
