"""Which version of a model is `champion` (scores) or `challenger`: the registry aliases, kept beside the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.control import begin, utc_now
from resources.control_tables import model_aliases

if TYPE_CHECKING:
    from sqlalchemy import Engine


class ModelAliases:
    """Aliases of model versions. One version an alias; a version may have several."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def point(self, model: str, alias: str, version: str, run_id: str) -> None:
        """Let an alias point to a version, in one step: a reader sees the old one or the new one."""
        key = (model_aliases.c.model == model) & (model_aliases.c.alias == alias)
        values = {"version": version, "set_at": utc_now(), "run_id": run_id}
        with begin(self._engine) as connection:
            if connection.execute(model_aliases.update().where(key).values(**values)).rowcount == 0:
                connection.execute(model_aliases.insert().values(model=model, alias=alias, **values))

    def read(self, model: str) -> dict[str, str]:
        """alias -> version of a model; empty where none was set."""
        import sqlalchemy as sa

        query = sa.select(model_aliases.c.alias, model_aliases.c.version).where(model_aliases.c.model == model)
        with self._engine.connect() as connection:
            return {row.alias: row.version for row in connection.execute(query)}
