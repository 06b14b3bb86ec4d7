"""Personal data in the archive: columns replaced by a keyed hash.

HMAC-SHA256 under the deployment's own key: equal values stay equal, so that columns can still be joined and counted,
but nobody without the key can try out addresses or names until one fits, as with a plain hash.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from resources.settings import HASH_KEY

if TYPE_CHECKING:
    import pyarrow as pa


def hash_schema(schema: pa.Schema, columns: Collection[str]) -> pa.Schema:
    """The schema after `hash_batches`: the columns are strings of 64 hexadecimal digits."""
    import pyarrow as pa

    for name in columns:
        index = schema.get_field_index(name)
        field = schema.field(index)
        metadata = {**(field.metadata or {}), b"note": b"HMAC-SHA256 of the value's text"}
        schema = schema.set(index, pa.field(name, pa.string(), nullable=field.nullable, metadata=metadata))
    return schema


def hash_batches(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, columns: Collection[str]
) -> Iterator[pa.RecordBatch]:
    """Batches with columns replaced by the hash of their values; NULL stays NULL.

    Args:
        schema: of the result, from `hash_schema`.

    Raises:
        SettingMissing: ADFML_HASH_KEY.
    """
    import pyarrow as pa

    key = HASH_KEY.read().encode()
    for batch in batches:
        arrays = [
            _hash_array(array, key) if name in columns else array
            for name, array in zip(batch.schema.names, batch.columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _hash_array(array: pa.Array, key: bytes) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    # Each distinct value once: a batch has fewer of them than rows.
    encoded = pc.dictionary_encode(array)
    hashes = [hmac.new(key, _to_bytes(value), hashlib.sha256).hexdigest() for value in encoded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(hashes, pa.string())).cast(pa.string())


def _to_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
