"""Whole runs: components, methods, benchmarks, evaluation of stored models, events, reports."""
