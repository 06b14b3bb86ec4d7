"""Azure ML batch endpoints against the local cloud, through the real clients."""
