"""What brings messages to clients: in this process or in workers (``local``), on other machines (``flower``)."""
