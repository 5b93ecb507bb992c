"""Read the package database of a root, live or not, that somebody else may have written.

The database is copied first, through paths that cannot leave the root, and the copy is read: sqlite's by SQLite with
its schema not trusted, the older kinds by the host's rpm in a box without rights. Nothing in the root is written.
Sources: rpm 4.18, lib/backend/sqlite.c (the schema) and rpmdb.c; SQLite's "Defense Against The Dark Arts".
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from hosier.dataclasses import dataclass, replace
from hosier.distro.rpm import tags
from hosier.distro.rpm.evr import EPOCH_MAX, Evr
from hosier.distro.rpm.facts import ALGORITHMS
from hosier.distro.rpm.header import INTRO, MAGIC, Header, Malformed, size
from hosier.errors import HosierError, HostLacks, StoreFailed
from hosier.linux import passing
from hosier.linux.printable import brief
from hosier.linux.rooted import Root
from hosier.store.manifest import KINDS

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

PLACES = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
"""Where rpm keeps it: Fedora 36 and later, SUSE; all others. One is often a link to the other."""
HOME = "/root/.rpmdb"
"""Where Debian's rpm keeps it."""

SQLITE, NDB, BDB = "rpmdb.sqlite", "Packages.db", "Packages"
DATABASE_MOST = 2 << 30
"""Bytes of a database, and of its log, that are copied at most; a desktop's has 200 MB."""
HEADER_MOST = 64 << 20
PACKAGES_MOST = 200_000
FILES_MOST = 10_000_000
"""Files of all packages together; a desktop has 500,000."""
PATH_MOST = 4096
"""Characters of a folder of a package, and of a name in it (PATH_MAX of linux/limits.h)."""
SECONDS = 120.0


_NONE = (errno.ENOENT, errno.ENOTDIR)
_JOURNAL = bytes.fromhex("d9d505f920a163d7")  # of SQLite's file format, "The Rollback Journal"


@dataclass(frozen=True, slots=True)
class File:
    """What a package says of one of its files, and what the database says became of it.

    `kind` is as in a manifest. `digest` is in hex, by `algorithm` ("" where the package has none). `flags` are
    tags.FILE_*, `verify` the bits of rpmvf.h that may be checked, `state` is one of tags.STATE_*.
    """

    path: str
    kind: str
    mode: int
    user: str
    group: str
    size: int
    mtime: int
    digest: str
    algorithm: str
    target: str
    rdev: tuple[int, int] | None
    flags: int
    verify: int
    state: int
    caps: str
    lang: str


@dataclass(frozen=True, slots=True)
class Package:
    """One package of the database. `digest` is the sha256 of its main header, or the sha1, "" when it has none.

    `number` is its place in the database: they stand in the order of their installation. `install_time` is in seconds
    since 1970; `size` are the bytes of its files. What follows is empty unless asked for: `files`; of `changelog` each
    is when (in seconds since 1970), the line with who, and the text; `requires` and `provides` are names, without
    versions.
    """

    name: str
    evr: Evr
    architecture: str
    install_time: int = 0
    size: int = 0
    vendor: str = ""
    licence: str = ""
    source_rpm: str = ""
    summary: str = ""
    url: str = ""
    packager: str = ""
    digest: str = ""
    number: int = 0
    files: tuple[File, ...] = ()
    changelog: tuple[tuple[int, str, str], ...] = ()
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()

    @property
    def nevra(self) -> str:
        """NAME-[EPOCH:]VERSION-RELEASE.ARCH."""
        return f"{self.name}-{self.evr}.{self.architecture}"


@dataclass(frozen=True, slots=True)
class Key:
    """A `gpg-pubkey` entry: `version` and `release` are its id and time in hex, `armour` what was imported."""

    version: str
    release: str
    summary: str
    armour: str


@dataclass(frozen=True, slots=True)
class Database:
    """What is in a database: `place` is its folder in the root, `kind` the name of its file."""

    place: str
    kind: str
    packages: tuple[Package, ...]
    keys: tuple[Key, ...]


