"""What scoring writes, in which order, and what it refuses before it writes anything."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.workloads.conftest import FEATURES, Run, Trained, make_scoring_input, score_here
from workloads import record_ids
from workloads.columns import open_parquet
from workloads.errors import ScoringError
from workloads.skops_files import TRUSTED_TYPES


def write(table: pa.Table, folder: Path) -> Path:
    path = folder / "scoring_input.parquet"
    parquet.write_table(table, path, row_group_size=70_000)
    return path


@pytest.fixture
def copied_model(trained: Trained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.model_path, tmp_path / "copied"))


def replace_model_file(model_path: Path, content: bytes) -> None:
    """Put another file there together with its right hash: what someone who may write to the lake could do."""
    (model_path / "model.skops").write_bytes(content)
    metadata = json.loads((model_path / "metadata.json").read_text("utf-8"))
    metadata["model_sha256"] = hashlib.sha256(content).hexdigest()
    (model_path / "metadata.json").write_text(json.dumps(metadata), "utf-8")


@pytest.mark.parametrize("kind", ["ascending numbers", "text in no order"])
def test_predictions_are_the_models_in_input_order(trained: Trained, score: Run, tmp_path: Path, kind: str):
    from skops import io

    table = make_scoring_input(150_000)
    if kind == "text in no order":
        order = np.random.default_rng(1).permutation(table.num_rows)
        ids = pa.array([f"R-{number:06d}" for number in order])
        table = table.set_column(0, "RecordId", ids).select(["country", *FEATURES, "RecordId"])
    begun = datetime.now(UTC)
    if kind == "text in no order":
        score_here(write(table, tmp_path), tmp_path / "out", trained.model_path, feature_snapshot="2025-03-31")
    else:
        done = score(write(table, tmp_path), tmp_path / "out", trained.model_path)
        assert done.code == 0, done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.parquet"]
    found = parquet.read_table(tmp_path / "out" / "predictions.parquet")
    assert found.schema == pa.schema(
        {
            "RecordId": table.schema.field("RecordId").type,
            "score": pa.float64(),
            "model": pa.string(),
            "version": pa.string(),
            "alias": pa.string(),
            "scored_at": pa.timestamp("us", "UTC"),
            "feature_snapshot": pa.date32(),
        }
    )
    assert found.column("RecordId") == table.column("RecordId")
    estimator = io.load(trained.model_path / "model.skops", trusted=list(TRUSTED_TYPES))
    expected = estimator.predict(table.select(FEATURES).to_pandas().astype(float))
    np.testing.assert_allclose(found.column("score").to_numpy(), expected, rtol=1e-12)
    assert found.column("model").unique().to_pylist() == ["customer_spend"]
    assert found.column("version").unique().to_pylist() == ["1"]
    assert found.column("alias").unique().to_pylist() == ["champion"]
    snapshot = date(2025, 3, 31) if kind == "text in no order" else None
    assert found.column("feature_snapshot").unique().to_pylist() == [snapshot]
    (scored_at,) = found.column("scored_at").unique().to_pylist()
    assert begun <= scored_at <= begun + timedelta(minutes=2)


def test_no_rows_give_a_file_without_rows(trained: Trained, tmp_path: Path):
    score_here(write(make_scoring_input(10).slice(0, 0), tmp_path), tmp_path / "out", trained.model_path)
    found = parquet.read_table(tmp_path / "out" / "predictions.parquet")
    assert (found.num_rows, found.num_columns) == (0, 7)


def test_scoring_needs_no_mlflow_and_the_same_memory_for_more_rows(trained: Trained, bundle: Path, tmp_path: Path):
    def peak(rows: int) -> tuple[int, bool]:
        folder = tmp_path / str(rows)
        folder.mkdir()
        command = (
            f"import runpy, sys; runpy.run_path({str(bundle / 'score_model.py')!r}, run_name='__main__');"
            "lines = open('/proc/self/status').read().splitlines();"
            "print([line.split()[1] for line in lines if line.startswith('VmHWM')][0], 'mlflow' in sys.modules)"
        )
        arguments = ["--input-path", write(make_scoring_input(rows), folder), "--output-path", folder / "out"]
        arguments += ["--model-path", trained.model_path, "--model-name", "customer_spend", "--model-version", "1"]
        done = subprocess.run(
            [sys.executable, "-c", command, *map(str, arguments)], capture_output=True, text=True, check=True
        )
        kilobytes, has_mlflow = done.stdout.split()[-2:]
        return int(kilobytes) // 1024, has_mlflow == "True"

    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    (small, _), (large, has_mlflow) = peak(300_000), peak(700_000)
    assert not has_mlflow
    assert large < small + 20  # MB; 400,000 rows more are 16 MB as float64 and 40 MB of output


def test_missing_feature_shows_both_lists(trained: Trained, score: Run, tmp_path: Path):
    table = make_scoring_input(10).drop_columns(["spend_30"])
    done = score(write(table, tmp_path), tmp_path / "out", trained.model_path)
    assert done.code == 1
    assert done.last_line.startswith("ScoringError: ")
    assert (
        "customer_spend version 1 takes [recency_days, purchases_90, spend_30, average_invoice, is_foreign], the input "
        "has [recency_days, purchases_90, average_invoice, is_foreign, country], missing are [spend_30]"
    ) in done.last_line
    assert not (tmp_path / "out").exists()


def replaced(table: pa.Table, name: str, values: list) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda table: replaced(table, "RecordId", [1, 2, 3, 2, 1, 2]), "2 values of RecordId appear more than once"),
        (lambda table: replaced(table, "RecordId", [1, None, 3, 4, 5, 6]), "RecordId is NULL in 1 rows"),
        (lambda table: table.drop_columns(["RecordId"]), "lacks the columns RecordId; it has recency_days"),
        (lambda table: replaced(table, "spend_30", ["a"] * 6), "not numeric: spend_30 (string)"),
        (
            lambda table: table.select(["RecordId", *FEATURES[::-1], "country"]),
            "in another order: customer_spend version 1 takes [recency_days, purchases_90, spend_30, average_invoice, "
            "is_foreign], the input has [is_foreign, average_invoice, spend_30, purchases_90, recency_days]",
        ),
    ],
    ids=["doubled id", "NULL id", "no id", "not numeric", "order"],
)
def test_bad_input_is_named(trained: Trained, score: Run, tmp_path: Path, change, expected: str):
    done = score(write(change(make_scoring_input(6)), tmp_path), tmp_path / "out", trained.model_path)
    assert done.code == 1
    assert done.last_line.startswith("ScoringError: ")
    assert expected in done.last_line
    assert not (tmp_path / "out").exists()


def test_older_predictions_survive_a_failure(trained: Trained, score: Run, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "predictions.parquet").write_bytes(b"of yesterday")
    table = replaced(make_scoring_input(3), "RecordId", [1, 1, 2])
    assert score(write(table, tmp_path), out, trained.model_path).code == 1
    assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [("predictions.parquet", b"of yesterday")]


def test_missing_input_says_what_is_there(trained: Trained, score: Run, tmp_path: Path):
    done = score(tmp_path / "gone" / "scoring_input.parquet", tmp_path / "out", trained.model_path)
    assert done.last_line == (
        f"ScoringError: no file scoring_input.parquet in {tmp_path / 'gone'}: the folder does not exist"
    )


def test_file_that_is_no_model_is_refused(copied_model: Path, tmp_path: Path):
    from sklearn.linear_model import LinearRegression
    from skops import io

    for content, expected in {
        io.dumps(LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])): "it holds a LinearRegression, not this kind",
        b"PK no archive": "is not a whole model",
    }.items():
        replace_model_file(copied_model, content)
        with pytest.raises(ScoringError, match=expected):
            score_here(write(make_scoring_input(3), tmp_path), tmp_path / "out", copied_model)


def test_model_of_another_scikit_learn_is_refused(copied_model: Path, tmp_path: Path):
    metadata = json.loads((copied_model / "metadata.json").read_text("utf-8"))
    metadata["library_versions"]["scikit-learn"] = "1.5.2"
    (copied_model / "metadata.json").write_text(json.dumps(metadata), "utf-8")
    with pytest.raises(ScoringError, match=r"was trained with scikit-learn 1\.5\.2, here is 1\."):
        score_here(write(make_scoring_input(3), tmp_path), tmp_path / "out", copied_model)


def test_another_version_than_asked_for_is_refused(trained: Trained, score: Run, tmp_path: Path):
    path = write(make_scoring_input(3), tmp_path)
    done = score(path, tmp_path / "out", trained.model_path, model_version="2")
    assert "holds customer_spend version 1, asked for was customer_spend version 2" in done.last_line


def test_changed_model_file_is_refused(copied_model: Path, score: Run, tmp_path: Path):
    with (copied_model / "model.skops").open("ab") as file:
        file.write(b"\0")
    done = score(write(make_scoring_input(3), tmp_path), tmp_path / "out", copied_model)
    assert done.code == 1
    assert "model.skops is refused: its SHA-256 is" in done.last_line
    assert not (tmp_path / "out").exists()


def test_unfinished_model_is_refused(copied_model: Path, score: Run, tmp_path: Path):
    (copied_model / "metadata.json").unlink()
    done = score(write(make_scoring_input(3), tmp_path), tmp_path / "out", copied_model)
    assert f"no file metadata.json in {copied_model}: the folder holds model.skops" in done.last_line


def test_foreign_type_is_refused_and_runs_nothing(copied_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from skops import io

    trace = tmp_path / "executed"
    source = f"open({str(trace)!r}, 'a').write('imported')\nclass Estimator:\n    def __init__(self): self.x = 1\n"
    (tmp_path / "foreign_code.py").write_text(source, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)  # so that loading it would succeed
    replace_model_file(copied_model, io.dumps(import_module("foreign_code").Estimator()))
    assert trace.exists()
    trace.unlink()
    monkeypatch.delitem(sys.modules, "foreign_code")
    with pytest.raises(ScoringError, match=r"does not have: foreign_code\.Estimator; nothing of it was loaded"):
        score_here(write(make_scoring_input(3), tmp_path), tmp_path / "out", copied_model)
    assert not trace.exists()
    assert "foreign_code" not in sys.modules
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("field", "value"), [("left", 10_000_000), ("right", 0), ("feature_idx", 99)])
def test_tree_that_points_outside_itself_is_refused(copied_model: Path, field: str, value: int):
    from skops import io

    from workloads.errors import ModelFileError
    from workloads.model_files import load_model, read_record
    from workloads.paths import FileArea

    estimator = io.load(copied_model / "model.skops", trusted=list(TRUSTED_TYPES))
    estimator.regressor_._predictors[3][0].nodes[field][0] = value
    replace_model_file(copied_model, io.dumps(estimator))
    with FileArea() as area, pytest.raises(ModelFileError, match="tree 3 points outside itself"):
        load_model(area, str(copied_model), read_record(area, str(copied_model)))


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([Decimal("1.50"), Decimal("0.25"), Decimal("1.75")]),
        pa.array([b"a" * 16, b"c" * 16, b"b" * 16], pa.binary(16)),
        pa.array([b"a" * 16, b"c" * 16, b"b" * 16], pa.uuid()),
        pa.array(["x", "z", "y"]).dictionary_encode(),
        pa.array([datetime(2025, 1, day, tzinfo=UTC) for day in (1, 3, 2)]),
    ],
    ids=["decimal", "bytes", "uuid", "dictionary", "time"],
)
def test_ids_of_any_type_keep_it(trained: Trained, tmp_path: Path, ids: pa.Array):
    table = make_scoring_input(3).set_column(0, "RecordId", ids)
    score_here(write(table, tmp_path), tmp_path / "out", trained.model_path)
    found = parquet.read_table(tmp_path / "out" / "predictions.parquet").column("RecordId")
    assert found.type == ids.type
    assert found.to_pylist() == ids.to_pylist()
    doubled = pa.concat_tables([table, table.slice(1, 1)])
    with pytest.raises(ScoringError, match="1 values of RecordId appear more than once"):
        score_here(write(doubled, tmp_path), tmp_path / "out", trained.model_path)


@pytest.mark.parametrize("rows_in_memory", [10, 1000])
def test_doubled_ids_are_found_in_parts_as_in_one(tmp_path: Path, monkeypatch, rows_in_memory: int):
    monkeypatch.setattr(record_ids, "_ROWS_IN_MEMORY", rows_in_memory)
    monkeypatch.setattr(record_ids, "_BATCH_ROWS", 7)
    for name, ids in {"numbers": list(range(100, 0, -1)), "text": [f"id {n % 97}" for n in range(97)]}.items():
        table = pa.table({"RecordId": ids})
        parquet.write_table(table, tmp_path / f"{name}.parquet")
        parquet.write_table(pa.concat_tables([table, table.slice(40, 3)]), tmp_path / f"{name}_doubled.parquet")
        with open_parquet(str(tmp_path / f"{name}.parquet"), name) as file:
            record_ids.check_record_ids(file, name)
        with (
            open_parquet(str(tmp_path / f"{name}_doubled.parquet"), name) as file,
            pytest.raises(ScoringError, match="3 values of RecordId appear more than once") as caught,
        ):
            record_ids.check_record_ids(file, name)
        assert sorted(caught.value.facts["examples"]) == sorted(str(value) for value in ids[40:43])


def test_doubled_id_at_the_seam_of_two_batches_is_found(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(record_ids, "_BATCH_ROWS", 4)
    parquet.write_table(pa.table({"RecordId": [1, 2, 3, 4, 4, 5]}), tmp_path / "seam.parquet")
    with (
        open_parquet(str(tmp_path / "seam.parquet"), "seam") as file,
        pytest.raises(ScoringError, match=r"1 values of RecordId .* such as 4;"),
    ):
        record_ids.check_record_ids(file, "seam")


LAKE = "abfss://ml@account.dfs.core.windows.net"


class LakeFolder:
    """Stands in for `dbutils.fs`: a folder is the lake; it may be forbidden the local disk, as on serverless."""

    def __init__(self, folder: Path, *, forbids_local: bool = False) -> None:
        self.folder = folder
        self.forbids_local = forbids_local

    def find(self, path: str) -> Path:
        if path.startswith("file:"):
            if self.forbids_local:
                raise RuntimeError(
                    "java.lang.SecurityException: local filesystem access is forbidden\n\tat com.example"
                )
            return Path(path.removeprefix("file:"))
        assert path.startswith(f"{LAKE}/")
        return self.folder / path.removeprefix(f"{LAKE}/")

    def cp(self, source: str, target: str) -> bool:
        if not self.find(source).exists():
            raise RuntimeError(f"java.io.FileNotFoundException: {source}")
        self.find(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.find(source), self.find(target))
        return True

    def rm(self, path: str) -> bool:
        self.find(path).unlink(missing_ok=True)
        return True


def test_lake_over_abfss_is_copied_through_dbutils(copied_model: Path, monkeypatch, tmp_path: Path):
    def stand_in(folder: LakeFolder) -> None:
        runtime = SimpleNamespace(dbutils=SimpleNamespace(fs=folder))
        monkeypatch.setitem(sys.modules, "databricks.sdk.runtime", runtime)

    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    stand_in(LakeFolder(tmp_path))
    path = write(make_scoring_input(50), tmp_path)
    score_here(f"{LAKE}/{path.name}", f"{LAKE}/out", f"{LAKE}/{copied_model.name}")
    assert parquet.read_metadata(tmp_path / "out" / "predictions.parquet").num_rows == 50
    assert not list((tmp_path / "scratch").iterdir())
    with pytest.raises(
        ScoringError, match=f"cannot copy {LAKE}/gone.parquet to file:.* may this job's identity reach it"
    ):
        score_here(f"{LAKE}/gone.parquet", f"{LAKE}/out", f"{LAKE}/{copied_model.name}")
    stand_in(LakeFolder(tmp_path, forbids_local=True))
    with pytest.raises(ScoringError, match="give --staging-path a folder of a Unity Catalog volume"):
        score_here(f"{LAKE}/{path.name}", f"{LAKE}/out", f"{LAKE}/{copied_model.name}")
