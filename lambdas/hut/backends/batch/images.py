"""What is known of container images: whether they can fetch a file from S3."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Images", "KnownImages"]


class Images(Protocol):
    """Remembers images by what their jobs have shown. An image that is not known can do everything."""

    def can_fetch(self, image: str) -> bool:
        """Say whether the image has what it takes to fetch a file."""

    def cannot_fetch(self, image: str) -> None:
        """Note that it has not."""


class KnownImages:
    """Implements `Images` for as long as the process lives."""

    def __init__(self) -> None:
        self._without: set[str] = set()

    def can_fetch(self, image: str) -> bool:
        """Say whether the image has what it takes to fetch a file."""
        return image not in self._without

    def cannot_fetch(self, image: str) -> None:
        """Note that it has not."""
        self._without.add(image)
