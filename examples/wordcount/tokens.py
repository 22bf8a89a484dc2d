"""What counts as a word, and which partition a word belongs to."""

from __future__ import annotations

import re
from zlib import crc32

PARTITIONS = 3

# Letters, with apostrophes inside: "can't" is one word, quotes around a word aren't part of it.
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, in order."""
    return _WORD.findall(text.lower())


def partition_of(word: str) -> int:
    """Return the partition of a word, the same in every process (``hash`` of a text isn't)."""
    return crc32(word.encode()) % PARTITIONS
