"""What values a model's features had in training: rows that are made up lie in these ranges."""

from __future__ import annotations

from adfml_assets import lake_layout
from adfml_assets.scoring.model_features import ModelFeatures
from resources.errors import NotFound
from resources.lake import Lake

TRAIN_FILE = "train.parquet"


def find_ranges(lake: Lake, takes: ModelFeatures) -> dict[str, tuple[float, float]]:
    """Feature -> its smallest and largest value in the version's training data, as far as the file's footer tells.

    Nothing where the training data is not in the lake any more.
    """
    import pyarrow.parquet as pq

    path = f"{lake_layout.training_data_folder(takes.model, takes.version)}/{TRAIN_FILE}"
    try:
        with lake.open_file(path) as file:
            footer = pq.ParquetFile(file).metadata
    except NotFound:
        return {}
    found: dict[str, tuple[float, float]] = {}
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            name, told = column.path_in_schema, column.statistics
            if name not in takes.names or told is None or not told.has_min_max or isinstance(told.min, str | bytes):
                continue
            low, high = found.get(name, (float(told.min), float(told.max)))
            found[name] = min(low, float(told.min)), max(high, float(told.max))
    return found
