"""Evaluators applied to the models and data of a run."""
