"""A run: its folder, data, stages and arms, and the results they add up to."""
