"""Record ids of a scoring input: each must be there, and once, or scores could not be written back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from workloads.errors import ScoringError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

RECORD_ID = "RecordId"
"""Column that identifies a row of a scoring input and of its predictions."""

_BATCH_ROWS = 262_144
_ROWS_IN_MEMORY = 4_000_000


def check_record_ids(file: parquet.ParquetFile, shown_as: str) -> None:
    """Check that no id is NULL and none appears twice, in bounded memory.

    Ids in ascending order, as an extract by primary key has them, are proven unique in one pass that keeps one id.
    Others are counted, in as many passes as keep at most some four million ids in memory.

    Raises:
        ScoringError: Ids are NULL or doubled; says how many and gives examples.
    """
    import pyarrow as pa

    nulls = 0
    ascending = True
    last = None
    for ids in _read_ids(file):
        nulls += ids.null_count
        if not ascending or nulls:
            continue
        try:
            ascending = _ascends(ids, last)
        except pa.ArrowNotImplementedError:
            ascending = False  # a type without an order, such as the bytes of a UUID
        last = ids[-1]
    if nulls:
        raise ScoringError(f"{shown_as}: {RECORD_ID} is NULL in {nulls} rows; every row needs one", nulls=nulls)
    if ascending:
        return
    doubled, examples = _count_doubled(file)
    if doubled:
        raise ScoringError(
            f"{shown_as}: {doubled} values of {RECORD_ID} appear more than once, such as {', '.join(examples)}; a row "
            "must be scored once: make the input unique",
            doubled=doubled,
            examples=examples,
        )


def _ascends(ids: pa.Array, last: pa.Scalar | None) -> bool:
    from pyarrow import compute

    if last is not None and not compute.greater(ids[0], last).as_py():
        return False
    return bool(compute.all(compute.less(ids[:-1], ids[1:]), min_count=0).as_py())


def _read_ids(file: parquet.ParquetFile) -> Iterator[pa.Array]:
    import pyarrow as pa

    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[RECORD_ID]):
        ids = batch.column(0)
        if isinstance(ids, pa.ExtensionArray):
            ids = ids.storage
        if isinstance(ids, pa.DictionaryArray):
            ids = ids.dictionary_decode()
        if len(ids):
            yield ids


def _count_doubled(file: parquet.ParquetFile) -> tuple[int, list[str]]:
    import pyarrow as pa
    from pandas.util import hash_array
    from pyarrow import compute

    parts = -(-file.metadata.num_rows // _ROWS_IN_MEMORY)
    doubled, examples = 0, list[str]()
    for part in range(parts):
        kept = []
        for ids in _read_ids(file):
            if parts > 1:
                mine = hash_array(ids.to_numpy(zero_copy_only=False)) % parts == part
                ids = ids.filter(pa.array(mine))
            kept.append(ids)
        counts = compute.value_counts(pa.chunked_array(kept))
        repeated = counts.field("values").filter(compute.greater(counts.field("counts"), 1))
        doubled += len(repeated)
        examples += [str(value) for value in repeated[: max(0, 5 - len(examples))].to_pylist()]
    return doubled, examples
