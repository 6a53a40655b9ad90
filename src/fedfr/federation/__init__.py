"""Rounds between one server and its clients: messages, both sides, and what each writes down."""