def find(root: Root, *, home: bool = False) -> tuple[str, str] | None:
    """The folder and the file of the database that the root has: None where it has none.

    A sqlite one is preferred, as rpm does. `home` looks into the home of root too. Raises OSError.
    """
    places = (*PLACES, HOME) if home else PLACES
    for file in (SQLITE, NDB, BDB):
        for place in places:
            try:
                root.lstat(f"{place}/{file}")
            except OSError as error:
                if error.errno not in (*_NONE, errno.ELOOP):
                    raise
                continue
            return place, file
    return None


def read(
    root: Root,
    *,
    files: bool = False,
    changelogs: bool = False,
    relations: bool = False,
    home: bool = False,
    what: str = "the root",
) -> Database | None:
    """The root's database, packages sorted by name, version and architecture; None where it has none.

    `what` is what messages call the root. Raises StoreFailed for a database that is damaged, hostile or beyond the
    limits of this module, and HostLacks when only the host's rpm could read it and the host has none.
    """
    label = f"cannot read the package database of {what}"
    try:
        found = find(root, home=home)
        if found is None:
            return None
        place, kind = found
        label = f"{label}, {place}/{kind}"
        with passing.folder("rpmdb") as folder:
            headers = _sqlite(root, place, folder) if kind == SQLITE else _exported(root, place, kind, folder)
            packages, keys = _packages(headers, files=files, changelogs=changelogs, relations=relations)
    except Malformed as error:
        raise StoreFailed(f"{label}: {error}", hint=_MEND) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)  # which reading does not say but where it is copied to
        hint = passing.mend() if full else None
        raise StoreFailed(f"{label}: {(error.strerror or str(error)).lower()}", hint=hint) from None
    packages.sort(key=lambda each: (each.name, each.evr.key, each.architecture))
    return Database(place, kind, tuple(packages), tuple(sorted(keys, key=lambda key: (key.version, key.release))))


_MEND = "if the root is your own, `rpmdb --root ROOT --rebuilddb` writes the database anew"


def _packages(
    headers: Iterator[Header], *, files: bool, changelogs: bool, relations: bool
) -> tuple[list[Package], list[Key]]:
    packages: list[Package] = []
    keys: list[Key] = []
    count = 0
    for header in headers:
        if len(packages) + len(keys) >= PACKAGES_MOST:
            raise Malformed(f"it has more than {PACKAGES_MOST} packages")
        name = header.string(tags.NAME)
        if name == "gpg-pubkey":
            keys.append(
                Key(
                    header.string(tags.VERSION),
                    header.string(tags.RELEASE),
                    header.string(tags.SUMMARY),
                    header.string(tags.DESCRIPTION),
                )
            )
            continue
        found = package(header, files=files, changelog=changelogs, relations=relations)
        packages.append(replace(found, number=len(packages) + len(keys)))
        count += len(packages[-1].files)
        if count > FILES_MOST:
            raise Malformed(f"its packages have more than {FILES_MOST} files")
    return packages, keys


def package(header: Header, *, files: bool = False, changelog: bool = False, relations: bool = False) -> Package:
    """What the header of an installed package says. Raises Malformed."""
    name, version = header.string(tags.NAME), header.string(tags.VERSION)
    if not name or not version:
        raise Malformed("one of its packages has no name or no version")
    try:
        epoch = header.number(tags.EPOCH)
        if epoch > EPOCH_MAX:
            raise Malformed(f"the epoch is {epoch}")
        return Package(
            name=name,
            evr=Evr(epoch, version, header.string(tags.RELEASE)),
            architecture=header.string(tags.ARCH),
            install_time=header.number(tags.INSTALLTIME),
            size=header.number(tags.LONGSIZE) or header.number(tags.SIZE),
            vendor=header.string(tags.VENDOR),
            licence=header.string(tags.LICENSE),
            source_rpm=header.string(tags.SOURCERPM),
            summary=header.string(tags.SUMMARY),
            url=header.string(tags.URL),
            packager=header.string(tags.PACKAGER),
            digest=header.string(tags.SHA256HEADER) or header.string(tags.SHA1HEADER),
            files=tuple(_files(header)) if files else (),
            changelog=tuple(entries(header)) if changelog else (),
            requires=header.strings(tags.REQUIRENAME) if relations else (),
            provides=header.strings(tags.PROVIDENAME) if relations else (),
        )
    except Malformed as error:
        raise Malformed(f"package {brief(name)}: {error}") from None


