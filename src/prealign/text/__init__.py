"""Languages, words of a token sequence, corpora and the English-Clone language."""
