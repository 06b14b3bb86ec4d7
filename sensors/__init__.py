"""What watches: remote jobs and the runs that wait for them. Knows resources, not assets."""