def entries(header: Header) -> Iterator[tuple[int, str, str]]:
    """The changelog of a package, as `Package` has it. Raises Malformed."""
    times = header.numbers(tags.CHANGELOGTIME)
    return zip(times, header.strings(tags.CHANGELOGNAME), header.strings(tags.CHANGELOGTEXT), strict=False)


def _files(header: Header) -> Iterator[File]:
    paths = _paths(header)
    count = len(paths)
    if not count:
        return

    def numbers(tag: int, default: int = 0) -> tuple[int, ...]:
        return _whole(header.numbers(tag), count, tag) or (default,) * count

    def strings(tag: int) -> tuple[str, ...]:
        return _whole(header.strings(tag), count, tag) or ("",) * count

    algorithm = header.number(tags.FILEDIGESTALGO, 1)
    if algorithm not in ALGORITHMS:
        raise Malformed(f"its files have digests of the unknown kind {algorithm}")
    sizes = numbers(tags.LONGFILESIZES) if tags.LONGFILESIZES in header else numbers(tags.FILESIZES)
    for row in zip(
        paths,
        numbers(tags.FILEMODES),
        strings(tags.FILEUSERNAME),
        strings(tags.FILEGROUPNAME),
        sizes,
        numbers(tags.FILEMTIMES),
        strings(tags.FILEDIGESTS),
        strings(tags.FILELINKTOS),
        numbers(tags.FILERDEVS),
        numbers(tags.FILEFLAGS),
        numbers(tags.FILEVERIFYFLAGS, 0xFFFFFFFF),
        numbers(tags.FILESTATES, tags.STATE_NORMAL),
        strings(tags.FILECAPS),
        strings(tags.FILELANGS),
        strict=True,
    ):
        path, mode, user, group, length, mtime, digest, target, rdev, flags, verify, state, caps, lang = row
        kind = KINDS.get(stat.S_IFMT(mode))
        if kind is None:
            if not flags & tags.FILE_GHOST:
                raise Malformed(f"its file {brief(path)} has the unknown type {mode:#o}")
            kind = "f"
        yield File(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(mode),
            user=user,
            group=group,
            size=length,
            mtime=mtime,
            digest=digest.lower(),
            algorithm=ALGORITHMS[algorithm],
            target=target,
            # of rpm's 16 bits, as it compares them: eight for each
            rdev=(rdev >> 8 & 0xFF, rdev & 0xFF) if kind in "cb" else None,
            flags=flags,
            verify=verify,
            state=state,
            caps=caps,
            lang=lang,
        )


def _whole(values: tuple[T, ...], count: int, tag: int) -> tuple[T, ...]:
    if values and len(values) != count:
        raise Malformed(f"tag {tag} speaks of {len(values)} files, and there are {count}")
    return values


def _paths(header: Header) -> list[str]:
    """The absolute paths of a package's files. Raises Malformed for one that is not plainly below the root."""
    names = header.strings(tags.BASENAMES)
    if not names:
        found = list(header.strings(tags.OLDFILENAMES))
    else:
        folders, indexes = header.strings(tags.DIRNAMES), header.numbers(tags.DIRINDEXES)
        if len(indexes) != len(names):
            raise Malformed(f"it has {len(names)} files and {len(indexes)} folders for them")
        if max(indexes) >= len(folders):
            raise Malformed("one of its files is in no folder")
        # before a folder of many MiB comes before each of a hundred thousand names
        if max(map(len, (*folders, *names))) > PATH_MOST:
            raise Malformed("one of its files has a path that is too long")
        # "/" itself is an empty name in the folder "/".
        found = [f"{folders[index]}{name}" for index, name in zip(indexes, names, strict=True)]
    for at, path in enumerate(found):
        if path != "/":
            path = found[at] = path.rstrip("/")
        parts = path[1:].split("/") if path != "/" else ["x"]
        if path[:1] != "/" or "" in parts or "." in parts or ".." in parts:
            raise Malformed(f"one of its files is called {brief(path)!r}")
    return found


# SQLite


