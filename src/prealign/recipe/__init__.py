"""The recipe of an experiment: its sections, its arms, and checks that read no data."""
