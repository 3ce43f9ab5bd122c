"""What an arm does: objectives, initialisations and rewriters, the phases they make up, and what these cost."""
