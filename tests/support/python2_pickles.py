"""Pickles put together by hand, operation by operation, as Python 2 wrote them: there is no Python 2 to ask.

What they hold is checked with Python's own unpickler wherever they are used.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["protocol_0", "protocol_1", "protocol_2", "protocol_2_arrays"]

TRUTHS = {True: b"I01\n", False: b"I00\n"}


def protocol_0(images: Sequence[bytes], same: Sequence[bool]) -> bytes:
    """All text: strings as their repr, truth values as numbers."""
    # Python 3 writes a bytes object as Python 2 wrote a str, with a b before it.
    bins = b"".join(b"S%s\np%d\na" % (repr(each)[1:].encode(), place) for place, each in enumerate(images, start=2))
    return b"((lp1\n" + bins + b"(lp900\n" + b"".join(TRUTHS[each] + b"a" for each in same) + b"tp0\n."


def protocol_1(images: Sequence[bytes], same: Sequence[bool]) -> bytes:
    """Strings with their length, truth values still as text."""
    return b"(]q\x00(" + _strings(images) + b"e]q\x01(" + b"".join(map(TRUTHS.__getitem__, same)) + b"etq\x02."


def protocol_2(images: Sequence[bytes], same: Sequence[bool]) -> bytes:
    """What ``pickle.HIGHEST_PROTOCOL`` was; ``lfw.bin`` of the published face sets is one."""
    return b"\x80\x02]q\x00(" + _strings(images) + b"e]q\x01(" + _truths(same) + b"e\x86q\x02."


def protocol_2_arrays(images: Sequence[bytes], same: Sequence[bool], module: bytes) -> bytes:
    """Images as ``cv2.imencode`` gave them, uint8 of shape (n, 1), by the NumPy whose functions lie in ``module``."""
    made = []
    for number, each in enumerate(images):
        create = b"c%s\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01bq\x03\x87R" % module
        kind = b"cnumpy\ndtype\nq\x04U\x02u1q\x05K\x00K\x01\x87Rq\x06(K\x03U\x01|q\x07NNNJ\xff\xff\xff\xff"
        kind += b"J\xff\xff\xff\xffK\x00tb"
        if number:
            create, kind = b"h\x01h\x02K\x00\x85h\x03\x87R", b"h\x06"
        shape = b"J" + len(each).to_bytes(4, "little") + b"K\x01\x86"
        made.append(create + b"(K\x01" + shape + kind + b"\x89" + _strings([each]) + b"tb")
    return b"\x80\x02]q\x00(" + b"".join(made) + b"e]q\x08(" + _truths(same) + b"e\x86."


def _strings(images: Sequence[bytes]) -> bytes:
    return b"".join(
        (b"U" + bytes([len(each)]) if len(each) < 256 else b"T" + len(each).to_bytes(4, "little")) + each
        for each in images
    )


def _truths(same: Sequence[bool]) -> bytes:
    return b"".join(b"\x88" if each else b"\x89" for each in same)
