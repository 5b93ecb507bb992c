"""What dpkg's records say of a root's packages and files, as `dpkg --verify` takes it (dpkg 1.21, src/main/verify.c).

Of a file that is no configuration file dpkg knows its path, and the md5 that its package has for it; nothing of its
mode, owner or target.
"""

from __future__ import annotations

import errno
import fnmatch
import re
from collections.abc import Iterator, Sequence

from hosier.distro.deb import dpkgdb, version
from hosier.errors import HosierError, StoreFailed
from hosier.inspect import installed
from hosier.inspect.drift import Installed, Said, Wanted
from hosier.inspect.running import expected, nearest
from hosier.linux.rooted import Root

LIST_MOST = 64 << 20
ALL_MOST = 512 << 20
"""Bytes of one file of dpkg's records, and of all of them together."""

ADDED_BELOW = {
    "/etc/alternatives": "choices of alternatives",
    "/etc/rc0.d": "links of services",
    "/etc/rc1.d": "links of services",
    "/etc/rc2.d": "links of services",
    "/etc/rc3.d": "links of services",
    "/etc/rc4.d": "links of services",
    "/etc/rc5.d": "links of services",
    "/etc/rc6.d": "links of services",
    "/etc/rcS.d": "links of services",
    "/etc/ssl/certs": "made of the certificates",
    "/etc/systemd/system": "links of services",
    "/usr/lib/locale": "made of the locales",
    "/usr/share/mime": "made of the types of files",
    "/var/lib/apt": "records of apt",
    "/var/lib/dpkg": "dpkg's records",
    "/var/lib/pam": "choices of pam",
    "/var/lib/ucf": "records of ucf",
}
ADDED_EXACTLY = {
    "/etc/environment": "made when the base was installed",
    "/etc/group": "accounts",
    "/etc/group-": "a backup of the accounts",
    "/etc/gshadow": "accounts",
    "/etc/gshadow-": "a backup of the accounts",
    "/etc/ld.so.cache": "made of the libraries",
    "/etc/pam.d/common-account": "choices of pam",
    "/etc/pam.d/common-auth": "choices of pam",
    "/etc/pam.d/common-password": "choices of pam",
    "/etc/pam.d/common-session": "choices of pam",
    "/etc/pam.d/common-session-noninteractive": "choices of pam",
    "/etc/passwd": "accounts",
    "/etc/passwd-": "a backup of the accounts",
    "/etc/shadow": "accounts",
    "/etc/shadow-": "a backup of the accounts",
    "/etc/shells": "made of the shells",
    "/etc/subgid": "accounts",
    "/etc/subgid-": "a backup of the accounts",
    "/etc/subuid": "accounts",
    "/etc/subuid-": "a backup of the accounts",
    "/usr/share/info/dir": "made of the pages",
    **dict.fromkeys(
        ("/dev", "/proc", "/run", "/sys", "/tmp", "/var/cache", "/var/log", "/var/tmp"), "every root has it"
    ),
    **dict.fromkeys(("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"), "a merged /usr"),
    **dict.fromkeys(("/usr/lib32", "/usr/lib64", "/usr/libx32"), "a merged /usr"),
}
"""What no package owns and is no drift, each with its reason: docs/drift.md has the list."""
_LONGEST = max(map(len, ADDED_BELOW))

_MD5 = re.compile(r"([0-9a-f]{32})  (.+)")
_FACTS = frozenset(("content", "type"))


