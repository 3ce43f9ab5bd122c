"""Made-up facts: templates, facts and questions, and the training text that teaches them."""
