"""Configuration file of a site, ``site.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fedfr.config.loading import read_settings_file
from fedfr.config.schema import RuntimeConfig
from fedfr.core.client_ids import check_client_id
from fedfr.core.errors import FedfrError
from fedfr.core.files import expand_home
from fedfr.core.settings import Settings, validate
from fedfr.deployment.address import Address

# Read by the process that only supervises a site: no module here imports PyTorch.

__all__ = ["SiteConfig", "SiteFacesConfig"]


def _valid_server(text: str) -> str:
    try:
        return str(Address.parse(text))
    except FedfrError as error:
        raise ValueError(str(error).partition("; ")[2]) from error


def _valid_client(text: str) -> str:
    try:
        return check_client_id(text)
    except FedfrError as error:
        raise ValueError(str(error)) from error


def _absolute(folder: Path, given: str) -> str:
    # Like read_settings_file: keep the path of an unknown user's home, which is then reported as missing.
    return str((folder / expand_home(given)).resolve())


_PATHS = (("agreement",), ("faces", "path"), ("faces", "manifest"), ("public",), ("strangers",), ("private",))


class SiteFacesConfig(Settings):
    """Face set of a site, and which of its images are used for training.

    ``manifest``: split that names the client's training and test images. Without it, the last images of each identity
    are kept for the site's own test: the share ``test_share`` of them, or ``test_count`` images; at least one image of
    each identity is trained on.
    """

    path: str
    manifest: str | None = None
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.4
    test_count: Annotated[int, Field(ge=0)] | None = None


class SiteConfig(Settings):
    """Contents of ``site.yaml``; relative paths start at its folder.

    ``client``: client id of the site. ``agreement``: file from the coordinator. ``public``: set of the public faces,
    needed if the method uses them. ``strangers``: set of the strangers with which this site calibrates its galleries,
    None if it has no gallery. ``private``: folder of the states that are kept between rounds and never sent.
    ``server``: host and port of the coordinator. ``port``: on 127.0.0.1 for the site's own processes, None for a free
    port at every start. ``runtime``: device, precision and threads of this machine. ``allow``: names of methods,
    backbones and losses of other packages that an agreement may name. ``galleries``: folders of galleries with this
    site's models. ``rebuild``: whether ``fedfr site run`` rebuilds them for a finished run's model, or says how.
    """

    client: Annotated[str, AfterValidator(_valid_client)]
    agreement: str
    faces: SiteFacesConfig
    public: str | None = None
    strangers: str | None = None
    private: str = "private"
    server: Annotated[str, AfterValidator(_valid_server)] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    runtime: RuntimeConfig = RuntimeConfig()
    allow: tuple[str, ...] = ()
    galleries: tuple[str, ...] = ()
    rebuild: Literal["offer", "automatic"] = "offer"

    @classmethod
    def load(cls, path: Path) -> SiteConfig:
        """Read the file and make its paths absolute; raises :class:`FedfrError` if it is missing or invalid."""
        if not path.is_file():
            raise FedfrError(f"{path.parent} holds no {path.name}; create a site with `fedfr site init {path.parent}`")
        content = read_settings_file(path)
        # Beside the file, too, and not in the working directory.
        content.setdefault("private", cls.model_fields["private"].default)
        for *groups, name in _PATHS:
            tree: Any = content
            for group in groups:
                tree = tree.get(group)
            if isinstance(tree, dict) and isinstance(tree.get(name), str):
                tree[name] = _absolute(path.parent, tree[name])
        if isinstance(content.get("galleries"), list):
            content["galleries"] = [
                _absolute(path.parent, each) if isinstance(each, str) else each for each in content["galleries"]
            ]
        return validate(cls, content, str(path))
