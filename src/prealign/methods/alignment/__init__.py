"""Word alignment: word states at every layer, the contrastive loss over them, and the training objective."""
