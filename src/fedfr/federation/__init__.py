"""Federated rounds: server, client, messages, aggregation, private states and the journal."""
