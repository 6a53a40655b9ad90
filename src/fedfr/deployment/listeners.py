"""Find the processes that listen at a TCP port of this machine, from ``/proc`` (Linux)."""

from __future__ import annotations

import pwd
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Listener", "listeners"]

LISTENING = "0A"
SITE = re.compile(r'site="(.+)/site\.yaml"')


@dataclass(frozen=True)
class Listener:
    """Listening process: its id and command line, or only its ``user`` if this user may not inspect it."""

    user: str
    process: int | None = None
    command: tuple[str, ...] = ()

    def belongs_to(self, folder: Path) -> bool:
        """Return whether the command line names a file in a site's or coordinator's folder."""
        place = re.compile(rf"(?:^|[\s=\"]){re.escape(str(folder.resolve()))}/")
        return any(place.search(part) for part in self.command)

    def __str__(self) -> str:
        if self.process is None:
            return f"a process of user {self.user}"
        site = next((found[1] for part in self.command if (found := SITE.search(part))), None)
        # For a script, the name of the script is more informative than that of its interpreter.
        names = [Path(part).name for part in self.command[:2] if not part.startswith("-")]
        name = f"the site in {site}" if site else names[-1].split(" ")[0].rstrip(":") if names else "unknown"
        return f"process {self.process} ({name})"


def listeners(port: int) -> list[Listener]:
    """Return the processes that listen at a port, on any address; for other users' processes only the user is known."""
    sockets: dict[str, int] = {}
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets[fields[9]] = int(fields[7])
    if not sockets:
        return []
    wanted = {f"socket:[{inode}]" for inode in sockets}
    processes = [folder for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    found = [_listener(folder) for folder in processes if _holds(folder, wanted)]
    return found or [Listener(_user(user)) for user in sorted(set(sockets.values()))]


def _holds(folder: Path, wanted: set[str]) -> bool:
    with suppress(OSError):
        for file in (folder / "fd").iterdir():
            with suppress(OSError):
                if str(file.readlink()) in wanted:
                    return True
    return False


def _listener(folder: Path) -> Listener:
    command: list[str] = []
    user = 0
    with suppress(OSError):
        command = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        user = folder.stat().st_uid
    return Listener(_user(user), int(folder.name), tuple(command))


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
