"""`adfml score-online`: records from standard input, scored by an online endpoint, to standard output."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from adfml_cli.declared import DEFS
from resources.help import DocumentedError

if TYPE_CHECKING:
    from adfml_assets.components.online_endpoint import OnlineEndpoint

_SERVICE: Final = "azure_ml_online"
_BATCH_RECORDS = 4000


class InvalidRequest(DocumentedError):
    """The command cannot know what to score, or with what: its message says what was expected."""


def choose_engine(
    model: str | None,
    *,
    endpoint: str | None = None,
    scoring_uri: str | None = None,
    deployment: str | None = None,
    secret: str | None = None,
    folder: Path | None = None,
) -> OnlineEndpoint:
    """The endpoint to ask: as the model's declaration has it, and what was given instead of it.

    Args:
        model: the name of a ScoredModel in one of the defs.yaml below `folder`; None: everything is given.
        folder: None: the deployment's own.

    Raises:
        InvalidRequest: no such model, or one that no online endpoint scores, and no other endpoint was given; or its
            declaration is not what the component takes.
    """
    from adfml_assets.components.online_endpoint import OnlineEndpoint

    given = endpoint is not None or scoring_uri is not None
    if model is None and not given:
        raise InvalidRequest("Nothing says which endpoint: give --model, --endpoint or --scoring-uri.")
    engine = OnlineEndpoint(service=_SERVICE, endpoint=endpoint, scoring_uri=scoring_uri, retry_seconds=30.0)
    if model is not None:
        folder = folder or DEFS
        declared = _find_engines(folder)
        if model not in declared:
            names = ", ".join(sorted(declared)) or "none"
            raise InvalidRequest(f"No ScoredModel {model!r} is declared below {folder}; declared are: {names}.")
        found = declared[model]
        if found.get("service", "databricks") == _SERVICE:
            engine = _resolve_engine(model, found)
        elif not given:
            service = found.get("service", "databricks")
            raise InvalidRequest(
                f"Model {model!r} is scored by {service}, not by an online endpoint: give --endpoint or --scoring-uri, "
                f"or declare `engine: {{service: {_SERVICE}, endpoint: ...}}`."
            )
    # The declared key is that of the declared endpoint: it goes to no other address.
    other: dict[str, str | None] = {"endpoint": endpoint, "scoring_uri": scoring_uri, "secret": None}
    changes = other if given else {}
    changes |= {name: value for name, value in {"deployment": deployment, "secret": secret}.items() if value}
    return dataclasses.replace(engine, **changes)  # type: ignore[arg-type]  # none of them is a number


def _resolve_engine(model: str, declared: Mapping[str, Any]) -> OnlineEndpoint:
    from dagster.components.resolved.errors import ResolutionException
    from pydantic import ValidationError

    from adfml_assets.components.online_endpoint import OnlineEndpoint

    try:
        return OnlineEndpoint.resolve_from_dict(dict(declared))
    except ValidationError as error:
        # Dagster adds to a field's name where it is in a file, and here there is none.
        found = [(str(one["loc"][0]).partition(" at ")[0], one["msg"]) for one in error.errors(include_url=False)]
        mistakes = "; ".join(f"{field}: {message}" for field, message in found)
        raise InvalidRequest(f"The engine of model {model!r} is not valid: {mistakes}.") from None
    except ResolutionException as error:
        raise InvalidRequest(f"The engine of model {model!r} is not valid: {error}") from None


def _find_engines(folder: Path) -> dict[str, Mapping[str, Any]]:
    """The engine of every ScoredModel that is declared, by the model's name."""
    import yaml

    found: dict[str, Mapping[str, Any]] = {}
    for file in sorted(folder.rglob("defs.yaml")):
        try:
            documents = list(yaml.safe_load_all(file.read_text("utf-8")))
        except yaml.YAMLError as error:
            raise InvalidRequest(f"{file} is no YAML: {error}") from None
        for document in documents:
            declared = document if isinstance(document, dict) else {}
            if str(declared.get("type", "")).rpartition(".")[2] == "ScoredModel":
                attributes = declared.get("attributes") or {}
                found[str(attributes.get("name"))] = attributes.get("engine") or {}
    return found


def read_records(stream: TextIO) -> Iterator[list[dict[str, Any]]]:
    """The records of a JSON list of objects, of one object, or of JSON lines, which are read as they come.

    Raises:
        InvalidRequest: it is none of these; says where.
    """
    lines = enumerate(stream, 1)
    number, first = next(((number, line) for number, line in lines if line.strip()), (0, ""))
    if not first:
        raise InvalidRequest(
            "Nothing was on standard input: expected a JSON list of objects, an object, or JSON lines."
        )
    try:
        found = json.loads(first)
    except ValueError:
        found = _read_whole(first + stream.read(), number)
    else:
        if isinstance(found, dict):
            yield from _read_lines(_require_object(found, f"line {number}"), lines)
            return
        if any(line.strip() for _, line in lines):
            raise InvalidRequest(f"Standard input goes on after the JSON value in line {number}.")
    records = found if isinstance(found, list) else [found]
    for index, record in enumerate(records):
        _require_object(record, f"record {index}")
    for start in range(0, len(records), _BATCH_RECORDS):
        yield records[start : start + _BATCH_RECORDS]


def _read_whole(text: str, number: int) -> Any:
    """A JSON value that takes several lines, from a line on."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"Standard input is no JSON, from line {number}: {error}.") from None


def _read_lines(first: dict[str, Any], lines: Iterator[tuple[int, str]]) -> Iterator[list[dict[str, Any]]]:
    records = [first]
    for number, line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InvalidRequest(f"Standard input, line {number} is no JSON: {error}.") from None
        records.append(_require_object(record, f"line {number}"))
        if len(records) == _BATCH_RECORDS:
            yield records
            records = []
    if records:
        yield records


def _require_object(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict) or not record:
        raise InvalidRequest(
            f"Standard input, {where}: expected an object with a value for each column, found {record!r}."
        )
    return record


def score_stream(engine: OnlineEndpoint, source: TextIO, target: TextIO) -> int:
    """Write `{"index": n, "score": x}` or `{"index": n, "error": "..."}` for each record, in order, as they come.

    Returns:
        How many have no score.

    Raises:
        InvalidRequest: the input is no JSON of objects.
        ResourceError: the endpoint's, see `AzureMlOnline.score`.
    """
    from resources.azure_ml_online import AzureMlOnline

    index = failed = 0
    scored_batches = AzureMlOnline().score_batches(
        read_records(source), engine.build_target(), limits=engine.build_limits()
    )
    for _, scored in scored_batches:
        for score, error in scored:
            line = {"index": index, "score": score} if error is None else {"index": index, "error": error}
            target.write(json.dumps(line) + "\n")
            index += 1
        failed += scored.failed
        target.flush()
    return failed


def run(
    model: str | None, endpoint: str | None, scoring_uri: str | None, deployment: str | None, secret: str | None
) -> int:
    """The command: its exit code, 0 where every record has a score; errors go to standard error."""
    from resources.errors import ResourceError

    try:
        engine = choose_engine(model, endpoint=endpoint, scoring_uri=scoring_uri, deployment=deployment, secret=secret)
        failed = score_stream(engine, sys.stdin, sys.stdout)
    except (InvalidRequest, ResourceError) as error:
        print(error, file=sys.stderr)
        return 1
    if failed:
        print(f"{failed} records have no score: see their errors.", file=sys.stderr)
    return 1 if failed else 0
