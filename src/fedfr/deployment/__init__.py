"""What turns machines into a federation: keys, certificates, the proxy in front of the coordinator."""
