"""A small essential system, packed from the programs of the machine that the tests run on.

Its packages have the names and the relations of Debian's, programs and libraries of the host, and maintainer
scripts of our own; so a root in which the real dpkg configures real scripts takes a second and no network.
"""

from __future__ import annotations

import atexit
import functools
import os
import platform
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Mapping

from kit.debs import Device, Dir, File, HardLink, Link, Node, build_deb, deb_name

VERSION = "1.0-1"

_COREUTILS = (
    "basename cat chgrp chmod chown chroot cp cut date dd df dirname echo env expr false head id install link ln ls "
    "md5sum mkdir mkfifo mknod mktemp mv nproc printf pwd readlink realpath rm rmdir seq sha256sum sleep sort stat "
    "sync tail tee test timeout touch tr true truncate tty uname uniq unlink wc whoami"
)
_DPKG = (
    "dpkg dpkg-deb dpkg-divert dpkg-maintscript-helper dpkg-query dpkg-realpath dpkg-split dpkg-statoverride "
    "dpkg-trigger start-stop-daemon update-alternatives"
)

# Programs of each essential package; libc6 is the libraries that all of them need.
_PROGRAMS = {
    "coreutils": _COREUTILS,
    "dash": "dash",
    "diffutils": "cmp diff",
    "dpkg": _DPKG,
    "findutils": "find xargs",
    "grep": "grep",
    "libc-bin": "getent ldconfig",
    "sed": "sed",
    "tar": "tar",
    "util-linux": "mount umount setpriv unshare setsid nsenter",
}

