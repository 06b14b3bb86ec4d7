"""The command `adfml`: train, score, and look after the versions of a model, from a shell."""
