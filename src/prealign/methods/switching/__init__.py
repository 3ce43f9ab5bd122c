"""Code-switching: a lexicon in tokens, and the rewriter that replaces words of running text by their translations."""
