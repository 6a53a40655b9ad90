"""What the server and colluding sites learn under a secure sum, in words, to be shown before a run starts."""

from __future__ import annotations

from fedfr.privacy.secure_sum.agreement import SumAgreement

__all__ = ["describe_collusion", "exact_colluders", "withstood_colluders"]


def exact_colluders(agreement: SumAgreement) -> int:
    """Return the smallest number of sites that, with the server, learn a single update of another site exactly.

    All but one of the sites in a sum subtract their own; as many as the threshold can open every mask.
    """
    return min(agreement.fewest - 1, agreement.threshold)


def withstood_colluders(agreement: SumAgreement) -> int:
    """Return the largest c with 2t > n + c: with that many sites, a server that deviates learns sums only."""
    return 2 * agreement.threshold - len(agreement.sites) - 1


def describe_collusion(agreement: SumAgreement, *, noised: bool = False) -> list[str]:
    """Return sentences on what is learned and by whom; the numbers are those of this agreement.

    ``noised``: each vector has noise, and no number of images.
    """
    count, fewest, exact = len(agreement.sites), agreement.fewest, exact_colluders(agreement)
    server = (
        f"Secure sums of {count} sites, threshold {agreement.threshold}: the server learns the sum of the updates of "
        f"at least {fewest} sites, {'with noise' if noised else 'their number of images in total'}, and who took part; "
        "it learns no single update."
    )
    lines = [server, f"In each round, {_sites(count - fewest)} may drop out; if more do, the round has no result."]
    if exact > 1:
        lines.append(f"One site that colludes with the server learns the sum of at least {fewest - 1} others.")
    what = "with the noise of that site alone" if noised else "exactly"
    lines.append(f"{_sites(exact)} that collude with the server can learn the update of another site {what}.")
    withstood = withstood_colluders(agreement)
    if withstood == 0:
        lines.append(
            "This also holds for a server that deviates from the protocol, but not if a site colludes with it; raise "
            "the threshold if that has to be withstood."
        )
    else:
        lines.append(
            "This also holds for a server that deviates from the protocol and colludes with up to "
            f"{_sites(min(withstood, exact - 1))}."
        )
    if not noised:
        what = "exactly with federation.weights=equal, otherwise up to one unknown, its number of images"
    lines.append(
        f"All but one of the sites in a sum, {_sites(fewest - 1)} or more, learn the update of the last one from the "
        f"next model, also without the server: {what}."
    )
    return lines


def _sites(count: int) -> str:
    return "1 site" if count == 1 else f"{count} sites" if count else "no site"
