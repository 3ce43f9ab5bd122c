"""Stage 1: word states at every layer, the contrastive loss over them, the anchored vocabulary, and the trainer."""
