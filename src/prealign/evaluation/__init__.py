"""Evaluation: perplexity and word retrieval from a checkpoint, with the statistics that go with them.

Import from the modules. Nothing is imported here, so `prealign.evaluation.statistics` costs no torch.
"""
