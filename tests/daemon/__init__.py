"""The real graph through Dagster's real daemon, with the local cloud."""
