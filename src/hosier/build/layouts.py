"""What a vendored folder keeps, and what it loses, when an artifact comes to it: an OCI layout, brought up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hosier.pack.layout import Blob, Row
from hosier.pack.layoutfolder import DIGEST, LayoutFolder, NoIndex, name_of

Advance = Callable[[int], None]


class Layout:
    """The layout in the folder `fd`. A context manager; `told` is what messages say could not be done.

    `make`: folders that it lacks are made. Raises StoreFailed when it is damaged.
    """

    def __init__(self, fd: int, told: str, *, make: bool) -> None:
        self._folder = LayoutFolder(fd, told, make=make)
        try:
            self._rows = self._folder.rows()
        except BaseException as error:
            self._folder.__exit__()
            if isinstance(error, NoIndex):
                raise self._folder.damaged("its index.json lists no manifests") from None
            if isinstance(error, OSError):
                raise self._folder.damaged(f"its index.json: {(error.strerror or '').lower()}") from None
            raise

    def __enter__(self) -> Layout:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.__exit__()

    def holds(self, blob: Blob) -> bool:
        """Whether the layout has the blob, whole."""
        return self._folder.holds(blob)

    def useless(self, row: Row, blobs: Sequence[Blob]) -> tuple[str, ...]:
        """What no row will name any more once `row` and its `blobs` are in: the titles (else digests), sorted."""
        titles = self._folder.named([each for each in self._rows if name_of(each) == row.name], strict=False)
        names = self._folder.unnamed(row, blobs)
        return tuple(
            sorted(titles.get(each) or f"sha256:{each}" for each in names if DIGEST.fullmatch(f"sha256:{each}"))
        )

    def fill(self, missing: Sequence[Blob], row: Row, blobs: Sequence[Blob], *, advance: Advance) -> None:
        """Bring in `missing` of `blobs`, then `row` in the place of that of its name, and take away what is useless.

        When that fails nothing was brought in. Raises OSError, and StoreFailed for a blob whose file has changed.
        """
        folder = self._folder
        made: list[str] = []
        there = set(folder.names())
        try:
            mode = folder.mode()
            for blob in missing:
                folder.put(blob, check=True, mode=mode)
                if blob.sha256 not in there:
                    made.append(blob.sha256)
                advance(blob.size)
            unnamed = folder.unnamed(row, blobs)
            folder.name(row, ordered=True)
        except BaseException:
            folder.remove(made)
            raise
        folder.remove(unnamed)
