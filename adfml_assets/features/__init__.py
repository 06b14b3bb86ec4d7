"""Features over archived tables: one definition, run on DuckDB or Spark over Parquet in the lake. No Dagster here."""
