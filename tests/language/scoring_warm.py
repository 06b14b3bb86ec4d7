"""Imported by the process that every scoring process is a copy of: afterwards everything a run needs is there."""

import duckdb  # noqa: F401
import httpx  # noqa: F401
import orjson  # noqa: F401
import psycopg  # noqa: F401
import pyarrow.parquet  # noqa: F401
import regex  # noqa: F401
import tenacity  # noqa: F401

import tests.language.scoring_process  # noqa: F401
