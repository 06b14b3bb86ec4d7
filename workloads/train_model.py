"""Training job: fit on the training split, choose by validation, test once, register, write the model.

It says how the model compares with naive forecasts and with the champion, and leaves the verdict, and every alias, to
whoever submitted it.

Run it as a file:

    python train_model.py --training-data-path … --model-path … --model-name … --model-version … \
        --experiment-name … --registered-model-name … [--hyperparams '{}'] [--submission-key …] [--staging-path …] \
        [--champion-path … --champion-version … [--champion-sha256 …]]
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if not __package__:
    # Started as a file, from whatever folder a bundle was synced to: that folder is the package `workloads`.
    from importlib.util import module_from_spec, spec_from_file_location

    _folder = Path(globals().get("__file__") or sys._getframe().f_code.co_filename).resolve().parent
    _spec = spec_from_file_location("workloads", _folder / "__init__.py", submodule_search_locations=[str(_folder)])
    if _spec is None or _spec.loader is None:
        raise ImportError(f"no package in {_folder}")
    sys.modules["workloads"] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["workloads"])

from workloads.champion import Champion
from workloads.command_line import parse_arguments, run_script
from workloads.errors import TrainingError, raise_as
from workloads.evaluation import Evaluation, evaluate
from workloads.metrics import CHAMPION
from workloads.model_files import METADATA_FILE, MODEL_FILE, library_versions
from workloads.paths import FileArea
from workloads.regression import ALGORITHM, Fit, Hyperparams, fit, parse_hyperparams
from workloads.skops_files import dump_model
from workloads.tracking import TrainedRun, find_tracking_uri, register_model
from workloads.training_data import DATA_CARD, DataCard, read_data_card, read_splits

_REQUIRED = {
    "training_data_path": "folder with train, validation and test.parquet and data_card.json",
    "model_path": "folder the model is written to",
    "model_name": "name of the model",
    "model_version": "version of the model",
    "experiment_name": "MLflow experiment",
    "registered_model_name": "MLflow registered model",
}
_OPTIONAL = {
    "hyperparams": "JSON object",
    "submission_key": "a second run with this key registers nothing new",
    "staging_path": "folder of a volume that abfss files are copied through",
    "champion_path": "folder of the model in use, to compare with",
    "champion_version": "its version",
    "champion_sha256": "hash of its file, as recorded when it was registered",
}
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a model as the command line says.

    Files: `<model_path>/model.skops`, then `<model_path>/metadata.json`; a model without the latter is not finished.

    Args:
        arguments: Command line without the program, `sys.argv[1:]` by default.

    Raises:
        TrainingError: Anything about the arguments, the data, the model or its registration.
    """
    with raise_as(TrainingError):
        options = parse_arguments("train_model.py", _REQUIRED, _OPTIONAL, arguments)
        hyperparams = parse_hyperparams(options["hyperparams"])
        champion = _read_champion(options)
        find_tracking_uri()  # a training that could not be recorded is not begun
        with FileArea(options["staging_path"]) as area:
            _train(area, options, hyperparams, champion)


def _read_champion(options: dict[str, str]) -> Champion | None:
    path, version, sha256 = (options[f"champion_{name}"] for name in ("path", "version", "sha256"))
    if bool(path) != bool(version) or (sha256 and not path):
        raise TrainingError(
            "--champion-path and --champion-version belong together, and --champion-sha256 to both: give what is known "
            f"of the champion, or nothing; given are path {path!r}, version {version!r}, sha256 {sha256!r}"
        )
    return Champion(path.rstrip("/"), version, sha256) if path else None


