"""Where the records of a dataset are in its list, by name and by hash, so that none of them is searched for."""

from __future__ import annotations

from flenlib.dataset.schema import ImageRecord


class Index:
    """The places of a list's records. It is made anew when the list is seen to have been changed by somebody else."""

    def __init__(self) -> None:
        self._images: list[ImageRecord] | None = None
        self._count = 0
        self._names: dict[str, int] = {}
        self._folded: dict[str, int] = {}
        self._hashes: dict[str, int] = {}

    def named(self, images: list[ImageRecord], filename: str) -> int | None:
        """Return the place of a filename."""
        place = self._of(images)._names.get(filename)
        if place is not None and images[place].filename != filename:
            place = self._anew(images)._names.get(filename)
        return place

    def alike(self, images: list[ImageRecord], filename: str) -> int | None:
        """Return the place of a filename that differs in upper and lower case at most."""
        return self._of(images)._folded.get(filename.casefold())

    def hashed(self, images: list[ImageRecord], digest: str) -> int | None:
        """Return the place of the first record with this sha256."""
        place = self._of(images)._hashes.get(digest)
        if place is not None and images[place].sha256 != digest:
            place = self._anew(images)._hashes.get(digest)
        return place

    def enter(self, place: int, record: ImageRecord) -> None:
        """Note that a record was put at a place of the list, or at its end."""
        self._names.setdefault(record.filename, place)
        self._folded.setdefault(record.filename.casefold(), place)
        if record.sha256:
            self._hashes.setdefault(record.sha256, place)
        self._count = max(self._count, place + 1)

    def _of(self, images: list[ImageRecord]) -> Index:
        return self if self._images is images and self._count == len(images) else self._anew(images)

    def _anew(self, images: list[ImageRecord]) -> Index:
        self._images, self._count, self._names, self._folded, self._hashes = images, 0, {}, {}, {}
        for place, record in enumerate(images):
            self.enter(place, record)
        return self
