"""A demo that is stopped."""
