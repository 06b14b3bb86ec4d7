"""The two requests to a storage account that obstore does not send: make a container, delete one blob.

obstore deletes by batches only, which not every kind of account and credential allows.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from resources.errors import Refused
from resources.lake_addresses import AccountAddress
from resources.lake_credentials import LakeCredential
from resources.lake_errors import explain_status, refuse_sign_in, report_no_answer

_RETRIES = 5
_SIGNATURE = re.compile(r"sig=[^&\s]+")


def create_container(address: AccountAddress, container: str, credential: LakeCredential) -> None:
    """Make a container; one that is there is no error.

    Raises:
        Refused: the credential may not make it.
        Unreachable: the account does not answer.
    """
    from azure.core.exceptions import HttpResponseError, ResourceExistsError

    try:
        with _open_client(address, container, credential) as client:
            client.create_container()
    except ResourceExistsError:
        return
    except Exception as error:
        if isinstance(error, HttpResponseError) and (error.status_code or 0) in {401, 403, 404}:
            name = address.name_container(container)
            reason = f"there is no container '{name}', and it could not be made (status {error.status_code})"
            check = f"{credential.advice}, or let an administrator make the container"
            raise Refused("The lake", str(address), reason, check) from None
        _explain(error, address, container, credential)


def delete_blob(address: AccountAddress, container: str, key: str, credential: LakeCredential) -> None:
    """Delete a blob; one that is not there is no error.

    Raises:
        Refused: the credential may not delete it.
        Unreachable: the account does not answer.
    """
    from azure.core.exceptions import ResourceNotFoundError

    try:
        with _open_client(address, container, credential) as client:
            client.delete_blob(key)
    except ResourceNotFoundError:
        return
    except Exception as error:
        _explain(error, address, f"{container}/{key}", credential)


def _open_client(address: AccountAddress, container: str, credential: LakeCredential) -> Any:
    from azure.storage.blob import ContainerClient

    secret: Any = credential.build_sdk_credential()
    if credential.kind == "key":
        secret = {"account_name": address.account, "account_key": secret}
    if credential.kind == "sas":
        # The token is in the addresses, which this logger writes when it is set to DEBUG; one instance is added once.
        logging.getLogger("urllib3.connectionpool").addFilter(_HIDE_SIGNATURE)
    return ContainerClient(
        address.endpoint,
        address.name_container(container),
        credential=secret,
        retry_total=_RETRIES,
        initial_backoff=1,
        increment_base=2,
        connection_timeout=10,
    )


class _HideSignature(logging.Filter):
    """Takes the signature of SAS tokens out of what is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        if isinstance(record.args, tuple):
            record.args = tuple(_SIGNATURE.sub("sig=hidden", a) if isinstance(a, str) else a for a in record.args)
        return True


_HIDE_SIGNATURE = _HideSignature()


def _explain(error: Exception, address: AccountAddress, where: str, credential: LakeCredential) -> None:
    """Raise an error of the SDK as one of this package. Its text can hold a token: it is not repeated."""
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    if isinstance(error, HttpResponseError) and error.status_code:
        code = getattr(error, "error_code", None)
        raise explain_status(
            error.status_code, str(code) if code else None, address, where, credential.advice
        ) from None
    if isinstance(error, ClientAuthenticationError):
        raise refuse_sign_in(address, type(error).__name__) from None
    if isinstance(error, AzureError):
        raise report_no_answer(address, type(error).__name__) from None
    if isinstance(error, ValueError):
        raise Refused("The lake", str(address), "the credential has not the form of one", credential.advice) from None
    raise error
