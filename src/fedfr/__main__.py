"""``python -m fedfr``: the command line."""

from __future__ import annotations

from fedfr.cli import main

if __name__ == "__main__":
    main()
