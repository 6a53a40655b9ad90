"""Engines that run clients: in this process or in workers (``local``), or on other machines (``flower``)."""
