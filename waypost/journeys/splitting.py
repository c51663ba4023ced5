"""Which way a contact goes at a split: by chance over contacts, always the same for one."""

import hashlib

from waypost.journeys.steps import Split

_PARTS = 1 << 64


def split_way(split: Split, *, journey: str, step: str, contact: str) -> int:
    """The place of the way. Stable while the journey's key, the step's id and the weights are what they are.

    `contact` is the contact's id, as text. The first eight bytes of SHA-256 of "journey/step/contact" are a number
    from 0 up to 1; ways have the parts of it that their weights give, in their order.
    """
    digest = hashlib.sha256(f"{journey}/{step}/{contact}".encode("utf-8", "surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") * sum(way.weight for way in split.ways) // _PARTS
    for index, way in enumerate(split.ways):
        place -= way.weight
        if place < 0:
            return index
    raise AssertionError("a place is below the sum of the weights")
