"""Clients on other machines, over the deployment engine of Flower (https://flower.ai), which carries the messages."""
