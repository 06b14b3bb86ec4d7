"""Drift: how far a day's records and scores are from what the model was trained on."""
