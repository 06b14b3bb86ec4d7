"""The demo: a shop's database, the local cloud, Dagster's daemon and the real graph, on one machine."""
