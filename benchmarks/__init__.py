"""What things cost, measured against their peers in one interleaved run. Each module prints a table."""
