"""The forms that `hosier pack` writes: for each a function `write_NAME`, which gives what --json tells of it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

from hosier.cli import keyfile, outputs
from hosier.dataclasses import dataclass
from hosier.errors import UsageError

if TYPE_CHECKING:
    from hosier.fetch.progress import Phase
    from hosier.pack.directory import Written
    from hosier.pack.oci import OciImage
    from hosier.pack.source import Source
    from hosier.store.manifest import Entry
    from hosier.store.objects import Store

Facts = dict[str, object]


@dataclass(frozen=True, slots=True)
class Job:
    """What to write: the words of the command line, the images (one, but for formats that hold several).

    What has to stay while it is written goes to `held`. `ordinary`: not started by root.
    """

    args: argparse.Namespace
    store: Store
    held: ExitStack
    sources: tuple[Source, ...]
    ordinary: bool

    @property
    def source(self) -> Source:
        """The first image."""
        return self.sources[0]


def write_dir(job: Job) -> Facts:
    """A folder."""
    return _folder(job, job.source.entries.values(), {})


def _folder(job: Job, entries: Collection[Entry], contents: Mapping[str, bytes]) -> Facts:
    from hosier.pack import directory

    source = job.source
    with _progress(job, entries) as phase:
        written = directory.write(
            job.args.output,
            source.root,
            entries,
            epoch=source.epoch,
            name=source.name,
            contents=contents,
            advance=phase.advance,
        )
    for note in written.notes:
        print(f"warning: {note}", file=sys.stderr)
    if job.ordinary and not job.args.quiet:
        print("note: on this host the owners of the files are your subordinate ids", file=sys.stderr)
    return {"paths": written.paths, "size": written.size, "notes": list(written.notes)}


def write_tar(job: Job) -> Facts:
    """A tar archive, compressed as its name says."""
    from hosier.pack import tar

    source, args = job.source, job.args
    compression = tar.compression_of(args.output)

    def write(fd: int) -> int:
        with _progress(job, source.entries.values()) as phase:
            return tar.write(
                fd,
                source.root,
                source.entries.values(),
                epoch=source.epoch,
                compression=compression,
                verify=args.verify,
                name=source.name,
                advance=phase.advance,
            )

    return {"paths": len(source.entries), "size": outputs.fill(args.output, write, what=f"pack {source.name}")}


def write_oci(job: Job) -> Facts:
    """A container image: a layout's folder, or an archive of one; several architectures as an index."""
    from hosier.fetch import progress
    from hosier.pack import layout, layoutfolder, oci
    from hosier.pack.layers import DEFAULT

    args, sources = job.args, job.sources
    total = sum(each.record.size for each in sources)
    with progress.reporter(quiet=args.quiet, verbose=args.verbose) as reporter:
        with reporter.phase("pack", key="pack", total=total, unit="B") as phase:
            images = [
                oci.image(
                    each,
                    job.store,
                    job.held,
                    compression=args.compression or "gz",
                    layers=DEFAULT if args.layers is None else args.layers,
                    verify=args.verify,
                    advance=phase.advance,
                )
                for each in sources
            ]
    platforms = [tuple(sorted(each.platform.items())) for each in images]
    for number, platform in enumerate(platforms):
        if platform in platforms[:number]:
            first = args.images[platforms.index(platform)]
            raise UsageError(
                f"cannot pack {first} and {args.images[number]} as one container image: both are of "
                f"{sources[number].record.architecture}"
            )
    row, blobs = oci.row(images)
    if args.output == "-" or args.output.lower().endswith(".tar"):
        epoch = max(each.epoch for each in sources)
        size = outputs.fill(
            args.output,
            lambda fd: layout.write_archive(fd, row, blobs, epoch=epoch),
            what=f"pack {job.source.name}",
        )
    else:
        with progress.reporter(quiet=args.quiet, verbose=args.verbose) as reporter:
            size = layoutfolder.write_layout(args.output, row, blobs, name=job.source.name, reporter=reporter)
    return {
        "paths": sum(len(each.entries) for each in sources),
        "size": size,
        "ref": row.name,
        "manifest": row.descriptor["digest"],
        "images": [_told(image, each) for image, each in zip(images, sources, strict=True)],
    }


def _told(image: OciImage, source: Source) -> Facts:
    return {
        "image": source.record.digest,
        "architecture": source.record.architecture,
        "manifest": image.manifest_digest,
        "config": image.config.digest,
        "reused": image.reused,
        "layers": [
            {"digest": blob.digest, "size": blob.size, "title": layer.title, "packages": len(layer.packages)}
            for blob, layer in zip(image.layers, image.planned, strict=True)
        ],
    }


def write_squashfs(job: Job) -> Facts:
    """A squashfs image."""
    return _image(job, "squashfs", job.source.entries, {})


def write_erofs(job: Job) -> Facts:
    """An erofs image."""
    return _image(job, "erofs", job.source.entries, {})


