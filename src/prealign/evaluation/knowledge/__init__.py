"""Cross-lingual knowledge application: made-up facts, their training text, and questions about them."""
