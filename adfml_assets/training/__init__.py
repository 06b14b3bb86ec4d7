"""Training data and trained models: what the training job gets, and what may be used of what it leaves."""
