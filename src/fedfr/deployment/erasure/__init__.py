"""Erasure of a person from a site: plan, journal, execution, receipt, and the remedy for the generic model."""
