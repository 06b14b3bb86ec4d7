"""The model in use, scored on the rows that a new one is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.columns import open_parquet, require_numbers, to_matrix
from workloads.errors import WorkloadError
from workloads.model_files import ModelRecord, load_model, read_record
from workloads.paths import FileArea
from workloads.regression import predict

if TYPE_CHECKING:
    import numpy as np

    from workloads.training_data import DataCard


@dataclass(frozen=True)
class Champion:
    """Where the model in use is.

    Attributes:
        path: Its folder, with metadata.json.
        version: The version it has to be; "" takes the folder's word.
        sha256: The hash of its file that was recorded when it was registered; "" where that is not known.
    """

    path: str
    version: str
    sha256: str


def score_champion(area: FileArea, champion: Champion, card: DataCard, folder: str) -> np.ndarray:
    """Score the test split of a new model's training data with the champion.

    Args:
        area: Reads the files.
        champion: The model in use.
        card: The data card of the new model's training data.
        folder: The training data's folder. The champion's features are taken from its test split by name.

    Returns:
        A score for each row of the test split, float64.

    Raises:
        WorkloadError: Its scores would not be comparable with the new model's, or its file is refused: says why.
    """
    record = read_record(area, champion.path)
    _require_same_question(record, champion, card)
    shown_as = f"{folder}/test.parquet"
    with open_parquet(str(area.read(folder, "test.parquet")), shown_as) as file:
        present = file.schema_arrow.names
        missing = [name for name in record.features if name not in present]
        if missing:
            raise WorkloadError(
                f"version {record.version} takes [{', '.join(record.features)}], the test split has "
                f"[{', '.join(present)}], missing are [{', '.join(missing)}]",
                missing=missing,
            )
        require_numbers(file.schema_arrow, record.features, shown_as)
        matrix, _ = to_matrix(file.read(columns=list(dict.fromkeys(record.features))), record.features)
    estimator = load_model(area, champion.path, record, champion.sha256)
    return predict(estimator, matrix, record.features)


def _require_same_question(record: ModelRecord, champion: Champion, card: DataCard) -> None:
    if record.model != card.model or champion.version not in ("", record.version):
        raise WorkloadError(
            f"{champion.path} holds {record.model} version {record.version}, asked for was {card.model} version "
            f"{champion.version or 'of any number'}"
        )
    if record.label not in ("", card.label):
        raise WorkloadError(
            f"version {record.version} forecasts {record.label}, the new model forecasts {card.label}",
            champion=record.label,
            label=card.label,
        )
    # The column for all other categories counts other things when other categories have a column of their own.
    for column in sorted({*record.pinned, *card.pinned}):
        theirs, ours = record.pinned.get(column), card.pinned.get(column)
        if _uses(record, column, theirs) and theirs != ours:
            raise WorkloadError(
                f"version {record.version} knows the categories of {column} [{_listed(theirs)}], the training data has "
                f"[{_listed(ours)}], so that {column}_other counts something else",
                champion=theirs,
                card=ours,
            )


def _uses(record: ModelRecord, column: str, pinned: Sequence[str] | None) -> bool:
    return pinned is not None or f"{column}_other" in record.features


def _listed(values: Sequence[str] | None) -> str:
    return ", ".join(values or ())
