"""Methods: objectives, initialisations and rewriters, the training phases built from them, and the cost of a phase."""
