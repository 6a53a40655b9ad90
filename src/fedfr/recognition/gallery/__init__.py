"""Galleries: enrolled people in one folder, sealed record by record, with keys, settings and a journal."""
