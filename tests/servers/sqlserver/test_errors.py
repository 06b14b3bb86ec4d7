"""SQL Server's errors in the project's words. The errors are the driver's own classes; no server raised them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from mssql_python import exceptions

from resources.errors import ConnectionLost, NotFound, NotPermitted, Refused
from resources.servers.base import TableName
from resources.servers.sqlserver_errors import Messages
from tests.servers.sqlserver.standin import SHOP, server_error

ORDERS = TableName("dbo", "Or]ders")


def messages() -> Messages:
    engine = sa.create_engine("mssql+mssqlpython://reader:s3cret@host/shop", _initialize=False)
    return Messages(engine, "shop", SHOP)


@pytest.mark.parametrize(
    ("state", "text", "expected"),
    [
        ("Base table or view not found", "Invalid object name 'dbo.Orders'.", NotFound),
        ("Syntax error or access violation", "The SELECT permission was denied on the object 'Orders'.", NotPermitted),
        ("Syntax error or access violation", "The SELECT permission was denied on the column 'Pay'.", NotPermitted),
        ("Communication link failure", "TCP Provider: Error code 0x68", ConnectionLost),
        ("Timeout expired", "Query timeout expired", ConnectionLost),
        ("General error", "Database 'shop' on server 's' is not currently available.", ConnectionLost),
        ("General error", "The service has encountered an error processing your request.", ConnectionLost),
        ("General error", "The service is currently busy. Retry the request after 10 seconds.", ConnectionLost),
        ("General error", "Resource ID : 1. The request limit for the database is 60.", ConnectionLost),
        ("Serialization failure", "Transaction (Process ID 52) was deadlocked on lock resources", ConnectionLost),
        ("Syntax error or access violation", "Snapshot isolation transaction aborted due to update", ConnectionLost),
        ("Invalid authorization specification", "Login failed for user 'reader'.", Refused),
        ("Syntax error or access violation", "Incorrect syntax near 'Id'.", Refused),
    ],
)
def test_an_error_is_told_by_what_can_be_done(state: str, text: str, expected: type[Exception]) -> None:
    error = server_error(exceptions.ProgrammingError, state, text)
    told = messages().translate(error, ORDERS, lambda: ["dbo.Other"])
    assert type(told) is expected
    assert "\n" not in str(told)


def test_a_refused_statement_points_to_the_condition() -> None:
    error = server_error(exceptions.ProgrammingError, "Syntax error or access violation", "Incorrect syntax near 'x'.")
    assert "the condition (`where`) declared for dbo.Or]ders" in str(messages().translate(error, ORDERS, list))


def test_the_grant_can_be_run_as_it_is() -> None:
    error = server_error(exceptions.ProgrammingError, "", "The SELECT permission was denied on the object")
    told = messages().translate(error, ORDERS, list)
    assert isinstance(told, NotPermitted)
    assert told.grant == "GRANT SELECT ON [dbo].[Or]]ders] TO [reader];"


@pytest.mark.parametrize("text", ["bad: PWD=s3cret;", "bad: Password={s3;cret};", "for s3cret", "x\nPWD=s3cret"])
def test_secrets_are_not_repeated(text: str) -> None:
    told = str(messages().translate(RuntimeError(text), None, list))
    assert "s3" not in told
