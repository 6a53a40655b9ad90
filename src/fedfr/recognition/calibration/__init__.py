"""Thresholds that keep a promised rate of strangers, what they cost enrolled people, and drift from them."""
