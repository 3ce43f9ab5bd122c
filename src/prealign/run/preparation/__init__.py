"""Preparation: the stages that make the data of a run: tokens, parallel text, lexicon, facts."""
