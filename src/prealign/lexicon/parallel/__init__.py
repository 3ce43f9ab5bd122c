"""Lexicons from parallel text: read it, align its words, count, keep the sure ones."""
