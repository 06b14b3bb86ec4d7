"""What is materialised: the Dagster code location. Archived tables, feature sets, models and scores as assets."""
