"""Scoring: the records to be scored, the scores a job left, and writing them back to SQL. No Dagster here."""
