"""Features over archived tables: one ibis expression, run on DuckDB over the Parquet in the lake. No Dagster here."""
