"""Training of one phase: from model, objectives and blocks to a checkpoint; processes, precision, checkpoints."""
