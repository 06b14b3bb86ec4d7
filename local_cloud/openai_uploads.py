"""An uploaded form (multipart/form-data) read as it arrives: fields kept, the file written straight to disk."""

from __future__ import annotations

import re
from email.message import Message
from pathlib import Path
from typing import IO

from local_cloud.errors import ApiError

MAX_FIELD_BYTES = 65_536
_MAX_HEADER_BYTES = 16_384


class FormReader:
    """Takes the bytes of a form in pieces of any size.

    After `close`, ``fields`` holds the form's fields by name, ``filename`` the name of its file, and ``size`` how many
    bytes the file has, also those beyond the limit, which are not written.
    """

    def __init__(self, content_type: str | None, target: Path, *, max_file_bytes: int) -> None:
        """Begin a form.

        Raises:
            ApiError: the content type is no multipart form with a boundary.
        """
        header = Message()
        header["Content-Type"] = content_type or ""
        boundary = header.get_boundary()
        if header.get_content_type() != "multipart/form-data" or not boundary:
            raise _malformed("expected the content type multipart/form-data with a boundary")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.size = 0
        self._limit = max_file_bytes
        self._file: IO[bytes] = target.open("wb")
        # With the line end before it, the first boundary is found like all others.
        self._delimiter = b"\r\n--" + boundary.encode()
        self._buffer = bytearray(b"\r\n")
        self._part: tuple[str, bool] | None = None
        self._field = bytearray()
        self._is_at_boundary = False
        self._is_complete = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            ApiError: they are not of a form, or a field is too long.
        """
        self._buffer += data
        while not self._is_complete and self._step():
            pass

    def close(self) -> None:
        """Take the end of the form.

        Raises:
            ApiError: it came too early.
        """
        self.discard()
        if not self._is_complete:
            raise _malformed("the body ends before its last boundary")

    def discard(self) -> None:
        """Close the file, whatever has come of it."""
        self._file.close()

    def _step(self) -> bool:
        """Take what the buffer holds of one part's content, boundary or header; False when more has to come."""
        if self._is_at_boundary:
            return self._take_header()
        at = self._buffer.find(self._delimiter)
        if at >= 0:
            self._take_content(bytes(self._buffer[:at]))
            del self._buffer[: at + len(self._delimiter)]
            self._end_part()
            self._is_at_boundary = True
            return True
        # The last bytes may be the beginning of a boundary.
        safe = len(self._buffer) - len(self._delimiter)
        if safe > 0:
            self._take_content(bytes(self._buffer[:safe]))
            del self._buffer[:safe]
        return False

    def _take_header(self) -> bool:
        if self._buffer.startswith(b"--"):
            self._is_complete = True
            return False
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEADER_BYTES:
                raise _malformed("the header of a part is too long")
            return False
        text = self._buffer[:end].decode("utf-8", errors="replace")
        name = re.search(r'[;\s]name="([^"]*)"', text, re.IGNORECASE)
        filename = re.search(r'filename="([^"]*)"', text, re.IGNORECASE)
        if name is None:
            raise _malformed("a part has no name")
        self._part = (name.group(1), filename is not None)
        if filename is not None:
            self.filename = filename.group(1)
        del self._buffer[: end + 4]
        self._is_at_boundary = False
        return True

    def _take_content(self, data: bytes) -> None:
        if self._part is None:
            if data.strip():
                raise _malformed("there is something before the first boundary")
        elif self._part[1]:
            self.size += len(data)
            if self.size <= self._limit:
                self._file.write(data)
        else:
            self._field += data
            if len(self._field) > MAX_FIELD_BYTES:
                raise _malformed(f"the field {self._part[0]} is longer than {MAX_FIELD_BYTES} bytes")

    def _end_part(self) -> None:
        if self._part is not None and not self._part[1]:
            self.fields[self._part[0]] = self._field.decode("utf-8", errors="replace")
        self._field.clear()
        self._part = None


def _malformed(problem: str) -> ApiError:
    return ApiError(400, "invalidPayload", f"The form could not be read: {problem}.")
