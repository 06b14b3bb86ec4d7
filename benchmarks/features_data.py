"""Generated transactions in a lake: the same ones every time, streamed, whatever their number."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from resources.lake import Lake
    from resources.manifest import Manifest

DAY = "2026-01-01"
"""The snapshot's day: the first after all transactions."""

FOLDER = f"archive/shop/main/Transactions/snapshot_date={DAY}"
ASSET = "archive/shop/main/Transactions"
CATEGORIES = 20
DAYS = 730
LINES_AN_INVOICE = 2
ROWS_A_CUSTOMER = 100
_BATCH_ROWS = 250_000
_SEED = 5


def build_schema() -> pa.Schema:
    """The columns of Transactions; amounts with two decimals, moments by the minute (UTC)."""
    import pyarrow as pa

    return pa.schema(
        {
            "TransactionId": pa.int64(),
            "InvoiceNo": pa.string(),
            "CustomerId": pa.int64(),
            "StockCode": pa.string(),
            "Category": pa.string(),
            "Quantity": pa.int32(),
            "UnitPrice": pa.decimal128(12, 2),
            "TransactionDate": pa.timestamp("us"),
        }
    )


def open_lake(folder: Path) -> Lake:
    """The lake in a folder."""
    from resources.lake import Lake

    os.environ["ADFML_LAKE"] = str(folder / "lake")
    return Lake()


def write_transactions(folder: Path, rows: int) -> None:
    """Archive so many transactions of `rows / 100` customers over two years, in their order in time."""
    from resources.manifest import build_manifest, commit_manifest

    lake = open_lake(folder)
    with lake.write_parquet_parts(lambda index: f"{FOLDER}/Transactions_{index}.parquet", build_schema()) as sink:
        for batch in _make_batches(rows):
            sink.write(batch)
    now = datetime.now(UTC)
    files = list(sink.files)
    commit_manifest(
        lake,
        FOLDER,
        build_manifest(
            asset=ASSET, partition=DAY, files=files, schema=build_schema(), written_at=now, run_id="benchmark"
        ),
    )


def read_partition(lake: Lake) -> tuple[str, Manifest]:
    """Folder and manifest of the transactions."""
    from resources.manifest import read_manifest

    manifest = read_manifest(lake, FOLDER)
    assert manifest is not None  # noqa: S101 - write_transactions made it
    return FOLDER, manifest


def list_files(folder: Path) -> list[str]:
    """The transactions' files, for libraries that read such."""
    return sorted(map(str, (folder / "lake" / FOLDER).glob("*.parquet")))


def _make_batches(rows: int) -> Iterator[pa.RecordBatch]:
    import numpy as np
    import pyarrow as pa

    customers = max(1, rows // ROWS_A_CUSTOMER)
    minutes = DAYS * 24 * 60
    start = np.datetime64("2024-01-01T00:00", "us")
    names = pa.array([f"Category {number:02}" for number in range(CATEGORIES)])
    for first in range(0, rows, _BATCH_ROWS):
        numbers = np.arange(first, min(first + _BATCH_ROWS, rows), dtype=np.int64)
        invoices = numbers // LINES_AN_INVOICE
        # Batches hold whole invoices: each draws customer and moment once, so that lines of one moment are common.
        random = np.random.default_rng([_SEED, first])
        own, place = np.unique(invoices, return_inverse=True)
        # Some customers buy often and many seldom.
        buyer = (customers * random.random(len(own)) ** 1.5).astype(np.int64)[place]
        minute = (own * LINES_AN_INVOICE * minutes // max(rows, 1))[place]
        quantities = np.where(random.random(len(numbers)) < 0.02, -1, random.integers(1, 25, len(numbers)))
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(numbers),
                pa.array(np.char.add("5", invoices.astype("U"))),
                pa.array(buyer, mask=(random.random(len(own)) < 0.03)[place]),
                pa.array(np.char.add("P", random.integers(0, 4_000, len(numbers)).astype("U"))),
                names.take(pa.array((random.random(len(numbers)) ** 2 * CATEGORIES).astype(np.int64))),
                pa.array(quantities, pa.int32()),
                _to_decimals(random.integers(0, 20_000, len(numbers))),
                pa.array(start + minute.astype("timedelta64[m]")),
            ],
            schema=build_schema(),
        )


def _to_decimals(cents: NDArray[np.int64]) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    words = np.zeros((len(cents), 2), dtype=np.int64)  # 128 bits each, the low ones first
    words[:, 0] = cents
    return pa.Array.from_buffers(pa.decimal128(12, 2), len(cents), [None, pa.py_buffer(words)])
