"""What the tests of the demo's data share: reading a shop database without the code under test."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

COLUMNS = {
    "Customers": [
        ("CustomerId", "INTEGER", 1, 1),
        ("Name", "VARCHAR(100)", 0, 0),
        ("Country", "VARCHAR(60)", 1, 0),
        ("CreatedDate", "DATETIME", 1, 0),
        ("ModifiedDate", "DATETIME", 1, 0),
    ],
    "Products": [
        ("StockCode", "VARCHAR(20)", 1, 1),
        ("Description", "VARCHAR(200)", 0, 0),
        ("Category", "VARCHAR(40)", 1, 0),
        ("UnitPrice", "NUMERIC(12, 3)", 1, 0),
        ("ModifiedDate", "DATETIME", 1, 0),
    ],
    "Transactions": [
        ("TransactionId", "INTEGER", 1, 1),
        ("InvoiceNo", "VARCHAR(20)", 1, 0),
        ("CustomerId", "INTEGER", 0, 0),
        ("StockCode", "VARCHAR(20)", 1, 0),
        ("Description", "VARCHAR(200)", 0, 0),
        ("Quantity", "INTEGER", 1, 0),
        ("UnitPrice", "NUMERIC(12, 3)", 1, 0),
        ("Country", "VARCHAR(60)", 1, 0),
        ("TransactionDate", "DATETIME", 1, 0),
        ("ModifiedDate", "DATETIME", 1, 0),
    ],
    "Feedback": [
        ("FeedbackId", "INTEGER", 1, 1),
        ("CustomerId", "INTEGER", 0, 0),
        ("FeedbackText", "TEXT", 1, 0),
        ("Rating", "INTEGER", 0, 0),
        ("CreatedDate", "DATETIME", 1, 0),
        ("Sentiment", "VARCHAR(20)", 0, 0),
        ("ConfidencePositive", "FLOAT", 0, 0),
        ("ConfidenceNeutral", "FLOAT", 0, 0),
        ("ConfidenceNegative", "FLOAT", 0, 0),
        ("scored", "INTEGER", 1, 0),
        ("ModifiedDate", "DATETIME", 1, 0),
    ],
    "SensorReadings": [
        ("ReadingId", "INTEGER", 1, 1),
        ("MachineId", "VARCHAR(20)", 1, 0),
        ("ReadingTime", "DATETIME", 1, 0),
        ("Temperature", "FLOAT", 1, 0),
        ("Pressure", "FLOAT", 1, 0),
        ("Vibration", "FLOAT", 1, 0),
        ("ModifiedDate", "DATETIME", 1, 0),
    ],
}
"""Name, type, NOT NULL and place in the primary key of every column, as SQLite reports them."""

OWN_DATE = {
    "Customers": "CreatedDate",
    "Transactions": "TransactionDate",
    "Feedback": "CreatedDate",
    "SensorReadings": "ReadingTime",
}


def query(database: Path, sql: str, *parameters: object) -> list[tuple]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql, parameters).fetchall()


def value(database: Path, sql: str, *parameters: object) -> object:
    return query(database, sql, *parameters)[0][0]


def start_python(code: str, *arguments: object) -> subprocess.Popen:
    """A Python process of this checkout, with a string hash seed of its own."""
    environment = {**os.environ, "PYTHONHASHSEED": "random"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment)


def wait_for(happened, process: subprocess.Popen, seconds: float = 60) -> None:
    """Waits until `happened()` is true; fails if the process ends before, or time is up."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, "the process ended before what was waited for happened"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
