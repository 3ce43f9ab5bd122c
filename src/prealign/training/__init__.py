"""A phase of training: model, objectives and blocks to a checkpoint; processes, precision, memory."""
