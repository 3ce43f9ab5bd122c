"""Code-switching: the lexicon in token ids, and the rewriter that replaces words of running text by translations."""
