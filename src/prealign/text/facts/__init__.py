"""Made-up facts: facts and questions by the templates of `prealign.recipe.templates`, and the text that teaches them."""
