"""Zero-shot cross-lingual transfer: a classifier fine-tuned on source-language labels, tested in every language."""
