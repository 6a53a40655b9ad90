"""X.509 certificates of a federation: its authority, the coordinator's server, and operators of the control API.

Keys are ECDSA on P-256, signatures use SHA-256. A site needs no certificate: it verifies the server by the authority's
certificate, and the server identifies the site by its registered key.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedfr.core.errors import FedfrError
from fedfr.core.secret_files import refuse_existing, write_new, write_secret
from fedfr.deployment.address import refuse_zone, split_host, without_brackets

__all__ = [
    "check_server_certificate",
    "days_left",
    "issue_operator",
    "issue_server",
    "load_certificate",
    "make_authority",
    "tls_context",
]

AUTHORITY_DAYS, SERVER_DAYS, OPERATOR_DAYS = 3650, 397, 397
"""Days of validity. Browsers and many tools reject server certificates that are valid for more than 398 days."""

HOST = re.compile(r"(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")

CLOCK_TOLERANCE = timedelta(minutes=10)
"""Tolerance for slow clocks: a certificate is valid from this long before it was issued."""

_DAMAGED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    CryptographyDeprecationWarning,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for a damaged certificate or key: the errors of X.509 derive from Exception alone."""


def make_authority(folder: Path, name: str, *, days: float = AUTHORITY_DAYS) -> None:
    """Create a certificate authority for the federation ``name``: write ``ca.crt`` and ``ca.key`` to ``folder``.

    Anyone who has ``ca.key`` can issue certificates in the server's name: move it off the machine once the other
    certificates are issued. ``days``: validity. Raises :class:`FedfrError` if the files exist.
    """
    key = _new_key()
    subject = _subject(f"{name} authority")
    builder = _builder(subject, subject, key, key, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    _write(folder, "ca", builder, key, key)


def issue_server(folder: Path, hosts: Sequence[str], *, days: float = SERVER_DAYS, name: str = "server") -> None:
    """Create ``server.crt`` and ``server.key`` for the host names and addresses in ``hosts``, signed by the authority.

    ``days``: validity. ``name``: file name without ending. Raises :class:`FedfrError` if ``hosts`` is empty or holds
    anything but host names and IP addresses, if the files exist, and without a usable authority in ``folder``.
    """
    if not hosts:
        raise FedfrError(
            "a server certificate needs the names or addresses at which sites reach the server; give one or more"
        )
    _issue(
        folder,
        name,
        hosts[0],
        ExtendedKeyUsageOID.SERVER_AUTH,
        days,
        x509.SubjectAlternativeName([_general_name(host) for host in hosts]),
    )


def issue_operator(folder: Path, name: str, *, days: float = OPERATOR_DAYS) -> None:
    """Create ``<name>.crt`` and ``<name>.key``, with which a person may use the control API through the proxy.

    Raises :class:`FedfrError` if the files exist, and without a usable authority in ``folder``.
    """
    _issue(folder, name, name, ExtendedKeyUsageOID.CLIENT_AUTH, days)


def load_certificate(path: Path) -> x509.Certificate:
    """Load a PEM certificate; raises :class:`FedfrError` when it is missing or invalid."""
    try:
        with warnings.catch_warnings():
            # What the library will refuse in a later release, such as a negative serial number, is refused now.
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            # The library parses these parts only when they are read.
            _ = certificate.public_key(), certificate.extensions, certificate.not_valid_after_utc, certificate.subject
        return certificate
    except OSError as error:
        raise FedfrError(f"cannot read the certificate {path}: {error.strerror or error}; check the path") from error
    except _DAMAGED as error:
        raise FedfrError(f"{path} is not a PEM certificate; ask the coordinator for it again") from error


def tls_context(authority: Path) -> ssl.SSLContext:
    """Return a TLS client context that trusts this authority only; raises as :func:`load_certificate` does."""
    load_certificate(authority)
    try:
        return ssl.create_default_context(cafile=str(authority))
    except OSError as error:
        raise FedfrError(f"{authority} cannot be used ({error}); ask the coordinator for it again") from error


def check_server_certificate(folder: Path, hosts: Sequence[str]) -> None:
    """Raise :class:`FedfrError` unless ``server.crt`` is signed by the authority, for its key and all ``hosts``."""
    path, key = folder / "server.crt", folder / "server.key"
    certificate, authority = load_certificate(path), load_certificate(folder / "ca.crt")
    remedy = "remove it and its key, and run `fedfr server init` again"
    try:
        certificate.verify_directly_issued_by(authority)
    except (*_DAMAGED, InvalidSignature) as error:
        raise FedfrError(f"{path} is not signed by the authority ca.crt beside it; {remedy}") from error
    try:
        matches = load_pem_private_key(key.read_bytes(), None).public_key() == certificate.public_key()
    except FileNotFoundError as error:
        raise FedfrError(f"{key} is missing; {remedy}") from error
    except OSError as error:
        raise FedfrError(f"cannot read {key}: {error.strerror or error}; make it readable for this user") from error
    except _DAMAGED as error:
        raise FedfrError(f"{key} cannot be read ({error}); {remedy}") from error
    if not matches:
        raise FedfrError(f"{path} does not match server.key beside it; {remedy}")
    try:
        names = [*certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
    except x509.ExtensionNotFound:
        names = []
    missing = [host for host in hosts if _general_name(host) not in names]
    if missing:
        raise FedfrError(f"{path} is not for {', '.join(missing)}; {remedy}")


def days_left(certificate: x509.Certificate, now: datetime | None = None) -> float:
    """Return the days until the certificate expires (fractional); negative if it has expired."""
    return (certificate.not_valid_after_utc - (now or datetime.now(UTC))) / timedelta(days=1)


def _issue(
    folder: Path, file: str, subject: str, usage: x509.ObjectIdentifier, days: float, *extensions: x509.ExtensionType
) -> None:
    authority = load_certificate(folder / "ca.crt")
    try:
        signer = load_pem_private_key((folder / "ca.key").read_bytes(), None)
    except OSError as error:
        raise FedfrError(
            f"cannot read {folder / 'ca.key'}: {error.strerror or error}; "
            "restore the authority's key to issue certificates"
        ) from error
    except _DAMAGED as error:
        raise FedfrError(f"{folder / 'ca.key'} is not a PEM private key ({error}); restore it") from error
    if not isinstance(signer, EllipticCurvePrivateKey) or signer.public_key() != authority.public_key():
        raise FedfrError(f"{folder / 'ca.key'} does not belong to ca.crt beside it; restore both from the same backup")
    key = _new_key()
    builder = _builder(_subject(subject), authority.subject, key, signer, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    for extension in (x509.ExtendedKeyUsage([usage]), *extensions):
        builder = builder.add_extension(extension, critical=False)
    _write(folder, file, builder, key, signer)


def _subject(name: str) -> x509.Name:
    # X.520 limits a common name to 64 characters. Clients check the subject alternative names instead.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _new_key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP256R1())


def _general_name(host: str) -> x509.GeneralName:
    refuse_zone("host", host)
    try:
        return x509.IPAddress(ipaddress.ip_address(without_brackets(host)))
    except ValueError:
        if not HOST.fullmatch(host) or len(host) > 253 or split_host(host.removeprefix("*.")) is None:
            raise FedfrError(f"{host!r} is neither a name nor an address; give it without scheme and port") from None
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    signer: EllipticCurvePrivateKey,
    days: float,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + timedelta(days=days)) - CLOCK_TOLERANCE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _write(
    folder: Path,
    name: str,
    builder: x509.CertificateBuilder,
    key: EllipticCurvePrivateKey,
    signer: EllipticCurvePrivateKey,
) -> None:
    certificate = folder / f"{name}.crt"
    refuse_existing(certificate)
    write_secret(folder / f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_new(certificate, builder.sign(signer, SHA256()).public_bytes(Encoding.PEM))