def _train(area: FileArea, options: dict[str, str], hyperparams: Hyperparams, champion: Champion | None) -> None:
    folder = options["training_data_path"].rstrip("/")
    card = read_data_card(area.read(folder, DATA_CARD), f"{folder}/{DATA_CARD}")
    _require_same_model(card, options, folder)
    splits = read_splits(area, folder, card)
    _log.info("fitting %s on %d rows, %d features", ALGORITHM, card.rows["train"], len(card.features))
    fitted = fit(splits["train"], splits["validation"], card.features, hyperparams)
    evaluation = evaluate(area, folder, card, splits, fitted.estimator, champion)
    _log.info("%d trees; %s", fitted.iterations, _summarise(evaluation))
    content, sha256 = dump_model(fitted.estimator)
    record = {
        "model": card.model,
        "version": card.version,
        "algorithm": ALGORITHM,
        "library_versions": {"python": sys.version.split()[0], **library_versions()},
        "features": list(card.features),
        "features_sha256": card.features_sha256,
        "pinned": card.pinned,
        "definition_sha256": card.definition_sha256,
        "label": card.label,
        "key": card.key,
        "rows": card.rows,
        "periods": card.periods,
        "hyperparams": asdict(hyperparams),
        "iterations": fitted.iterations,
        "metrics": evaluation.metrics,
        "baseline": evaluation.baseline,
        "references": evaluation.references,
        "score_profile": evaluation.score_profile,
        "model_file": MODEL_FILE,
        "model_sha256": sha256,
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "training_data_path": folder,
        "submission_key": options["submission_key"],
    }
    _publish(area, options, fitted, record, evaluation, content)


def _require_same_model(card: DataCard, options: dict[str, str], folder: str) -> None:
    asked = (options["model_name"], options["model_version"])
    if (card.model, str(card.version)) != asked:
        raise TrainingError(
            f"{folder}/{DATA_CARD} is of {card.model} version {card.version}, asked for was {asked[0]} version "
            f"{asked[1]}: give the training data of the same model and version"
        )


def _summarise(evaluation: Evaluation) -> str:
    parts = [f"test MAE {evaluation.metrics['test']['mae']:.6g}"]
    for name, reference in evaluation.references.items():
        if "test" in reference:
            gain = reference["improvement"]["mae"]
            error = "unknown" if gain["standard_error"] is None else f"{gain['standard_error']:.4g}"
            parts.append(f"{name} {reference['test']['mae']:.6g}, improvement {gain['value']:.4g} ± {error}")
    return "; ".join(parts)


def _publish(
    area: FileArea,
    options: dict[str, str],
    fitted: Fit,
    record: dict[str, Any],
    evaluation: Evaluation,
    content: bytes,
) -> None:
    champion = evaluation.references.get(CHAMPION, {})
    run = TrainedRun(
        experiment_name=options["experiment_name"],
        registered_model_name=options["registered_model_name"],
        submission_key=options["submission_key"],
        fingerprint=evaluation.fingerprint,
        params={**record["hyperparams"], "iterations": record["iterations"], "algorithm": record["algorithm"]},
        metrics={
            **{
                f"{split}_{name}": value
                for split, values in evaluation.metrics.items()
                for name, value in values.items()
            },
            "baseline_test_mae": evaluation.baseline["test"]["mae"],
            "champion_test_mae": champion["test"]["mae"] if "test" in champion else None,
        },
        tags={
            "adfml_model_version": f"{record['model']}/{record['version']}",
            "training_data_path": record["training_data_path"],
            "features_sha256": record["features_sha256"],
        },
        features=tuple(record["features"]),
    )
    registration = register_model(run, fitted.estimator)
    model_path = options["model_path"].rstrip("/")
    # From here to the end an older model of this version is gone: old metadata must not vouch for the new file.
    area.remove(model_path, METADATA_FILE)
    with area.write(model_path, MODEL_FILE) as path:
        path.write_bytes(content)
    record["mlflow"] = {
        "run_id": registration.run_id,
        "experiment_id": registration.experiment_id,
        "experiment_name": run.experiment_name,
        "registered_model_name": run.registered_model_name,
        "registered_model_version": registration.version,
    }
    with area.write(model_path, METADATA_FILE) as path:
        path.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", "utf-8")
    _log.info("registered as version %s of %s", registration.version, run.registered_model_name)


if __name__ == "__main__":
    run_script(main, TrainingError)
