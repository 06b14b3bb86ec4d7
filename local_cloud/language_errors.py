"""How Azure AI Language says no: to a request as a whole, and to one document of it."""

from __future__ import annotations

from typing import Any

from local_cloud.errors import ApiError


class LanguageError(ApiError):
    """A request that is refused as a whole, with the service's inner code where it has one."""

    def __init__(
        self, status: int, code: str, message: str, inner_code: str | None = None, inner_message: str = ""
    ) -> None:
        super().__init__(status, code, message)
        self.inner_code = inner_code
        self.inner_message = inner_message

    def describe(self) -> dict[str, Any]:
        """The ``error`` of the answer's body."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.inner_code:
            error["innererror"] = {"code": self.inner_code, "message": self.inner_message}
        return error


def invalid(inner_code: str, message: str) -> LanguageError:
    """A 400 of this inner code."""
    return LanguageError(400, "InvalidRequest", "Invalid Request.", inner_code, message)


def describe_document_error(inner_code: str, message: str) -> dict[str, Any]:
    """The ``error`` of one document in ``results.errors``."""
    outer = "Invalid language code." if inner_code == "UnsupportedLanguageCode" else "Invalid document in request."
    return {"code": "InvalidArgument", "message": outer, "innererror": {"code": inner_code, "message": message}}
