"""Copying SQL tables to the lake: whole tables as of now, and rows by watermark. No Dagster here."""