def write_portable(job: Job) -> Facts:
    """A portable service of systemd: a folder, or a squashfs image when OUT ends in .raw."""
    from hosier.pack import portable
    from hosier.pack.content import Contents

    source = job.source
    prefix = _stem(job.args.output).partition("_")[0]  # a version may follow, portablectl(1)
    title = f"{source.record.name} {source.record.version}"
    with Contents(source.root, {}, name=source.name, verify=job.args.verify) as contents:
        entries, made = portable.plan(
            source.entries,
            source.config,
            prefix=prefix,
            title=title,
            epoch=source.epoch,
            read=contents.whole,
            name=source.name,
        )
    return _service(job, entries, made, ())


def write_sysext(job: Job) -> Facts:
    """A system extension of systemd: a folder, or a squashfs image when OUT ends in .raw."""
    from hosier.pack import source as sources
    from hosier.pack import sysext
    from hosier.pack.content import Contents

    source, base = job.source, None
    if job.args.base is not None:
        record = job.store.find(job.args.base)
        job.held.enter_context(job.store.shared(f"tree-{record.tree}"))
        base = sources.read(job.store, record, name=job.args.base).entries
    with Contents(source.root, {}, name=source.name, verify=job.args.verify) as contents:
        extension = sysext.plan(
            source.entries,
            base,
            extension=_stem(job.args.output),
            architecture=source.record.architecture,
            epoch=source.epoch,
            read=contents.whole,
            name=source.name,
        )
    return _service(job, extension.entries, extension.contents, extension.notes)


def write_deb(job: Job) -> Facts:
    """A Debian package."""
    from hosier.pack import deb

    return _package(job, deb.write)


def write_rpm(job: Job) -> Facts:
    """An RPM package."""
    from hosier.pack import rpm

    key = keyfile.read(job.args)
    sign = key.binary if key is not None else None
    facts = _package(job, partial(rpm.write, named=job.args.named or "", sign=sign))
    return facts | {"key": key.fingerprint if key is not None else None}


def _package(job: Job, write: Callable[..., Written]) -> Facts:
    args, source = job.args, job.source
    made: list[Written] = []

    def fill(fd: int) -> int:
        words = {"compression": args.compression} if args.compression else {}
        with _progress(job, source.entries.values()) as phase:
            made.append(
                write(
                    fd,
                    source,
                    prefix=args.prefix,
                    level=args.level or 0,
                    verify=args.verify,
                    advance=phase.advance,
                    **words,
                )
            )
        return made[0].size

    outputs.fill(args.output, fill, what=f"pack {source.name}", file_only=True)
    for note in made[0].notes:
        print(f"warning: {note}", file=sys.stderr)
    return {"paths": made[0].paths, "size": made[0].size, "notes": list(made[0].notes)}


def _stem(output: str) -> str:
    """The name of a file or folder, as systemd takes it for the image's."""
    return os.path.basename(os.path.abspath(output)).removesuffix(".raw")


def _service(job: Job, entries: Mapping[str, Entry], contents: Mapping[str, bytes], notes: Sequence[str]) -> Facts:
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    if job.args.output.endswith(".raw"):
        facts = _image(job, "squashfs", entries, contents)
    else:
        facts = _folder(job, entries.values(), contents)
    return facts | {"notes": [*notes, *cast(list[str], facts["notes"])]}


def _image(job: Job, kind: str, entries: Mapping[str, Entry], contents: Mapping[str, bytes]) -> Facts:
    from hosier.pack import erofs, squashfs

    args, source = job.args, job.source
    made: list[Written] = []

    def write(fd: int) -> int:
        with _progress(job, entries.values()) as phase:
            if kind == "squashfs":
                written = squashfs.write(
                    fd,
                    source.root,
                    entries.values(),
                    epoch=source.epoch,
                    compression=args.compression or "zstd",
                    verify=args.verify,
                    name=source.name,
                    contents=contents,
                    advance=phase.advance,
                )
            else:
                written = erofs.write(
                    fd,
                    source.root,
                    entries.values(),
                    epoch=source.epoch,
                    verify=args.verify,
                    name=source.name,
                    contents=contents,
                    advance=phase.advance,
                )
        made.append(written)
        return written.size

    outputs.fill(args.output, write, what=f"pack {source.name}", file_only=True)
    for note in made[0].notes:
        print(f"warning: {note}", file=sys.stderr)
    return {"paths": made[0].paths, "size": made[0].size, "notes": list(made[0].notes)}


@contextmanager
def _progress(job: Job, entries: Collection[Entry]) -> Iterator[Phase]:
    """Show how many bytes of files are packed."""
    from hosier.fetch import progress

    total = sum(each.size for each in entries if not each.hardlink)
    with (
        progress.reporter(quiet=job.args.quiet, verbose=job.args.verbose) as reporter,
        reporter.phase("pack", key="pack", total=total, unit="B") as phase,
    ):
        yield phase
