"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
# Whether code of the revision before can go on using the database: a new table, a new column that may be NULL.
additive = True


def upgrade() -> None:
    """${message}."""
    ${upgrades if upgrades else "..."}
