"""Multivariate anomalies over telemetry: readings in, what is unlike the past out. Plain functions."""
