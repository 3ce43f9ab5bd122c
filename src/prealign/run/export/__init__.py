"""Export of a run's blocks, model and tasks in the formats of other tools."""
