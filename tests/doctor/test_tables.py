"""Tables that a declaration names and the doctor looks at: in a schema there is none of, and with what to grant."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from adfml_cli.doctor import databases
from adfml_cli.doctor.databases import _Known, check_table
from adfml_cli.doctor.privileges import Login
from adfml_cli.doctor.table_uses import TableUse
from tests.postgresql_server import RunningPostgresql

LOGIN = Login("app-ml@example", "server")


def test_a_table_is_not_made_in_a_schema_that_is_not_there(tmp_path: Path) -> None:
    with sa.create_engine(f"sqlite:///{tmp_path}/shop.sqlite").connect() as connection:
        use = TableUse("dbo", "Predictions", "write", "scores of churn")
        found = check_table(connection, _Known(connection), "shop", use, LOGIN)
        assert found is not None
        assert (found.status, found.subject) == ("failed", "shop.dbo.Predictions")
        assert found.found == "There is no schema 'dbo' in database 'shop'. It has: main."
        assert found.advice == "Correct the name in the scores of churn, or make the schema."


def test_what_is_to_be_granted_names_the_login_as_the_server_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "FILES", ())
    monkeypatch.setattr(databases, "find_missing", lambda *_: ["INSERT"])
    with sa.create_engine(f"sqlite:///{tmp_path}/shop.sqlite").connect() as connection:
        connection.execute(sa.text("CREATE TABLE T (a INTEGER)"))
        use = TableUse("main", "T", "write", "scores of churn")
        found = check_table(connection, _Known(connection), "shop", use, LOGIN)
        assert found is not None
        assert found.advice == 'Let an administrator run: GRANT INSERT ON "main"."T" TO "app-ml@example";'


def test_a_schema_that_is_not_there_hides_no_other_table_of_the_database(warehouse: RunningPostgresql) -> None:
    with sa.create_engine(warehouse.url).connect() as connection:
        use = TableUse("dbo", "Predictions", "write", "scores of churn")
        found = check_table(connection, _Known(connection), "shop", use, LOGIN)
        assert found is not None
        assert found.found.startswith("There is no schema 'dbo' in database 'shop'. It has: ")
