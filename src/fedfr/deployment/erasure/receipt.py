"""Receipt of an erasure: what was removed, when, and what remains; without the person's name, and signed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

import fedfr
from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.deployment.erasure.journal import Erasure
from fedfr.deployment.erasure.remains import Remainder
from fedfr.deployment.secrets import load_key, public_line
from fedfr.deployment.site_status_file import timestamp

__all__ = ["Receipt"]

FORMAT = "fedfr-erasure-receipt"
VERSION = 1
SIGNED, HASHED = "ECDSA P-384, SHA-384", "SHA-256"


@dataclass(frozen=True)
class Receipt:
    """Contents of a receipt as JSON values."""

    content: dict[str, Any]

    @classmethod
    def of(cls, erasure: Erasure, client: str, folder: Path, remains: Sequence[Remainder]) -> Receipt:
        """Create the receipt of an executed erasure at the site ``client``; texts with the name have the pseudonym."""

        def text(value: str) -> str:
            inside = value.removeprefix(f"{folder}/")
            return erasure.mentions.replaced(inside, erasure.pseudonym)

        removed = {
            "face_sets": [
                {
                    "folder": text(each.folder),
                    "images": len(each.rows()),
                    "of": each.total,
                    "identities": len({*each.identities, *each.vanished}),
                    "identical_images_of_others": each.identical,
                }
                for each in erasure.sets
            ],
            "list_entries": sum(erasure.lists.values()),
            "private_states": [
                {
                    "run": text(store.run),
                    "agreement": store.agreement,
                    "states": store.states,
                    "identities": store.identities,
                    "first_round": store.first,
                    "last_round": store.last,
                    "rows_without_names": store.unnamed,
                    "removed": "all states" if erasure.remedy == "retrain" else "the person's rows",
                }
                for store in erasure.stores
            ],
            "galleries": [
                {"folder": text(each.folder), "photos": each.photos, "crops": each.crops}
                for each in erasure.galleries
                if each.person
            ],
        }
        return cls(
            {
                "format": FORMAT,
                "version": VERSION,
                "fedfr": fedfr.__version__,
                "person": erasure.pseudonym,
                "site": client,
                "requested": erasure.requested,
                "completed": timestamp(),
                "removed": removed,
                "remedy": erasure.remedy,
                "remains": [{name: text(value) for name, value in each.items()} for each in remains],
            }
        )

    @classmethod
    def load(cls, path: Path) -> Receipt:
        """Read a receipt; raises :class:`FedfrError` if the file is none. It may be forged: see :meth:`check`."""
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
            raise FedfrError(f"{path} is not the receipt of an erasure; give a file of a site's folder `receipts`")
        receipt = cls(content)
        try:
            receipt._signed_bytes()
            if not all(map(str.isprintable, receipt.text().split("\n"))):
                raise ValueError("a text with control characters")
            for each in content["removed"]["private_states"]:
                if not re.fullmatch("[0-9a-f]{16}", each["agreement"]) or type(each["first_round"]) is not int:
                    raise ValueError("an agreement or a first round")
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise FedfrError(f"{path} has a missing or invalid entry ({error!r}); ask the site for it again") from error
        return receipt

    def save(self, path: Path, key: Path) -> None:
        """Write the receipt, signed with the site's key, or with its hash if the site has no key."""
        signed = self._signed_bytes()
        if key.exists():
            private = load_key(key)
            value = base64.b64encode(private.sign(signed, ECDSA(SHA384()))).decode()
            signature = {"algorithm": SIGNED, "public_key": public_line(private), "value": value}
        else:
            signature = {"algorithm": HASHED, "value": hashlib.sha256(signed).hexdigest()}
        write_json(path, {**self.content, "signature": signature})

    def check(self, public_key: str | None = None) -> str:
        """Return how the receipt is protected; raises :class:`FedfrError` if it was changed or is of another site.

        ``public_key``: content of the site's ``site.key.pub``. Without it, the key in the receipt is used, which shows
        only that the receipt was not changed by somebody without a key of their own.
        """
        given = self.content.get("signature")
        if not isinstance(given, dict):
            raise FedfrError(f"the receipt of {self.content['person']} has no signature; ask the site for it again")
        if given.get("algorithm") == HASHED:
            if public_key is not None:
                raise FedfrError("the receipt is not signed, only hashed, because its site has no key; ask the site")
            if given.get("value") != hashlib.sha256(self._signed_bytes()).hexdigest():
                raise FedfrError("the receipt was changed: its hash differs; ask the site for it again")
            return "the receipt is not signed; its hash is right"
        name = str(given.get("public_key")) if public_key is None else public_key.partition("\n")[0]
        try:
            key = load_ssh_public_key(name.encode("ascii"))
            if not isinstance(key, EllipticCurvePublicKey):
                raise FedfrError("the key is none of a NIST curve; give a site.key.pub")
            key.verify(base64.b64decode(str(given.get("value")), validate=True), self._signed_bytes(), ECDSA(SHA384()))
        except InvalidSignature as error:
            raise FedfrError(
                "the receipt was changed, or signed with another key: its signature is wrong; ask the site for it again"
            ) from error
        except ValueError as error:
            raise FedfrError(
                f"the signature of the receipt cannot be checked ({error}); give a site.key.pub"
            ) from error
        if public_key is None:
            return "the signature is right for the key in the receipt; give the site's site.key.pub to check that, too"
        return "the signature is that of the site"

    def text(self) -> str:
        """Return the receipt as text."""
        content = self.content
        lines = [
            f"Receipt of an erasure: {content['person']}, site {content['site']}",
            f"requested {content['requested']}, completed {content['completed']}, fedfr {content['fedfr']}",
            "",
            "Removed",
        ]
        lines += [f"- {line}" for line in self._removed()]
        lines += ["", "Remains"]
        lines += [f"- {each['what']}\n  where: {each['where']}\n  {each['advice']}" for each in content["remains"]]
        remedy = {
            "retrain": "The site's own models were removed; the next round trains new ones from the generic model.",
            "note": "The site's own models were kept without the person's rows; nothing is trained again.",
        }[content["remedy"]]
        return "\n".join([*lines, "", f"Remedy: {content['remedy']}. {remedy}"])

    def _removed(self) -> list[str]:
        removed = self.content["removed"]
        lines = []
        for each in removed["face_sets"]:
            same = each["identical_images_of_others"]
            more = f", {same} of them identical images under other names" if same else ""
            lines.append(f"{each['images']} of {each['of']} images in the face set {each['folder']}{more}")
        if removed["list_entries"]:
            lines.append(f"{removed['list_entries']} entries in lists of images")
        for each in removed["private_states"]:
            run = each["run"] or "an earlier run"
            lines.append(f"{each['removed']} of {run} (agreement {each['agreement']}), in {each['states']} files")
        lines += [
            f"{each['photos']} photos and {each['crops']} crops in gallery {each['folder']}"
            for each in removed["galleries"]
        ]
        return lines or ["nothing but mentions of the name"]

    def _signed_bytes(self) -> bytes:
        """Return what is signed: everything but the signature, in a form that does not depend on the layout."""
        content = {name: value for name, value in self.content.items() if name != "signature"}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
