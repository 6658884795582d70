"""Whether the difference of two rounds is real, as a word and as sentences."""

from __future__ import annotations

from msgspec import Struct


class Verdict(Struct, frozen=True):
    """Whether the difference between a round and another is real (`engine.compare.significance`).

    Attributes:
        word: `better`, `worse`, `no difference`, `not comparable` or `unknown`; "" where there is nothing to compare.
        told: in a sentence.
        brief: as much of it as is not said by the numbers of the rounds.
    """

    word: str = ""
    told: str = ""
    brief: str = ""
