"""Seeds derived from (run seed, purpose, number), never drawn from a running stream.

A resumed run must draw what the uninterrupted one would have drawn, whatever happened in between; a stream's position
depends on that history, a derived seed does not.
"""

from __future__ import annotations

from hashlib import blake2b


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, e.g. ``derive(run_seed, "train", trial)``.

    Parts are length-prefixed before hashing, so ("ab", 1) and ("a", "b1") differ.
    """
    digest = blake2b(digest_size=8)
    for part in (seed, *purpose):
        word = f"{type(part).__name__}:{part}".encode()
        digest.update(len(word).to_bytes(4, "big") + word)
    return int.from_bytes(digest.digest(), "big") >> 1
