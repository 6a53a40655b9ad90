"""Ways to bring messages to clients: in this process or worker processes (``local``)."""
