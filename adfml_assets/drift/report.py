"""The drift of a day: what was scored, compared with what the version that scored it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adfml_assets import lake_layout
from adfml_assets.archived_partitions import require_partition
from adfml_assets.asset_keys import scores_key, scoring_input_key
from adfml_assets.drift.comparison import SCORE, Comparison, DriftRules, compare_all
from adfml_assets.drift.errors import BadScoreProfile, FeaturesMissing, NoTrainingData, OtherInput, UnknownVersion
from adfml_assets.drift.profile import Bins, Profile, choose_bins, count_rows
from adfml_assets.scoring.scores import FILE as SCORES_FILE
from adfml_assets.scoring.scoring_input import FILE as INPUT_FILE
from adfml_assets.training.trained import METADATA, read_metadata
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest, read_manifest

FILE = "drift.parquet"
TRAIN_FILE = "train.parquet"
PROFILE = "score_profile"


@dataclass(frozen=True)
class DriftReport:
    """What was found of a day.

    Attributes:
        model, day: whose records, and when they were scored.
        version: the version that scored them; None for a day without records whose scores name none.
        rows: records.
        training_rows: rows of the training split; 0 where nothing was compared.
        comparisons: of every feature and the score, the largest PSI first.
        notes: what was not compared, and why.
    """

    model: str
    day: str
    version: str | None
    rules: DriftRules
    rows: int
    training_rows: int = 0
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether anything is over its threshold, and not by chance."""
        return any(found.over for found in self.comparisons)

    @property
    def worst(self) -> Comparison | None:
        """The one with the largest PSI, where any could be told."""
        return next((found for found in self.comparisons if found.psi is not None), None)

    @property
    def score(self) -> Comparison | None:
        """The score's comparison, where there is one."""
        return next((found for found in self.comparisons if found.kind == "score"), None)

    @property
    def features(self) -> tuple[Comparison, ...]:
        """The features' comparisons."""
        return tuple(found for found in self.comparisons if found.kind == "feature")


def build_report(lake: Lake, model: str, day: str, rules: DriftRules) -> DriftReport:
    """Compare a day's scoring input and scores with the training data of the version that scored.

    Raises:
        PartitionMissing: the day has no scoring input or no scores.
        UnknownVersion, OtherInput: its scores do not say what made them, or the input is for another version meanwhile.
        NoTrainingData: the version's training data is not in the lake.
        NotFound: the version has no metadata.json.
        FeaturesMissing, NotNumeric, BadScoreProfile: something cannot be compared.
    """
    input_folder, scores_folder = lake_layout.scoring_input_folder(model, day), lake_layout.scores_folder(model, day)
    _, records = require_partition(lake, input_folder, scoring_input_key(model).to_user_string(), day)
    _, scores = require_partition(lake, scores_folder, scores_key(model).to_user_string(), day)
    version = scores.facts.get("version")
    if not records.rows or not scores.rows:
        what = "Nothing was scored" if records.rows else "There were no records to score"
        return DriftReport(model, day, version, rules, 0, notes=(f"{what} on {day}: nothing to compare.",))
    if version is None:
        raise UnknownVersion(model, day)
    made_for = records.facts.get("model_version")
    if made_for is not None and made_for != version:
        raise OtherInput(model, day, version, made_for)
    metadata = read_metadata(lake, model, version)
    training, scored = _profile_features(
        lake, model, version, choose_features(model, version, metadata, rules), f"{input_folder}/{INPUT_FILE}"
    )
    profiles: tuple[Profile, Profile] | None = None
    notes: tuple[str, ...] = ()
    reference = read_score_profile(model, version, metadata)
    if reference is None:
        notes = (
            f"Version {version} has no `{PROFILE}` in its {METADATA}: its scores were not compared. Versions trained "
            "from now on have one.",
        )
    else:
        profiles = (reference, _profile_scores(lake, f"{scores_folder}/{SCORES_FILE}", reference.bins))
    comparisons = compare_all(rules, training, scored, profiles)
    training_rows = max((profile.rows for profile in training.values()), default=0)
    return DriftReport(model, day, version, rules, records.rows, training_rows, comparisons, notes)


def choose_features(model: str, version: str, metadata: Mapping[str, Any], rules: DriftRules) -> Sequence[str]:
    """The features to compare: the declared ones, or all of the version's that are not left out.

    Raises:
        FeaturesMissing: a declared one is none of the version's.
    """
    known = list(metadata["features"])
    missing = [name for name in (*(rules.features or ()), *rules.leave_out) if name not in known]
    if missing:
        raise FeaturesMissing(f"Model {model} version {version}", missing, known)
    return [name for name in rules.features or known if name not in rules.leave_out]


