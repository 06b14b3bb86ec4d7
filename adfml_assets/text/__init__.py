"""Text scored by a language model or service: prompts, requests, answers. No Dagster but in the asset builders."""
