"""Probes: analyses of any causal LM with given text, which train nothing and compare no arms."""
