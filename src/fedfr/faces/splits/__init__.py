"""Splits: which images are public, which belong to each client, and which are held back for evaluation."""
