"""What requests to a Databricks workspace say, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_cloud.bundle import JobSpec
from local_cloud.errors import ApiError
from local_cloud.exchanges import parse_integer, parse_object, read_page_token
from local_cloud.tokens import Claims

DEFAULT_PAGE = 20
_TASK_PARAMETERS = (
    "notebook_params",
    "python_params",
    "jar_params",
    "spark_submit_params",
    "python_named_params",
    "dbt_commands",
    "sql_params",
    "pipeline_params",
)


@dataclass(frozen=True)
class Call:
    """One request, authenticated and parsed; `parts` are the named ones of its path."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any]
    caller: Claims
    parts: Mapping[str, str]


def parse_body(raw: bytes) -> dict[str, Any]:
    """A request's JSON body."""
    try:
        return parse_object(raw)
    except ValueError as error:
        raise malformed(f"Could not parse request object: {error}") from error


def read_job_parameters(job: JobSpec, body: Mapping[str, Any]) -> dict[str, str]:
    """The job parameters of a run: the job's defaults and what the request puts over them."""
    given = body.get("job_parameters", {})
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise malformed("Could not parse request object: Expected job_parameters to be an object of strings.")
    for name in _TASK_PARAMETERS:
        if body.get(name) and given:
            raise invalid(f"job_parameters can not be used in combination with {name}")
        if body.get(name):
            raise invalid(f"The local cloud takes job_parameters only, not {name}.")
    if body.get("only") not in (None, [job.task.task_key]):
        raise invalid(f"The job {job.name} has the one task {job.task.task_key}; only names {body['only']}.")
    defaults = {parameter.name: parameter.default for parameter in job.parameters}
    if unknown := sorted(given.keys() - defaults.keys()):
        raise invalid(f"Job {job.job_id} does not define the job parameters {unknown}; it defines {sorted(defaults)}.")
    if nul := sorted(name for name, value in given.items() if "\0" in value):
        raise invalid(f"The job parameters {nul} hold a NUL character.")
    return {**defaults, **given}


def invalid(message: str) -> ApiError:
    """The answer to a value the service does not take."""
    return ApiError(400, "INVALID_PARAMETER_VALUE", message)


def malformed(message: str) -> ApiError:
    """The answer to a body the service cannot parse."""
    return ApiError(400, "MALFORMED_REQUEST", message)


def read_number(values: Mapping[str, Any], name: str) -> int:
    """A required number."""
    found = read_optional_number(values, name)
    if found is None:
        raise invalid(f"Missing required field: {name}")
    return found


def read_optional_number(values: Mapping[str, Any], name: str) -> int | None:
    """A number, where it is given."""
    value = values.get(name)
    if value is None:
        return None
    try:
        return parse_integer(str(value))
    except ValueError:
        raise invalid(f"The field {name} must be a number, not {value!r}.") from None


def read_text(values: Mapping[str, Any], name: str) -> str | None:
    """A text, where it is given and not empty."""
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise malformed(f"Could not parse request object: Expected {name} to be a string.")
    return value or None


def read_flag(query: Mapping[str, str], name: str) -> bool:
    """A query's flag, false where it is not given."""
    value = query.get(name, "false").lower()
    if value not in ("true", "false"):
        raise invalid(f"The field {name} must be true or false, not {value!r}.")
    return value == "true"


def read_page_size(query: Mapping[str, str], maximum: int) -> int:
    """The page size: 20 where none is given, the maximum where it is 0, as the service has it."""
    limit = read_optional_number(query, "limit")
    if limit is None:
        return DEFAULT_PAGE
    if not 0 <= limit <= maximum:
        raise invalid(f"The limit must be greater than 0 and at most {maximum}, not {limit}.")
    return limit or maximum


def refuse_offset(query: Mapping[str, str]) -> None:
    """Refuse paging by offset, which API 2.2 has no more."""
    if query.get("offset", "0") != "0":
        raise invalid("offset is not supported, use page_token.")


def read_page(query: Mapping[str, str], kind: str) -> int | None:
    """The key in a page token, where one is given."""
    token = query.get("page_token")
    try:
        return read_page_token(token, kind) if token else None
    except ValueError:
        raise invalid("Invalid page token.") from None
