"""Embedding rows of target tokens: tied to the rows of their translations, or initialised from them."""
