"""What the store of the lake says when it fails, as errors that say where and what to do."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from resources.errors import Refused, ResourceError, StorageFull, Unreachable
from resources.lake_addresses import AccountAddress, LakeAddress

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
# obstore gives the same failure as its own error or as OSError, depending on the call; only the text tells which.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_PROVIDER = "External Azure credential provider"
_NO_ANSWER = ("error sending request", "operation timed out", "HTTP error")
_ACCOUNT_FULL = {"InsufficientAccountQuota", "BlobQuotaExceeded", "ContainerQuotaExceeded"}
_TRANSIENT = {408, 429, 500, 502, 503, 504}


@contextmanager
def explain_errors(address: LakeAddress, where: str, advice: str) -> Iterator[None]:
    """Turn what the store raises in this block into errors of this package; all others pass.

    Args:
        address: of the lake.
        where: the file or folder in the lake.
        advice: what to check where the account refuses.

    Raises:
        StorageFull, Refused, Unreachable: as they are.
        FileNotFoundError: there is no such file.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except ResourceError:
        raise
    except FileNotFoundError as error:
        if is_container_missing(error):
            raise _refuse_container(address, where) from None
        raise FileNotFoundError(f"There is no {where} in {address}.") from None
    except (BaseError, OSError) as error:
        explained = explain(error, address, where, advice)
        if explained is None:
            raise
        raise explained from None


def explain(error: Exception, address: LakeAddress, where: str, advice: str) -> ResourceError | None:
    """The error of this package for one of the store's; None where it is not one of the store's."""
    text = str(error)
    if isinstance(address, AccountAddress):
        return _explain_account(text, address, where, advice)
    match = _OS_ERROR.search(text)
    number = int(match[1]) if match else getattr(error, "errno", None)
    if number is None:
        return None
    reason = os.strerror(number)
    if number in _FULL:
        return StorageFull(where, str(address), reason)
    check = "that this user may write there" if number in _DENIED else "the folder in ADFML_LAKE"
    return Refused("The lake", str(address), f"{where}: {reason}", check)


def _explain_account(text: str, address: AccountAddress, where: str, advice: str) -> ResourceError | None:
    if is_container_missing_text(text):
        return _refuse_container(address, where)
    if _PROVIDER in text:
        # The provider's own message can hold addresses and tokens: its type is enough.
        kind = re.search(rf"{_PROVIDER}: ([A-Za-z.]+):", text)
        return refuse_sign_in(address, kind[1].rpartition(".")[2] if kind else "no credential")
    if "Invalid Access Key" in text or "credential provider" in text:
        return Refused("The lake", str(address), "the credential has not the form of one", advice)
    if status := _STATUS.search(text):
        code = _CODE.search(text)
        return explain_status(int(status[1]), code[1] if code else None, address, where, advice)
    if any(part in text for part in _NO_ANSWER):
        return report_no_answer(address, "timed out" if "timed out" in text else "no connection")
    return None


def explain_status(status: int, code: str | None, address: AccountAddress, where: str, advice: str) -> ResourceError:
    """The error for an answer of the account: HTTP status and the service's own code, where it gave one."""
    reason = f"{where}: status {status}{' ' + code if code else ''}"
    if status == 507 or code in _ACCOUNT_FULL:
        return StorageFull(where, str(address), reason)
    if status in _TRANSIENT:
        return Unreachable("The lake", str(address), reason, "the account's limits and state, and try again later")
    return Refused("The lake", str(address), reason, advice)


def refuse_sign_in(address: AccountAddress, kind: str) -> Refused:
    """The error where the process has no identity; `kind` is the type of the identity library's own error."""
    check = "that this machine has a managed identity, or az login"
    return Refused("The lake", str(address), f"no identity could sign in ({kind})", check)


def report_no_answer(address: AccountAddress, reason: str) -> Unreachable:
    """The error where the account did not answer."""
    return Unreachable("The lake", address.endpoint, reason, "ADFML_LAKE, ADFML_LAKE_ENDPOINT and the network")


def is_container_missing(error: Exception) -> bool:
    """Whether the store says that the container, not the file, is missing."""
    return is_container_missing_text(str(error))


def is_container_missing_text(text: str) -> bool:
    """The same of its message."""
    return "ContainerNotFound" in text or "The specified container does not exist" in text


def _refuse_container(address: LakeAddress, where: str) -> Refused:
    container = where.partition("/")[0]
    if isinstance(address, AccountAddress):
        container = address.name_container(container)
    return Refused(
        "The lake",
        str(address),
        f"there is no container '{container}'",
        f"ADFML_LAKE; an identity with the role Storage Blob Data Contributor on the account makes '{container}' when "
        "something is first written, otherwise let an administrator make it",
    )
