"""Word alignment: word states at every layer, the contrastive loss over them, and the objective that trains with it."""
