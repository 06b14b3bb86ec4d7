"""`adfml score-online`: JSON in, a JSON line for every record out, and an exit code that says whether all went well."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from adfml_cli import score_online
from adfml_cli.cli import app
from adfml_cli.score_online import InvalidRequest, choose_engine, read_records
from tests.azure_ml_online.conftest import FEATURES, Bench, make_records, predict_here


def call(given: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["score-online", *arguments], input=given)


def read_lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def declare(folder: Path, engine: dict[str, Any], name: str = "small_model") -> None:
    attributes = {"name": name, "from_features": "f", "engine": engine, "write_back": {"table": "shop.main.P"}}
    (folder / name).mkdir()
    text = yaml.safe_dump({"type": "adfml_assets.components.ScoredModel", "attributes": attributes})
    (folder / name / "defs.yaml").write_text(text)


def test_the_key_of_a_declared_endpoint_goes_to_no_other_address(tmp_path: Path) -> None:
    declare(tmp_path, {"service": "azure_ml_online", "endpoint": "mine", "secret": "key-of-mine"})
    assert choose_engine("small_model", folder=tmp_path).secret == "key-of-mine"
    other = "https://other.example.com/score"
    assert choose_engine("small_model", scoring_uri=other, folder=tmp_path).secret is None
    assert choose_engine("small_model", scoring_uri=other, secret="theirs", folder=tmp_path).secret == "theirs"


@pytest.mark.parametrize("form", ["list", "lines", "indented list"])
def test_records_in_any_form_of_json_are_scored_in_order(bench: Bench, form: str) -> None:
    records = make_records(30)
    objects = records.select(FEATURES).to_pylist()
    given = {
        "list": json.dumps(objects),
        "lines": "\n" + "\n".join(json.dumps(one) for one in objects) + "\n\n",
        "indented list": json.dumps(objects, indent=2),
    }[form]
    result = call(given, "--scoring-uri", bench.uri)
    assert result.exit_code == 0, result.stderr
    expected = predict_here(bench.models.champion, records)
    assert read_lines(result) == [{"index": index, "score": score} for index, score in enumerate(expected)]


@pytest.mark.parametrize("indent", [None, 2])
def test_one_object_is_one_record(bench: Bench, indent: int | None) -> None:
    record = make_records(1).select(FEATURES).to_pylist()[0]
    result = call(json.dumps(record, indent=indent), "--scoring-uri", bench.uri, "--deployment", "challenger")
    (line,) = read_lines(result)
    assert (result.exit_code, line["score"]) == (0, predict_here(bench.models.challenger, make_records(1))[0])


def test_a_record_the_model_refuses_has_its_reason_and_the_exit_code_says_so(bench: Bench) -> None:
    objects: list[dict[str, Any]] = make_records(3).select(FEATURES).to_pylist()
    objects[1]["spend"] = "much"
    result = call(json.dumps(objects), "--scoring-uri", bench.uri)
    assert result.exit_code == 1
    lines = read_lines(result)
    assert [sorted(line) for line in lines] == [["index", "score"], ["error", "index"], ["index", "score"]]
    assert "much" in lines[1]["error"]
    assert "1 records have no score" in result.stderr


def test_the_declaration_of_a_model_says_which_endpoint(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMALL_MODEL_URI", bench.uri)
    engine = {"service": "azure_ml_online", "scoring_uri": "{{ env.SMALL_MODEL_URI }}", "deployment": "challenger"}
    declare(folder, engine)
    declare(folder, {"job": "adfml_scoring"}, "sales_forecast")
    monkeypatch.setattr(score_online, "DEFS", folder)
    assert choose_engine("small_model", folder=folder).scoring_uri == bench.uri
    other = choose_engine("small_model", endpoint="other", folder=folder)
    assert (other.endpoint, other.scoring_uri, other.deployment) == ("other", None, "challenger")
    result = call('{"recency_days": 1, "purchases": 2, "spend": 3}', "--model", "small_model")
    assert result.exit_code == 0, result.stderr
    with pytest.raises(InvalidRequest, match=r"'sales_forecast' is scored by databricks.*--scoring-uri"):
        choose_engine("sales_forecast", folder=folder)
    assert choose_engine("sales_forecast", endpoint="e", folder=folder).endpoint == "e"
    with pytest.raises(InvalidRequest, match="declared are: sales_forecast, small_model"):
        choose_engine("nobody", folder=folder)


def test_a_declaration_that_is_wrong_says_what(folder: Path) -> None:
    declare(folder, {"service": "azure_ml_online", "uri": "x"})
    with pytest.raises(InvalidRequest, match="engine of model 'small_model' is not valid: uri: Extra inputs"):
        choose_engine("small_model", folder=folder)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "Nothing was on standard input"),
        ("[1, 2]", "record 0: expected an object"),
        ('{"a": 1}\n7', "line 2: expected an object"),
        ('{"a": 1}\n{"a":', "line 2 is no JSON"),
        ("{}\n", "expected an object with a value"),
        ('[{"a": 1}]\n[{"a": 2}]', "goes on after the JSON value in line 1"),
        ("recency_days,spend\n1,2", "is no JSON, from line 1"),
    ],
)
def test_what_cannot_be_read_says_where_and_what_was_expected(given: str, said: str) -> None:
    result = call(given, "--scoring-uri", "https://a.b/score")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


def test_an_empty_list_is_no_mistake() -> None:
    result = call("[]", "--scoring-uri", "https://a.b/score")
    assert (result.exit_code, result.stdout) == (0, "")


def test_nothing_that_says_which_endpoint_is_a_mistake() -> None:
    result = call("[]")
    assert result.exit_code == 1
    assert "give --model, --endpoint or --scoring-uri" in result.stderr


def test_a_service_that_says_no_is_shown_and_the_key_is_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_AZURE_ML_KEY", "planted-wrong-key")
    result = call('{"a": 1}', "--scoring-uri", bench.uri)
    assert result.exit_code == 1
    assert "Check ADFML_AZURE_ML_KEY" in result.stderr
    assert "planted" not in result.output


def test_json_lines_are_read_as_they_come() -> None:
    lines = "".join(f'{{"a": {number}, "b": NaN}}\n' for number in range(9001))
    parts = list(read_records(io.StringIO(lines)))
    assert [len(part) for part in parts] == [4000, 4000, 1001]
    assert [record["a"] for part in parts for record in part] == list(range(9001))