def _sqlite(root: Root, place: str, folder: str) -> Iterator[Header]:
    """The headers of a database that is copied to `folder`. Raises Malformed and OSError."""
    import sqlite3

    logged = _copied(root, place, folder)
    path = f"{folder}/{SQLITE}"
    # Without a log the copy is what it is. With one SQLite merges it, into the copy.
    uri = f"file:{path}?mode=rw" if logged else f"file:{path}?mode=ro&immutable=1"
    try:
        database = sqlite3.connect(uri, uri=True, isolation_level=None)
        try:
            yield from _rows(database)
        finally:
            database.close()
    except (sqlite3.Error, OverflowError, MemoryError, UnicodeDecodeError) as error:
        raise Malformed(f"it is damaged: {brief(str(error))}") from None


def _rows(database: sqlite3.Connection) -> Iterator[Header]:
    import sqlite3

    deadline = time.monotonic() + SECONDS
    database.text_factory = bytes
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, HEADER_MOST)
    database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    database.set_progress_handler(lambda: int(time.monotonic() > deadline), 100_000)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "temp_store=2"):
        database.execute(f"PRAGMA {pragma}").close()
    _check_schema(database)
    database.set_authorizer(_allowed)
    for number, blob in database.execute("SELECT hnum, blob FROM Packages"):
        if type(number) is not int or type(blob) is not bytes:
            raise Malformed("its table Packages holds other things than headers")
        try:
            header = Header.parse_installed(blob)
        except Malformed as error:
            raise Malformed(f"entry {number}: {error}") from None
        yield header
        if time.monotonic() > deadline:
            raise Malformed(f"it took more than {SECONDS:.0f} seconds")


def _check_schema(database: sqlite3.Connection) -> None:
    """Raise Malformed unless Packages is a plain table: a view or a computed column would run somebody's SQL."""
    named = database.execute("SELECT type, rootpage, sql FROM sqlite_master WHERE lower(name) = 'packages'").fetchall()
    if not named:
        raise Malformed("it has no table Packages")
    for kind, page, sql in named:
        said = sql.upper() if type(sql) is bytes else b""
        if kind != b"table" or type(page) is not int or page <= 0 or not said.startswith(b"CREATE TABLE"):
            raise Malformed("its Packages is no plain table")
    columns = {row[1]: row[6] for row in database.execute("PRAGMA table_xinfo('Packages')")}
    if columns.get(b"hnum") != 0 or columns.get(b"blob") != 0:
        raise Malformed("its table Packages has other columns")


def _allowed(action: int, table: str | None, column: str | None, schema: str | None, within: str | None) -> int:
    """Only the reading of that table, and by no trigger or view."""
    import sqlite3

    plain = action == sqlite3.SQLITE_SELECT or (
        action == sqlite3.SQLITE_READ and table in ("Packages", "sqlite_master")
    )
    return sqlite3.SQLITE_OK if plain and within is None else sqlite3.SQLITE_DENY


def _copied(root: Root, place: str, folder: str) -> bool:
    """Copy the database and its log at one moment; whether it has a log.

    The index of the log (-shm) is left out: SQLite makes it again from the log. A rollback journal never comes along,
    since it may name another file, which SQLite would read and then remove.
    """
    path = f"{place}/{SQLITE}"
    for attempt in range(5):
        moment = _moment(root, path)
        _copy(root, path, f"{folder}/{SQLITE}")
        logged = moment[1] is not None and moment[1][1] > 0
        if logged:
            _copy(root, f"{path}-wal", f"{folder}/{SQLITE}-wal")
        elif os.path.exists(f"{folder}/{SQLITE}-wal"):
            os.unlink(f"{folder}/{SQLITE}-wal")
        if _moment(root, path) == moment:
            if _begins(root, f"{path}-journal") == _JOURNAL:
                raise Malformed("it was left in the middle of a change, and a journal lies beside it")
            return logged
        time.sleep(0.05 * (attempt + 1))
    raise Malformed("it changes again and again while it is read")


def _moment(root: Root, path: str) -> tuple[tuple[int, int, int] | None, ...]:
    found: list[tuple[int, int, int] | None] = []
    for each in (path, f"{path}-wal"):
        try:
            status = root.lstat(each)
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError as error:
            if error.errno not in _NONE:
                raise
            found.append(None)
    return tuple(found)


def _begins(root: Root, path: str) -> bytes:
    try:
        fd = _regular(root, path)
    except OSError:
        return b""
    try:
        return os.read(fd, len(_JOURNAL))
    finally:
        os.close(fd)


