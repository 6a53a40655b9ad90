"""Deployment of a federation: agreements, site and coordinator folders, and the two Flower apps."""
