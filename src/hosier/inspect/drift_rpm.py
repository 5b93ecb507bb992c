"""What rpm's database says of a root's packages and files, as `rpm -V` takes it (rpm 4.18, lib/verify.c)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hosier.distro.rpm import evr, tags
from hosier.distro.rpm.installed import HOME, PLACES, Database, File, read
from hosier.inspect.drift import Installed, Said, Wanted
from hosier.inspect.running import expected, nearest
from hosier.linux import filecaps
from hosier.linux.rooted import Root
from hosier.spec import naming

VERIFY = {
    "content": 1 << 0 | 1 << 1,  # the digest, the size
    "link": 1 << 2,
    "owner": 1 << 3,
    "group": 1 << 4,
    "time": 1 << 5,
    "mode": 1 << 6,
    "device": 1 << 7,
    "capabilities": 1 << 8,
}
"""The bits of rpmvf.h."""
_DIGEST, _SIZE = 1 << 0, 1 << 1

DATABASES = (*PLACES, HOME)
ADDED_BELOW = {
    **dict.fromkeys(DATABASES, "the package database"),
    "/var/lib/dnf": "records of dnf",
    "/var/lib/yum": "records of yum",
    "/usr/lib/sysimage/libdnf5": "records of dnf",
    "/etc/dnf/modules.d": "records of dnf",
    "/usr/lib/.build-id": "links to programs by their build",
    "/etc/alternatives": "choices of alternatives",
    "/var/lib/alternatives": "choices of alternatives",
    "/etc/pki/ca-trust/extracted": "made of the certificates",
    "/usr/lib/locale": "made of the locales",
}
ADDED_EXACTLY = {
    **dict.fromkeys(DATABASES, "the package database"),
    "/etc/group": "accounts",
    "/etc/group-": "a backup of the accounts",
    "/etc/gshadow": "accounts",
    "/etc/gshadow-": "a backup of the accounts",
    "/etc/passwd": "accounts",
    "/etc/passwd-": "a backup of the accounts",
    "/etc/shadow": "accounts",
    "/etc/shadow-": "a backup of the accounts",
    "/etc/subgid": "accounts",
    "/etc/subgid-": "a backup of the accounts",
    "/etc/subuid": "accounts",
    "/etc/subuid-": "a backup of the accounts",
    "/etc/ld.so.cache": "made of the libraries",
    "/usr/share/info/dir": "made of the pages",
    **dict.fromkeys(
        ("/dev", "/proc", "/run", "/sys", "/tmp", "/var/cache", "/var/log", "/var/tmp"), "every root has it"
    ),
}
"""What no package owns and is no drift, each with its reason: docs/drift.md has the list."""
_LONGEST = max(map(len, ADDED_BELOW))


class RpmRecords:
    """The Records of an rpm root."""

    family = "rpm"

    def __init__(self, database: Database) -> None:
        self.database = database
        self.place = f"{database.place}/{database.kind}"

    @classmethod
    def of(cls, root: Root, *, files: bool, what: str, home: bool = False) -> RpmRecords | None:
        """Those of a root; None where it has no rpm database. Raises StoreFailed and HostLacks."""
        database = read(root, files=files, home=home, what=what)
        return None if database is None else cls(database)

    def packages(self) -> Sequence[Installed]:
        """All but the keys."""
        return [Installed(each.name, str(each.evr), each.architecture) for each in self.database.packages]

    def files(self) -> Iterator[Said]:
        """Those that rpm installed; what it left out or left to the net is nobody's."""
        doubled = naming.repeated(f"{each.name}.{each.architecture}" for each in self.database.packages)
        shared: dict[str, int] = {}
        for package in self.database.packages:
            for file in package.files:
                shared[file.path] = shared.get(file.path, 0) + 1
        for package in self.database.packages:
            alone = f"{package.name}.{package.architecture}" not in doubled
            owner = package.name if alone else f"{package.name}-{package.evr}"
            for file in package.files:
                yield _said(owner, file, shared=shared[file.path] > 1)

    def same(self, installed: str, wanted: Wanted) -> bool:
        """By rpm's own comparison."""
        return not wanted.version or _compared(installed, wanted) == 0

    def newer(self, installed: str, wanted: Wanted) -> bool:
        """By rpm's own comparison."""
        return _compared(installed, wanted) > 0

    def expected(self, path: str, package: str) -> str:
        """As of any root, and what rpm and its tools make."""
        return expected(path) or ("" if package else added(path))


def added(path: str) -> str:
    """Why a path that no package owns is there all the same; "" when there is no such reason."""
    if path in ADDED_EXACTLY:
        return ADDED_EXACTLY[path]
    return nearest(path, ADDED_BELOW, _LONGEST) or ADDED_BELOW.get(path, "")


def _compared(installed: str, wanted: Wanted) -> int:
    try:
        mine, other = evr.parse(installed), evr.parse(wanted.version)
    except ValueError:
        return (installed > wanted.version) - (installed < wanted.version)
    if not wanted.epoch:
        mine, other = (evr.Evr(0, each.version, each.release) for each in (mine, other))
    if not other.release:  # declared as VERSION alone
        mine = evr.Evr(mine.epoch, mine.version, "")
    return evr.compare(mine, other)


def _said(owner: str, file: File, *, shared: bool) -> Said:
    verify = file.verify
    facts = {fact for fact, bits in VERIFY.items() if verify & bits}
    if shared:
        facts.discard("time")
    ghost = bool(file.flags & tags.FILE_GHOST)
    if ghost:
        facts -= {"content", "link", "time"}
    elif "mode" in facts or "link" in facts:
        facts.add("type")
    if file.state == tags.STATE_WRONGCOLOR:
        facts -= {"content", "time", "device"}
    absent = file.state in (tags.STATE_NOTINSTALLED, tags.STATE_NETSHARED)
    if absent:
        facts.clear()
    regular = file.kind == "f"
    return Said(
        path=file.path,
        package=owner,
        kind=file.kind,
        mode=file.mode,
        user=file.user,
        group=file.group,
        size=file.size if regular and verify & _SIZE else None,
        digest=file.digest if regular and verify & _DIGEST else "",
        algorithm=file.algorithm,
        target=file.target if file.kind == "l" else None,
        rdev=file.rdev,
        capabilities=capabilities(file.caps),
        mtime=file.mtime,
        facts=frozenset(facts),
        needed=not absent and not file.flags & (tags.FILE_GHOST | tags.FILE_MISSINGOK),
        config=bool(file.flags & tags.FILE_CONFIG),
        ghost=ghost,
        loose=file.state == tags.STATE_REPLACED or absent,
    )


def capabilities(text: str) -> filecaps.Sets:
    """Those of words that cap_from_text(3) reads; of words that it refuses none, as `rpm -V` has it."""
    return filecaps.sets((filecaps.value(text) if text else None) or b"")
