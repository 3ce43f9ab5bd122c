"""Rows of the embeddings: tied to the rows of their translations, or started from them."""
