"""The model in use, scored on the rows that a new one is tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.columns import open_parquet, require_numbers, to_floats, to_matrix
from workloads.errors import WorkloadError
from workloads.model_files import ModelRecord, load_model, read_record
from workloads.paths import FileArea
from workloads.regression import predict

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from workloads.training_data import DataCard

_OTHER = "_other"


@dataclass(frozen=True)
class Champion:
    """Where the model in use is.

    Attributes:
        path: Its folder, with metadata.json.
        version: The version it has to be.
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
    sources = _find_sources(record, card)
    shown_as = f"{folder}/test.parquet"
    wanted = list(dict.fromkeys(column for columns in sources.values() for column in columns))
    with open_parquet(str(area.read(folder, "test.parquet")), shown_as) as file:
        present = file.schema_arrow.names
        missing = [name for name in wanted if name not in present]
        if missing:
            raise WorkloadError(
                f"version {record.version} takes [{', '.join(record.features)}], the test split has "
                f"[{', '.join(present)}], missing are [{', '.join(missing)}]",
                missing=missing,
            )
        require_numbers(file.schema_arrow, wanted, shown_as)
        table = file.read(columns=wanted)
    estimator = load_model(area, champion.path, record, champion.sha256)
    return predict(estimator, _add_up(table, sources), record.features)


def _require_same_question(record: ModelRecord, champion: Champion, card: DataCard) -> None:
    if (record.model, record.version) != (card.model, champion.version):
        raise WorkloadError(
            f"{champion.path} holds {record.model} version {record.version}, asked for was {card.model} version "
            f"{champion.version}"
        )
    if record.label not in ("", card.label):
        raise WorkloadError(
            f"version {record.version} forecasts {record.label}, the new model forecasts {card.label}",
            champion=record.label,
            label=card.label,
        )


def _find_sources(record: ModelRecord, card: DataCard) -> dict[str, tuple[str, ...]]:
    """Each feature of the champion -> the columns of the test split whose sum it is.

    That is the column of its name, unless other categories were pinned for the champion: a name may then stand for
    another category, and what has a column of its own now was counted with all others.
    """
    sources: dict[str, tuple[str, ...]] = {name: (name,) for name in record.features}
    for column, theirs in record.pinned.items():
        ours = card.pinned.get(column, [])
        if sorted(theirs) == sorted(ours):
            continue
        gone = sorted(set(theirs) - set(ours))
        if gone:
            raise WorkloadError(
                f"version {record.version} has features for the categories [{', '.join(sorted(theirs))}] of {column}, "
                f"the training data for [{', '.join(sorted(ours))}], so that {', '.join(gone)} cannot be told from the "
                f"others in {column}{_OTHER}",
                champion=theirs,
                card=ours,
            )
        champions = _find_category_columns(record.features, column, theirs)
        cards = _find_category_columns(card.features, column, ours)
        sources |= {champions[category]: (cards[category],) for category in theirs}
        added = sorted(set(ours) - set(theirs))
        sources[f"{column}{_OTHER}"] = (f"{column}{_OTHER}", *(cards[category] for category in added))
    return sources


def _find_category_columns(features: Sequence[str], column: str, pinned: Sequence[str]) -> dict[str, str]:
    """Category -> its column. Those of a category column stand together, by category, before that of all others."""
    other = f"{column}{_OTHER}"
    end = features.index(other) if other in features else -1
    found = features[max(0, end - len(pinned)) : max(0, end)]
    if len(found) != len(pinned):
        raise WorkloadError(
            f"the features [{', '.join(features)}] do not have {len(pinned)} columns of {column} and {other}",
            features=features,
        )
    return dict(zip(sorted(pinned), found, strict=True))


def _add_up(table: pa.Table, sources: Mapping[str, Sequence[str]]) -> np.ndarray:
    import pyarrow as pa

    sums = {name: sum(to_floats(table.column(column)) for column in columns) for name, columns in sources.items()}
    return to_matrix(pa.table(sums), list(sums))[0]
