"""Bring the metadata of all RPM repositories that a spec names up to date, each file checked before it is used."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import quote

from hosier.dataclasses import dataclass, field, replace
from hosier.distro import indices
from hosier.distro.rpm import hostconf, markup
from hosier.distro.rpm.channels import Channel, resolve
from hosier.distro.rpm.current import Current, current
from hosier.distro.rpm.repomd import Digest, Metadata, text_max
from hosier.errors import FetchFailed, NotAuthentic
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies
from hosier.fetch.transport import Limits
from hosier.spec.lock import LockedKey, LockedRepo
from hosier.spec.model import Repo

ROOTS = {"primary": "metadata", "filelists": "filelists"}
"""What the documents are called inside that libsolv reads."""


@dataclass(frozen=True, slots=True)
class Index:
    """One metadata file that is in the store. `path` is relative to its repo's uris; `file` is the decompressed text.

    `kind` is "repomd", "primary", "filelists", "group" or "modules". `sha256` is that of the file at `path`.
    `priority` and `cost` are the repo's (dnf.conf(5)), `architecture` is the image's (Debian's name).
    """

    repo: str
    kind: str
    path: str
    sha256: str
    file: str
    priority: int
    cost: int
    architecture: str


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What repositories hold now. `epoch` is when the newest of their repomd.xml was made, seconds since 1970.

    `channels` are what the spec or the host says of each repo, in order: patterns, priorities, module_hotfixes.
    """

    repos: tuple[LockedRepo, ...]
    indices: tuple[Index, ...]
    keys: tuple[LockedKey, ...]
    epoch: int
    proxies: Proxies
    channels: tuple[Channel, ...] = ()
    later: tuple[Later, ...] = field(default=(), repr=False)
    """The file lists, which `filelists` fetches."""

    def channel(self, repo: str) -> Channel:
        """What is said of a repo."""
        return next(each for each in self.channels if each.repo == repo)


@dataclass(frozen=True, slots=True)
class Later:
    """A metadata file that a repository has, and that may not be in the store."""

    repo: str
    architecture: str
    priority: int
    cost: int
    metadata: Metadata
    uris: tuple[str, ...]


def refresh(
    repos: Mapping[str, Sequence[Repo]],
    store_path: str,
    *,
    reporter: Reporter,
    now: float,
    root: str = "/",
    environment: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> dict[str, Refreshed]:
    """Fetch and check repomd.xml of every repository for each architecture, whose `[[repo]]`s `repos` has, and the
    metadata that it lists, into the store; file lists are left to `filelists`.

    What the store has already is not fetched again. `root` is where the host's dnf configuration lies, `environment`
    what names its proxies (os.environ when None). Raises FetchFailed, NotAuthentic, SpecInvalid, HostLacks,
    StoreFailed, PackageInvalid for a package of a plain folder, or DnfConfigInvalid.
    """
    environment = os.environ if environment is None else environment
    host = hostconf.load(root, environment)
    asked = [each for of in repos.values() for each in of if each.type == "rpm"]
    sections = hostconf.repositories(host) if any(each.source == "host" for each in asked) else ()
    if sections:
        proxies = hostconf.proxies(host, environment, sections)
    else:
        proxies = hostconf.reaching(host, environment)
        # Only who asks for the host's own sections gets what they leave out.
        proxies = replace(proxies, tls=tuple(each for each in proxies.tls if each.verify))
    for section in sections:
        if not section.verify:
            reporter.warn(
                f"{section.name}: {section.where} has sslverify off, so whoever answers is taken for its server"
            )
    channels = {architecture: resolve(of, architecture, host, sections) for architecture, of in repos.items()}
    every = list(dict.fromkeys(channel for of in channels.values() for channel in of))
    folder = os.path.join(store_path, "indices")
    indices.make(os.path.join(folder, "release"))
    with reporter.phase(f"check {len(every)} {'archive' if len(every) == 1 else 'archives'}", key="archives"):
        found = current(every, folder, proxies=proxies, reporter=reporter, now=now, limits=limits)
    by_channel = dict(zip(every, found, strict=True))
    kept = {architecture: [by_channel[each] for each in of] for architecture, of in channels.items()}
    wanted = {
        architecture: [each for one in of for each in _wanted(one, architecture)] for architecture, of in kept.items()
    }
    every_index = [_as_index(each, folder) for of in wanted.values() for each in of]
    indices.bring(every_index, store_path, proxies=proxies, reporter=reporter, limits=limits)
    return {
        architecture: Refreshed(
            repos=tuple(_repo(one) for one in of),
            indices=(
                *(_own(one, architecture) for one in of),
                *(_index(each, folder) for each in wanted[architecture]),
            ),
            keys=tuple(each for one in of for each in one.keys),
            epoch=max((one.epoch for one in of), default=0),
            proxies=proxies,
            channels=tuple(one.channel for one in of),
            later=tuple(each for one in of for each in _later(one, architecture)),
        )
        for architecture, of in kept.items()
    }


def filelists(
    refreshed: Refreshed,
    store_path: str,
    *,
    reporter: Reporter,
    repos: Sequence[str] | None = None,
    limits: Limits | None = None,
) -> tuple[Index, ...]:
    """Bring the file lists of these repos into the store (None: of all), for a dependency on a file that their primary
    metadata does not tell of. What primary metadata was made from a plain folder tells of all files already.

    Raises as `refresh`.
    """
    folder = os.path.join(store_path, "indices")
    wanted = [each for each in refreshed.later if repos is None or each.repo in repos]
    every = [_as_index(each, folder) for each in wanted]
    indices.bring(every, store_path, proxies=refreshed.proxies, reporter=reporter, limits=limits)
    return tuple(_index(each, folder) for each in wanted)


def _own(one: Current, architecture: str) -> Index:
    """The document that the others are listed in, or that stands for a folder."""
    return Index(
        repo=one.channel.repo,
        kind=one.kind,
        path=one.path,
        sha256=one.sha256,
        file=one.file,
        priority=one.channel.priority,
        cost=one.channel.cost,
        architecture=architecture,
    )


def _wanted(one: Current, architecture: str) -> Iterator[Later]:
    if one.repomd is None:
        return
    files = one.repomd.files
    # With module_hotfixes a repository is used as if it had no modules.
    modular = None if one.channel.module_hotfixes else files.get("modules")
    for metadata in (files["primary"], one.repomd.groups, modular):
        if metadata is not None:
            yield _of(one, metadata, architecture)


def _later(one: Current, architecture: str) -> Iterator[Later]:
    if one.repomd is not None and "filelists" in one.repomd.files:
        yield _of(one, one.repomd.files["filelists"], architecture)


def _of(one: Current, metadata: Metadata, architecture: str) -> Later:
    channel = one.channel
    return Later(channel.repo, architecture, channel.priority, channel.cost, metadata, one.uris)


def _index(each: Later, folder: str) -> Index:
    return Index(
        repo=each.repo,
        kind="group" if each.metadata.kind.startswith("group") else each.metadata.kind,
        path=each.metadata.location,
        sha256=_sha256(each.metadata.digest, folder),
        file=_file(each.metadata.digest, folder),
        priority=each.priority,
        cost=each.cost,
        architecture=each.architecture,
    )


def _as_index(each: Later, folder: str) -> indices.Wanted:
    metadata = each.metadata
    name = f"{metadata.location} of {each.repo}"
    known = metadata.digest.algorithm == "sha256"
    if not known and not os.path.exists(_record(metadata.digest, folder)):
        # Without its record the text in the store is of no use: the lock needs the sha256 of what is served.
        _forget(_file(metadata.digest, folder))
    return indices.Wanted(
        name=name,
        file=_file(metadata.digest, folder),
        urls=tuple(f"{uri}/{quote(metadata.location, safe=_PLAIN)}" for uri in each.uris),
        compression=metadata.compression,
        size=metadata.size,
        sha256=metadata.digest.value if known else None,
        expanded=metadata.expanded,
        most=text_max(metadata.kind),
        served=None if known else _other(metadata.digest, folder),
        text=_text(metadata, name),
        digest=None if known else metadata.digest.value,
        algorithm=metadata.digest.algorithm,
    )


_PLAIN = "/%~+!$&'()*,;=:@"
"""What stands in a path of a URL as it is (RFC 3986, 3.3); "%" because locations are often written so already."""


def _file(digest: Digest, folder: str) -> str:
    """Where the store keeps the text of a file with that digest."""
    if digest.algorithm == "sha256":
        return os.path.join(folder, digest.value)
    return os.path.join(folder, hashlib.sha256(f"{digest.algorithm}:{digest.value}".encode()).hexdigest())


def _record(digest: Digest, folder: str) -> str:
    return os.path.join(folder, "release", os.path.basename(_file(digest, folder)))


def _sha256(digest: Digest, folder: str) -> str:
    """The sha256 of a file whose digest is of another algorithm, as it was seen when it was fetched."""
    if digest.algorithm == "sha256":
        return digest.value
    with open(_record(digest, folder), encoding="ascii") as file:
        said: str = json.load(file)["sha256"]
        return said


def _other(digest: Digest, folder: str) -> Callable[[str], None]:
    """What writes down the sha256 of a file that is known by another digest, for the lock."""

    def note(path: str) -> None:
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        record = _record(digest, folder)
        temporary = f"{record}.new-{os.getpid()}-{threading.get_ident()}"
        with open(temporary, "w", encoding="ascii") as out:
            json.dump({"digest": f"{digest.algorithm}:{digest.value}", "sha256": sha256}, out)
        os.rename(temporary, record)

    return note


def _text(metadata: Metadata, name: str) -> Callable[[str], None]:
    """The check of a decompressed text, before anything uses it: its own digest, and that it is what it should be.

    Groups and modules are read whole, since here their repository and place can still be told.
    """

    def check(path: str) -> None:
        from hosier.distro.rpm import comps, modules

        with open(path, "rb") as file:
            if metadata.text is not None:
                found = hashlib.file_digest(file, metadata.text.algorithm).hexdigest()
                if found != metadata.text.value:
                    raise _wrong(
                        name, f"its text's {metadata.text.algorithm} is {found}, expected {metadata.text.value}"
                    )
                file.seek(0)
            if metadata.kind == "modules":
                modules.parse(file.read(modules.TEXT_MAX + 1), name=name)
            elif metadata.kind.startswith("group"):
                comps.parse(file.read(comps.TEXT_MAX + 1), name=name)
            else:
                try:
                    markup.check(file, root=ROOTS[metadata.kind])
                except markup.MarkupInvalid as error:
                    raise NotAuthentic(
                        f"cannot read {name}: {error}", hint="who keeps the repository makes it anew with createrepo_c"
                    )

    return check


def _wrong(name: str, reason: str) -> NotAuthentic:
    return NotAuthentic(
        f"cannot fetch {name}: {reason}",
        hint="the mirror may be within an update, or a proxy may hold an old copy: try again later",
    )


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _repo(one: Current) -> LockedRepo:
    if not one.places:
        raise FetchFailed(f"cannot use {one.channel.repo}: it has no place")
    return LockedRepo(
        name=one.channel.repo,
        type="rpm",
        uris=one.places,
        suites=(),
        components=(),
        gpgcheck=one.channel.gpgcheck,
    )