def read_score_profile(model: str, version: str, metadata: Mapping[str, Any]) -> Profile | None:
    """How the scores of the test split lie, as the training job left it; None where it left none.

    Raises:
        BadScoreProfile: it cannot be used.
    """
    stored = metadata.get(PROFILE)
    if stored is None:
        return None
    try:
        edges = tuple(float(edge) for edge in stored["edges"])
        counts = tuple(int(count) for count in stored["counts"])
        rows = int(stored["rows"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadScoreProfile(model, version, f"{type(error).__name__}: {error}") from None
    if list(edges) != sorted(set(edges)):
        raise BadScoreProfile(model, version, "its edges do not rise")
    if len(counts) != len(edges) + 1:
        raise BadScoreProfile(model, version, f"{len(edges)} edges, {len(counts)} counts")
    if sum(counts) != rows or min(counts) < 0:
        raise BadScoreProfile(model, version, f"its counts add up to {sum(counts)}, its rows are {rows}")
    return Profile(Bins(edges), counts)


def write_report(lake: Lake, report: DriftReport, *, asset: str, now: datetime, run_id: str) -> tuple[str, Manifest]:
    """Write a day's drift: a row a feature and one for the score. Returns folder and manifest.

    Columns: feature (the name; `score`), kind (`feature` or `score`), psi and psi_noise, missing_training,
    missing_scored (shares, 0 to 1) and missing_noise, psi_over, missing_over, over, version, rows (records of the day).
    A psi is NULL where the training data or the day has no values of the feature at all.
    """
    import pyarrow as pa

    kinds = {"feature": pa.string(), "kind": pa.string(), "psi": pa.float64(), "psi_noise": pa.float64()}
    kinds |= {name: pa.float64() for name in ("missing_training", "missing_scored", "missing_noise")}
    kinds |= {name: pa.bool_() for name in ("psi_over", "missing_over", "over")}
    schema = pa.schema({**kinds, "version": pa.string(), "rows": pa.int64()})
    rows = [_to_row(report, found) for found in report.comparisons]
    folder = lake_layout.drift_folder(report.model, report.day)
    written = lake.write_table(f"{folder}/{FILE}", pa.Table.from_pylist(rows, schema))
    manifest = build_manifest(
        asset=asset,
        partition=report.day,
        files=[written],
        schema=schema,
        written_at=now,
        run_id=run_id,
        source={
            "scoring_input": lake_layout.scoring_input_folder(report.model, report.day),
            "scores": lake_layout.scores_folder(report.model, report.day),
        },
        facts=_build_facts(report),
    )
    commit_manifest(lake, folder, manifest)
    return folder, manifest


def _to_row(report: DriftReport, found: Comparison) -> dict[str, Any]:
    return {
        "feature": found.name,
        "kind": found.kind,
        "psi": found.psi,
        "psi_noise": found.psi_noise,
        "missing_training": found.training.missing_share,
        "missing_scored": found.scored.missing_share,
        "missing_noise": found.missing_noise,
        "psi_over": found.psi_over,
        "missing_over": found.missing_over,
        "over": found.over,
        "version": report.version,
        "rows": report.rows,
    }


def _build_facts(report: DriftReport) -> dict[str, Any]:
    worst = report.worst
    return {
        "model": report.model,
        "version": report.version,
        "over": report.over,
        "over_features": [found.name for found in report.comparisons if found.over],
        "worst": worst.name if worst else None,
        "worst_psi": worst.psi if worst else None,
        "thresholds": {"psi": report.rules.psi, "missing": report.rules.missing},
        "rows": report.rows,
        "training_rows": report.training_rows,
        "notes": list(report.notes),
    }


def _profile_features(
    lake: Lake, model: str, version: str, features: Sequence[str], scored_path: str
) -> tuple[dict[str, Profile], dict[str, Profile]]:
    folder = lake_layout.training_data_folder(model, version)
    manifest = read_manifest(lake, folder)
    if manifest is None or TRAIN_FILE not in {file.name for file in manifest.files}:
        raise NoTrainingData(model, version, folder, TRAIN_FILE)
    path = f"{folder}/{TRAIN_FILE}"
    with ExitStack() as stack:
        train_file, scored_file = (stack.enter_context(lake.local_copy(one)) for one in (path, scored_path))
        bins = choose_bins(train_file, features, path)
        return count_rows(train_file, bins, path), count_rows(scored_file, bins, scored_path)


def _profile_scores(lake: Lake, path: str, bins: Bins) -> Profile:
    with lake.local_copy(path) as file:
        return count_rows(file, {SCORE: bins}, path)[SCORE]
