"""Engine for clients on other machines, over the deployment engine of Flower (https://flower.ai)."""
