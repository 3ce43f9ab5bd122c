"""A run of a recipe: its folder, data, stages and arms, and the collection of results."""