def _regular(root: Root, path: str) -> int:
    """A descriptor of a regular file, which is held and looked at before it is opened. Raises OSError.

    A link at the end is not followed: rpm makes none there.
    """
    held = root.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(held).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        return os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(held)


def _copy(root: Root, path: str, to: str) -> None:
    source = _regular(root, path)
    try:
        if os.fstat(source).st_size > DATABASE_MOST:
            raise Malformed(f"it has more than {DATABASE_MOST >> 20} MiB")
        target = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            left = DATABASE_MOST
            while left > 0 and (part := os.read(source, min(left, 1 << 20))):
                view = memoryview(part)
                while view:
                    view = view[os.write(target, view) :]
                left -= len(part)
        finally:
            os.close(target)
    finally:
        os.close(source)


# The older kinds


def _exported(root: Root, place: str, kind: str, folder: str) -> Iterator[Header]:
    """The headers of a database of another kind, as the host's `rpmdb --exportdb` tells them from a box.

    Raises HostLacks without rpm, Malformed and OSError.
    """
    import shutil

    from hosier.linux.box import Box, run

    program = shutil.which("rpmdb", path="/usr/bin:/bin:/usr/sbin:/sbin")
    if program is None:
        raise HostLacks(
            f"cannot read the package database {place}/{kind}: it is of an older kind, which only rpm reads",
            hint="install rpm (4.16 or later), or convert the database in its root: `rpmdb --rebuilddb`",
        )
    for name in ("root/db", "root/etc", "root/proc", "root/dev", "root/tmp", "root/usr"):
        os.makedirs(f"{folder}/{name}")
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        if os.path.islink(f"/{name}"):
            os.symlink(f"usr/{name}", f"{folder}/root/{name}")
    _copy(root, f"{place}/{kind}", f"{folder}/root/db/{kind}")
    if kind == NDB and root.exists(f"{place}/Index.db"):
        _copy(root, f"{place}/Index.db", f"{folder}/root/db/Index.db")
    for path in (folder, f"{folder}/root"):
        os.chmod(path, 0o755)
    for name in os.listdir(f"{folder}/root/db"):
        os.chmod(f"{folder}/root/db/{name}", 0o666)
    os.chmod(f"{folder}/root/db", 0o777)
    output = _bounded("rpmdb", DATABASE_MOST)
    errors = _bounded("errors", 1 << 16)
    try:
        box = Box(
            lower=(f"{folder}/root",),
            argv=(program, "--dbpath", "/db", "--exportdb"),
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/tmp"},
            binds=(("/usr", "/usr", True),),
            uid=65534,
            gid=65534,
            scratch=True,
            confined=True,
            stdout=output,
            stderr=errors,
            terminate_after=SECONDS,
        )
        try:
            status = run(box)
        except HosierError as error:
            raise Malformed(f"rpm could not be asked: {error}") from None
        said = os.pread(errors, 1 << 16, 0).rstrip(b"\0").decode("utf-8", "replace")
        wrong = [line for line in said.split("\n") if line.startswith("error: ")]
        if status or wrong:  # of a database that it cannot read, rpm says so and ends with 0
            raise Malformed(f"rpm does not read it: {brief((wrong or [said])[0].removeprefix('error: '))}")
        yield from _stream(output)
    finally:
        os.close(output)
        os.close(errors)


def _bounded(name: str, most: int) -> int:
    """A file in memory that cannot grow beyond `most` bytes, all of them zero (memfd_create(2))."""
    import fcntl

    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, most)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd


def _stream(fd: int) -> Iterator[Header]:
    """Headers one after another, each with its magic, until only zeros follow."""
    at = 0
    while True:
        intro = os.pread(fd, INTRO, at)
        if len(intro) < INTRO or not any(intro):
            return
        length = size(intro)
        if length > HEADER_MOST:
            raise Malformed(f"one of its headers has {length} bytes")
        whole = bytearray()
        while len(whole) < length and (part := os.pread(fd, length - len(whole), at + len(whole))):
            whole += part
        if whole[: len(MAGIC)] != MAGIC:
            raise Malformed("one of its headers does not begin as one")
        yield Header.parse_installed(bytes(whole[len(MAGIC) :]))
        at += length
