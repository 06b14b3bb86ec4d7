"""What fails is told once, with all that is needed to mend it, and nothing that is down keeps it from being told."""
