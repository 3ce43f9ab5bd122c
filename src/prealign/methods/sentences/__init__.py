"""What the losses on sentences and their translations share: batches of pairs, their states, and state of the training."""
