"""What is wanted: the sections of a recipe, its arms, and the checks that read no data."""
