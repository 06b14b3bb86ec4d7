"""Rows of a partition written to a SQL table: staged, then upserted by key, exactly once. No Dagster here.

`write_partition` writes record batches, whatever they are: scores, sentiments, anomalies. `upsert_staged` does the same
with rows that are in the database already, within the caller's transaction.
"""
