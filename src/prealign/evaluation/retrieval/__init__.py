"""Retrieval of translations from hidden states: word pairs, test dictionaries, parallel sentences, over layers and time."""
