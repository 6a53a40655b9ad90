"""Training on faces: feature extraction, hard negatives, loss terms, the training loop, pre-training."""
