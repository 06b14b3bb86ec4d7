"""A second line against secrets in texts: values that this process has read are taken out of what it logs.

The first line is that no value is ever put into a message. This one is for what others write: drivers, SDKs, HTTP
clients at DEBUG. It covers the log records of this process that are made after the value was read, and texts given to
`redact`: the value itself, percent-encoded, and in base64. It does not cover what is printed, what other processes
write, values shorter than 6 characters, or an exception of another library that is stored as it is.
"""

from __future__ import annotations

import base64
import logging
import threading
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "***"
_MIN_CHARACTERS = 6
_lock = threading.Lock()
_forms: tuple[str, ...] = ()
_installed = False


def remember_secret(value: str) -> None:
    """Take a value out of every log record and redacted text from now on; a very short one is left alone."""
    global _forms, _installed
    if len(value) < _MIN_CHARACTERS or value in _forms:
        return
    with _lock:
        # The longest first: a secret that holds another one is hidden whole.
        _forms = tuple(sorted({*_forms, *_list_forms(value)}, key=len, reverse=True))
        if not _installed:
            _install()
            _installed = True


def redact(text: str) -> str:
    """A text without the secrets that were remembered."""
    for form in _forms:
        if form in text:
            text = text.replace(form, HIDDEN)
    return text


def hide_queries() -> None:
    """Have httpx log addresses without their query: it logs every request at INFO, and a query may hold a key."""
    logging.getLogger("httpx").addFilter(_HIDE_QUERY)


class _HideQuery(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        if isinstance(record.args, tuple):
            record.args = tuple(_cut_query(value) for value in record.args)
        return True


_HIDE_QUERY = _HideQuery()  # one instance is added once


def _cut_query(value: Any) -> Any:
    # An address is the one argument with a query; httpx itself is not imported for it.
    return str(value).partition("?")[0] + f"?{HIDDEN}" if getattr(value, "query", b"") else value


def _list_forms(value: str) -> set[str]:
    forms = {value, quote(value, safe=""), quote(value), quote_plus(value), repr(value)[1:-1]}
    data = value.encode()
    for shift in range(3):
        # Within a longer text base64 has three forms; the characters at the ends also hold their neighbours' bits.
        start, end = -(-shift * 8 // 6), (shift + len(data)) * 8 // 6
        encoded = base64.b64encode(b"\0" * shift + data)[start:end].decode()
        forms |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= _MIN_CHARACTERS}


def _install() -> None:
    make = logging.getLogRecordFactory()

    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            return record  # a message that does not fit its arguments: the handler says so
        if (clean := redact(text)) != text:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[0] is not None:
            trace = logging.Formatter().formatException(record.exc_info)
            if (clean := redact(trace)) != trace:
                # Formatters show this text in place of the exception.
                record.exc_text = clean
        return record

    logging.setLogRecordFactory(make_record)
