"""Alerts: what failed, told once, counted while it lasts, and told again when it is mended."""
