"""Foundations that every other package may use: errors, files, random numbers, registries, settings."""