_PASSWD = """\
root:*:0:0:root:/root:/bin/sh
daemon:*:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:*:2:2:bin:/bin:/usr/sbin/nologin
man:*:6:12:man:/var/cache/man:/usr/sbin/nologin
mail:*:8:8:mail:/var/mail:/usr/sbin/nologin
www-data:*:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = """\
root:*:0:
daemon:*:1:
bin:*:2:
tty:*:5:
mail:*:8:
man:*:12:
www-data:*:33:
shadow:*:42:
staff:*:50:
nogroup:*:65534:
"""

_FOLDERS = (
    "/boot /dev /etc /home /mnt /opt /proc /run /srv /sys /usr/bin /usr/lib /usr/sbin /usr/share /var/cache "
    "/var/lib /var/log"
)


def architecture() -> str:
    """Debian's name of this machine's architecture."""
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


@functools.cache
def minimal_packages(*, debconf: bool = False) -> tuple[str, ...]:
    """The packages of `minimal_system`, made once in a test run and removed at its end."""
    folder = tempfile.mkdtemp(prefix="hosier-minimal-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return minimal_system(folder, debconf=debconf)


def minimal_system(folder: str, *, debconf: bool = False) -> tuple[str, ...]:
    """Make the packages in `folder`, which exists; their paths, sorted.

    A merged /usr (base-files has the links, as from Debian 13 on), accounts made by base-passwd's postinst,
    /bin/sh, the programs that maintainer scripts use, and dpkg. With `debconf` also the host's perl-base and
    debconf, as they are (perl-base essential, debconf not).
    """
    arch = architecture()
    made: list[str] = []

    def build(name: str, files: Mapping[str, Node | bytes | str], **parts: object) -> None:
        fields = {"Essential": "yes", "Priority": "required"} | dict(parts.pop("fields", {}))  # type: ignore[call-overload]
        path = os.path.join(folder, deb_name(name, VERSION, arch))
        build_deb(path, name, VERSION, arch, files=files, fields=fields, compression="zst", **parts)
        made.append(path)

    programs = {name: [_program(word) for word in words.split()] for name, words in _PROGRAMS.items()}
    loading = [path for paths in programs.values() for path in paths]
    if debconf:
        loading.append(_program("perl"))
        for name in ("perl-base", "debconf"):
            relations = {"Depends": "perl-base" if name == "debconf" else "", "Pre-Depends": "libc6"}
            others = {"Conflicts": "", "Breaks": "", "Replaces": "", "Recommends": "", "Suggests": ""}
            path = os.path.join(folder, f"{name}.deb")
            repack(name, path, fields=relations | others)
            made.append(path)
    libraries = _libraries(loading)
    links = [word for word in ("bin", "sbin", "lib", "lib64") if word != "lib64" or os.path.isdir("/lib64")]
    base: dict[str, Node | bytes | str] = {path: Dir() for path in _FOLDERS.split()}
    base |= {"/root": Dir(0o700), "/tmp": Dir(0o1777), "/var/tmp": Dir(0o1777)}
    if "lib64" in links:
        base["/usr/lib64"] = Dir()
    base |= {f"/{word}": Link(f"usr/{word}") for word in links}
    base |= {"/etc/debian_version": "12\n", "/etc/os-release": 'ID=debian\nVERSION_ID="12"\n', "/var/run": Link("/run")}
    build("base-files", base)
    build(
        "base-passwd",
        {"/usr/share/base-passwd/passwd.master": _PASSWD, "/usr/share/base-passwd/group.master": _GROUP},
        scripts={
            "postinst": "#!/bin/sh\nset -e\nfor f in passwd group; do\n"
            "  [ -e /etc/$f ] || cp /usr/share/base-passwd/$f.master /etc/$f\ndone\n"
        },
        fields={"Pre-Depends": "libc6"},
    )
    build("libc6", libraries, fields={"Essential": "", "Multi-Arch": "same"})
    for name, paths in programs.items():
        files: dict[str, Node | bytes | str] = {}
        for path in paths:
            files[_merged(path)] = _copied(path)
        scripts: dict[str, str] = {}
        if name == "dash":
            files["/usr/bin/sh"] = Link("dash")
        if name == "dpkg":
            files |= _dpkg_data()
        if name == "libc-bin":
            files["/etc/ld.so.conf"] = f"/usr/local/lib\n/usr/lib/{platform.machine()}-linux-gnu\n"
            scripts["postinst"] = "#!/bin/sh\nset -e\nldconfig\n"
        build(name, files, scripts=scripts, fields={"Pre-Depends": "libc6"})
    return tuple(sorted(made))


def repack(package: str, path: str, *, fields: Mapping[str, str] | None = None) -> str:
    """Pack an installed package of the host again, with its scripts; its SHA-256.

    Configuration files are taken as they are now. `fields` replace what the host's dpkg says.
    """

    def ask(*words: str) -> str:
        return subprocess.run(["dpkg-query", *words], check=True, capture_output=True, text=True).stdout

    stated: dict[str, str] = {}
    key = ""
    for line in ask("--status", package).splitlines():
        if line[:1] in (" ", "\t"):
            stated[key] += "\n" + line
        else:
            key, _, value = line.partition(":")
            stated[key] = value.strip()
    conffiles = [line.split()[0] for line in stated.pop("Conffiles", "").split("\n") if line.strip()]
    del stated["Status"]
    files: dict[str, Node | bytes | str] = {}
    inodes: dict[tuple[int, int], str] = {}
    for name in ask("--listfiles", package).splitlines():
        if name == "/." or not os.path.lexists(name):
            continue
        at = os.lstat(name)
        if stat.S_ISREG(at.st_mode) and at.st_nlink > 1:
            first = inodes.setdefault((at.st_dev, at.st_ino), name)
            if first != name:
                files[name] = HardLink(first)
                continue
        files[name] = _copied(name)
    scripts: dict[str, Node] = {}
    for name in ask("--control-path", package).splitlines():
        kind = os.path.basename(name).rpartition(".")[2]
        if kind not in ("list", "md5sums", "conffiles"):
            scripts[kind] = _copied(name)
    stated |= dict(fields or {})
    name, version, arch = (stated.pop(word) for word in ("Package", "Version", "Architecture"))
    return build_deb(
        path, name, version, arch, files=files, fields=stated, scripts=scripts, conffiles=conffiles, compression="zst"
    )


def _program(word: str) -> str:
    found = shutil.which(word, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise FileNotFoundError(f"the tests need the program {word} on this machine")
    return found


def _merged(path: str) -> str:
    """Where `path` is when /usr is merged."""
    return path if path.startswith("/usr/") else "/usr" + path


def _copied(path: str) -> Node:
    at = os.lstat(path)
    # A path of the host may pass through a folder link, as /bin/x does.
    owner = {"mode": stat.S_IMODE(at.st_mode), "uid": at.st_uid, "gid": at.st_gid, "mtime": int(at.st_mtime)}
    if stat.S_ISLNK(at.st_mode):
        target = os.readlink(path)
        if target.startswith("/etc/alternatives/"):
            with open(path, "rb") as file:
                return File(file.read(), 0o755)
        return Link(target, **owner)
    if stat.S_ISDIR(at.st_mode):
        return Dir(**owner)
    if stat.S_ISCHR(at.st_mode):
        return Device("c", os.major(at.st_rdev), os.minor(at.st_rdev), **owner)
    with open(path, "rb") as file:
        return File(file.read(), **owner)


def _libraries(programs: Iterable[str]) -> dict[str, Node | bytes | str]:
    """The shared libraries that `programs` load, under the names that they are loaded by, and the loader."""
    wanted = sorted(path for path in set(programs) if _is_elf(path))
    said = subprocess.run(["ldd", *wanted], capture_output=True, text=True).stdout
    found = set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE))
    # The name service is loaded by name at run time.
    for path in list(found):
        for extra in ("libnss_files.so.2", "libnss_compat.so.2"):
            beside = os.path.join(os.path.dirname(path), extra)
            if os.path.exists(beside):
                found.add(beside)
    files: dict[str, Node | bytes | str] = {}
    for path in sorted(found):
        with open(path, "rb") as file:
            files[_merged(path)] = File(file.read(), 0o755 if "/ld-" in path else 0o644)
    return files


def _is_elf(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def _dpkg_data() -> dict[str, Node | bytes | str]:
    """What dpkg's programs read beside themselves."""
    files: dict[str, Node | bytes | str] = {"/etc/dpkg/dpkg.cfg": "no-debsig\n", "/etc/alternatives": Dir()}
    files["/etc/dpkg/dpkg.cfg.d"] = Dir()
    files["/var/lib/dpkg"] = Dir()
    for folder, _, names in sorted(os.walk("/usr/share/dpkg")):
        for name in sorted(names):
            if name.endswith("table") or folder.endswith("/sh"):
                files[os.path.join(folder, name)] = _copied(os.path.join(folder, name))
    return files