class DebRecords:
    """The Records of a dpkg root. `paths_exclude` and `paths_include` are those of the root's own dpkg.cfg."""

    family = "deb"
    place = installed.STATUS

    def __init__(self, root: Root, packages: Sequence[installed.Package], *, native: str) -> None:
        self.root = root
        self.known = packages
        self.native = native
        self.filters = _filters(root)
        self.size = 0

    @classmethod
    def of(cls, root: Root, *, what: str) -> DebRecords | None:
        """Those of a root, which stays open as long as they are used; None where it has none. Raises StoreFailed."""
        try:
            packages = installed.read(root)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StoreFailed(f"cannot read the package database of {what}: {installed.STATUS}: {reason}") from None
        return None if packages is None else cls(root, packages, native=installed.native(packages))

    def packages(self) -> Sequence[Installed]:
        """All that are installed, foreign ones as NAME:ARCHITECTURE."""
        keyed = installed.keyed(self.known, self.native)
        return [Installed(key, each.version, each.architecture) for key, each in sorted(keyed.items())]

    def files(self) -> Iterator[Said]:
        """By the packages' lists, what is diverted where it lies. Raises StoreFailed beyond the limits."""
        try:
            diversions = dpkgdb.parse_diversions(self._text(f"{dpkgdb.ADMIN}/diversions"))
        except HosierError:
            diversions = {}
        for package in self.known:
            label, listed = self._listed(package)
            sums = self._sums(label)
            conffiles = _conffiles(package.fields.get("conffiles", ""))
            for path in (*listed, *(each for each in conffiles if each not in listed)):
                if path == "/":
                    continue
                said = path
                if path in diversions and diversions[path].package != package.name:
                    path = diversions[path].to
                config = said in conffiles
                md5, obsolete = conffiles.get(said, (sums.get(said, ""), False))
                yield Said(
                    path=path,
                    package=package.name,
                    kind="f" if md5 else "",
                    digest=md5,
                    algorithm="md5",
                    facts=_FACTS if md5 else frozenset(),
                    needed=not obsolete,
                    config=config,
                    apart=self._left_out(said),
                )

    def _listed(self, package: installed.Package) -> tuple[str, list[str]]:
        """The label of a package's files in dpkg's folder, and the paths of its list."""
        for label in (package.name, f"{package.name}:{package.architecture}"):
            text = self._text(f"{dpkgdb.INFO}/{label}.list")
            if text:
                return label, dpkgdb.parse_list(text)
        return package.name, []

    def _sums(self, label: str) -> dict[str, str]:
        found = {}
        for line in self._text(f"{dpkgdb.INFO}/{label}.md5sums").split("\n"):
            said = _MD5.fullmatch(line)
            if said:
                found[f"/{said[2].removeprefix('./').lstrip('/')}"] = said[1]
        return found

    def _text(self, path: str) -> str:
        try:
            text = self.root.read(path, most=LIST_MOST).decode("utf-8", "surrogateescape")
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise StoreFailed(f"cannot read {path} of the root: it has more than {LIST_MOST >> 20} MiB") from None
            return ""
        self.size += len(text)
        if self.size > ALL_MOST:
            raise StoreFailed(f"cannot read dpkg's records of the root: they have more than {ALL_MOST >> 20} MiB")
        return text

    def _left_out(self, path: str) -> str:
        """Why dpkg did not unpack a path: the last filter that matches decides (dpkg(1), --path-exclude)."""
        out = False
        for exclude, pattern in self.filters:
            if exclude != out and pattern.match(path):
                out = exclude
        return "left out when it was installed" if out else ""

    def same(self, installed: str, wanted: Wanted) -> bool:
        """By the rules of Debian's versions."""
        return wanted.version in ("", installed) or version.key(installed) == version.key(wanted.version)

    def newer(self, installed: str, wanted: Wanted) -> bool:
        """By the rules of Debian's versions."""
        return version.key(installed) > version.key(wanted.version)

    def expected(self, path: str, package: str) -> str:
        """As of any root, and what dpkg, apt and the maintainer scripts make."""
        return expected(path) or ("" if package else added(path))


def added(path: str) -> str:
    """Why a path that no package owns is there all the same; "" when there is no such reason."""
    if path in ADDED_EXACTLY:
        return ADDED_EXACTLY[path]
    return ADDED_BELOW.get(path) or nearest(path, ADDED_BELOW, _LONGEST)


def _conffiles(field: str) -> dict[str, tuple[str, bool]]:
    """Path to (md5, whether dpkg may miss it), from the field Conffiles of a status."""
    found = {}
    for line in field.split("\n"):
        words = line.split()
        if len(words) < 2 or not words[0].startswith("/"):
            continue
        *path, digest = words if words[-1] not in ("obsolete", "remove-on-upgrade") else words[:-1]
        free = words[-1] in ("obsolete", "remove-on-upgrade")
        if path:
            found[" ".join(path)] = (digest if re.fullmatch("[0-9a-f]{32}", digest) else "", free)
    return found


def _filters(root: Root) -> list[tuple[bool, re.Pattern[str]]]:
    """The path-exclude (True) and path-include lines of a root's own dpkg.cfg, in dpkg's order."""
    files = []
    try:
        files = [f"/etc/dpkg/dpkg.cfg.d/{name}" for name in root.listdir("/etc/dpkg/dpkg.cfg.d")]
    except OSError:
        pass
    found = []
    for path in (
        *(each for each in files if re.fullmatch(r"[A-Za-z0-9_-]+", each.rpartition("/")[2])),
        "/etc/dpkg/dpkg.cfg",
    ):
        try:
            text = root.read(path).decode("utf-8", "replace")
        except OSError:
            continue
        for line in text.split("\n"):
            said = re.fullmatch(r"\s*path-(exclude|include)\s*[=\s]\s*[\"']?(.*?)[\"']?\s*", line)
            if said:
                found.append((said[1] == "exclude", re.compile(fnmatch.translate(said[2]))))
    return found
