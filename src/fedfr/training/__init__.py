"""Training on faces: batches, features, hard negatives, objectives, pre-training."""
