"""SQL servers as sources: what they hold, and their rows as Arrow record batches from one consistent snapshot.

One interface (`base`), a module family a kind of server: `sqlite*`, `postgresql*`, `sqlserver*`.
"""

from resources.servers.base import (
    Column,
    Part,
    Server,
    Snapshot,
    TableName,
    TableQuery,
    TableSchema,
    Watermark,
)
from resources.servers.opening import open_server

__all__ = [
    "Column",
    "Part",
    "Server",
    "Snapshot",
    "TableName",
    "TableQuery",
    "TableSchema",
    "Watermark",
    "open_server",
]
