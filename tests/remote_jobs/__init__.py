"""Remote jobs against the local cloud, through the real clients."""
