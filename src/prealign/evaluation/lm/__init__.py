"""Language modelling: perplexity and bits per byte of held-out documents, and perplexity by kind of word."""
