"""Write an image as a Debian package whose files lie below a prefix, the same to the last bit wherever it is written.

Source: deb(5), deb-control(5), deb-conffiles(5), deb-md5sums(5), deb-postinst(5) and the like, Debian policy 6 and 10.
dpkg keeps owners, modes, times and links; device nodes, links on the host, attributes and the modes of folders that are
there already are for the scripts (`hosier.pack.scripts`).
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

from hosier.dataclasses import dataclass, replace
from hosier.errors import StoreFailed
from hosier.pack import additions, compressing, gnutar, package, scripts
from hosier.pack.blocks import Buffer
from hosier.pack.content import Contents
from hosier.pack.directory import Written
from hosier.pack.package import Item, Package
from hosier.pack.scripts import Mend
from hosier.pack.source import Source
from hosier.store.layout import reading

COMPRESSIONS = ("xz", "zstd", "gz", "none")
_ENDINGS = {"xz": ".xz", "zstd": ".zst", "gz": ".gz", "none": ""}
_MEMBER_MAX = 10**10 - 1  # ten digits in ar's header
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~-]*")
_RELEASE = re.compile(r"[A-Za-z0-9.+~]+")
_MAINTAINER = "The makers of the image <root@localhost>"

_ATTRIBUTE = r"""
attribute() {
    # With -e it would open /dev/null.
    perl -MConfig - "$@" <<'END'
        my ($file, $name, $hex) = @ARGV;
        my %number = (x86_64 => 189, aarch64 => 6, riscv64 => 6, loongarch64 => 6, i386 => 227, i486 => 227,
                      i586 => 227, i686 => 227, arm => 227, powerpc64le => 210, s390x => 225, mips64el => 5181);
        my ($machine) = $Config{archname} =~ /^([^-]+)/;
        my $value = pack "H*", $hex;
        my $lsetxattr = $number{$machine} or die "cannot set $name: no system call is known for $machine\n";
        syscall($lsetxattr, $file, $name, $value, length $value, 0) == 0 or die "cannot set $name of $file: $!\n";
END
}
"""

_FOLDERS = r"""
# dpkg leaves a folder that is there as it is, whatever the new version says.
if [ "$1" = configure ] && [ -n "$2" ] && [ -n "$root" ] && cd "$root"; then
    {
        folders; folders
        folders | cut -d ' ' -f 3- | xargs -d '\n' stat -c '%a %u:%g %n' -- 2>"$null" || :
    } | sort | uniq -c | sed -n 's/^ *2 //p' | while IFS= read -r line; do
        mode=${line%% *}; line=${line#* }; owner=${line%% *}; folder=${line#* .}; folder=${folder#/}
        into "$folder" || fail "cannot find the folder $prefix/$folder"
        chown "$owner" .
        chmod "$mode" .
    done
fi
"""


def write(
    out: int,
    source: Source,
    *,
    prefix: str | None = None,
    compression: str = "xz",
    level: int = 0,
    verify: bool = False,
    advance: Callable[[int], object] = lambda size: None,
    threads: int = 0,
) -> Written:
    """Write the package to the empty file `out`.

    `prefix` is where the root comes to be (default: /var/deploy/NAME). `verify` also compares each file's digest with
    the manifest. `advance` is told the bytes of each file that is done. Raises UsageError for a prefix or level that
    cannot be, StoreFailed, naming the image, for what dpkg cannot hold, and when `out` cannot be written.
    """
    compressing.check(compression, level)
    with reading(f"pack {source.name}"), Contents(source.root, {}, name=source.name, verify=verify) as contents:
        planned = package.plan(source, contents, prefix=prefix)
        _check(planned, source)
        mends, left = _mends(planned, source)
        own = {
            f"/usr/share/doc/{planned.name}/changelog.Debian.gz": _changelog(planned),
            f"/usr/share/lintian/overrides/{planned.name}": _overrides(planned),
        }
        items = (*planned.items, *(package.added(path, text, planned.epoch) for path, text in own.items()))
        planned = replace(planned, items=items)
        with tempfile.TemporaryFile(dir=_beside(out)) as held:
            data = _Data(planned, contents, compression, level, threads, advance)
            data.run(held.fileno())
            if data.size > _MEMBER_MAX:
                raise StoreFailed(
                    f"cannot pack {source.name} as a deb: data.tar has {data.size} bytes when compressed, and a deb "
                    f"holds no member of more than {_MEMBER_MAX}",
                    hint="use --compression xz or a higher --level, or --format rpm",
                )
            control = _Control(planned, data, mends).tar(compression, level, threads)
            ending = _ENDINGS[compression]
            head = b"!<arch>\n" + _member("debian-binary", 4, planned.epoch) + b"2.0\n"
            head += _member(f"control.tar{ending}", len(control), planned.epoch) + control + b"\n" * (len(control) % 2)
            head += _member(f"data.tar{ending}", data.size, planned.epoch)
            _put(out, head)
            _append(held.fileno(), out, data.size)
            if data.size % 2:
                _put(out, b"\n")
    size = len(head) + data.size + data.size % 2
    return Written(len(source.entries), size, (*planned.notes, *left))


def _check(planned: Package, source: Source) -> None:
    for what, value, pattern in (
        ("name", planned.name, _NAME),
        ("version", planned.version, _VERSION),
        ("release", planned.release, _RELEASE),
    ):
        if not pattern.fullmatch(value):
            raise StoreFailed(
                f"cannot pack {source.name} as a deb: the {what} {value!r} is none of a Debian package",
                hint=f"change {what} in [image]: see deb-control(5)" if what == "name" else "see deb-version(7)",
            )
    package.refuse(planned, source, "\n", "has a line break in its name, which dpkg refuses")


def _mends(planned: Package, source: Source) -> tuple[list[Mend], list[str]]:
    """What the post-install sets, and what is left out, in words."""
    mends, left = [], []
    for item in (each for each in planned.items if each.content is None and each.entry.xattrs):
        entry, xattrs = item.entry, item.entry.xattrs
        if entry.hardlink:
            continue
        if any(name == "security.capability" for name, _ in xattrs) and not additions.trusted(
            source.entries, entry.path
        ):
            xattrs = tuple(pair for pair in xattrs if pair[0] != "security.capability")
            left.append(f"the capabilities of {entry.path} are left out: others than root may write to a folder above")
        mends.append(Mend(entry.path, xattrs=xattrs))
    return mends, left


class _Data:
    """data.tar, and what is known once it is written: its size, digests of files, KiB once installed."""

    def __init__(
        self,
        planned: Package,
        contents: Contents,
        compression: str,
        level: int,
        threads: int,
        advance: Callable[[int], object],
    ) -> None:
        self.planned = planned
        self.size = 0
        self.installed = 0
        self._summed: list[Item] = []
        self._sums = bytearray()
        self._contents = contents
        self._made = (compression, level, threads)
        self._advance = advance
        # Of files that have further names, once it is known.
        self._digests = {item.entry.hardlink: b"" for item in planned.items if item.entry.hardlink}

    def run(self, out: int) -> None:
        compression, level, threads = self._made

        def emit(content: Buffer) -> None:
            _put(out, content)
            self.size += len(content)

        with compressing.Stream(emit, compression, level=level, threads=threads) as tar:
            # What is above comes first, but is there in most cases.
            for path in ["/", *package.parents(self.planned)]:
                tar.put(gnutar.header(_name(path, "d"), "d", mode=0o755, uid=0, gid=0, mtime=self.planned.epoch))
            for item in self.planned.items:
                self._add(tar, item)
            tar.put(gnutar.END)
            tar.finish()

    def _add(self, tar: compressing.Stream, item: Item) -> None:
        entry = item.entry
        hard = bool(entry.hardlink) and entry.kind == "f"
        link = _name(self.planned.prefix + entry.hardlink, "f") if hard else os.fsencode(entry.target)
        whole = entry.kind == "f" and not hard
        tar.put(
            gnutar.header(
                _name(item.path, entry.kind),
                entry.kind,
                mode=entry.mode,
                uid=entry.uid,
                gid=entry.gid,
                size=entry.size if whole else 0,
                mtime=min(entry.mtime, self.planned.epoch),
                link=link,
                hard=hard,
            )
        )
        self.installed += -(-entry.size // 1024) if whole else 1
        if not whole:
            if hard:
                self._sum(item, self._digests[entry.hardlink])
            return
        total = hashlib.md5(usedforsecurity=False)
        for content in package.pieces(self._contents, item.content, entry):
            total.update(content)
            tar.put(content)
        tar.put(gnutar.padding(entry.size))
        if entry.path in self._digests and item.content is None:
            self._digests[entry.path] = total.digest()
        self._sum(item, total.digest())
        self._advance(entry.size)

    def _sum(self, item: Item, digest: bytes) -> None:
        if not item.config:  # of those dpkg keeps digests itself
            self._summed.append(item)
            self._sums += digest

    def sums(self) -> str:
        """md5sums."""
        digests = (self._sums[at : at + 16].hex() for at in range(0, len(self._sums), 16))
        lines = [f"{digest}  {item.path[1:]}\n" for digest, item in zip(digests, self._summed, strict=True)]
        return "".join(sorted(lines, key=lambda line: line[34:]))


@dataclass(frozen=True, slots=True)
class _Control:
    """control.tar."""

    planned: Package
    data: _Data
    mends: list[Mend]

    def tar(self, compression: str, level: int, threads: int) -> bytes:
        planned = self.planned
        files: dict[str, tuple[int, str]] = {"control": (0o644, self.control())}
        conffiles = "".join(f"{item.path}\n" for item in planned.items if item.config)
        if conffiles:
            files["conffiles"] = (0o644, conffiles)
        files["md5sums"] = (0o644, self.data.sums())
        for name, text in self.scripts().items():
            files[name] = (0o755, text)
        parts: list[Buffer] = []
        with compressing.Stream(parts.append, compression, level=level, threads=threads) as tar:
            tar.put(gnutar.header(b"./", "d", mode=0o755, uid=0, gid=0, mtime=planned.epoch))
            for name, (mode, text) in sorted(files.items()):
                content = text.encode("utf-8", "surrogateescape")
                size = len(content)
                path = f"./{name}".encode()
                tar.put(gnutar.header(path, "f", mode=mode, uid=0, gid=0, size=size, mtime=planned.epoch))
                tar.put(content + gnutar.padding(size))
            tar.put(gnutar.END)
            tar.finish()
        return b"".join(parts)

    def control(self) -> str:
        """The fields of deb-control(5)."""
        planned = self.planned
        fields = {
            "Package": planned.name,
            "Version": f"{planned.version}-{planned.release}",
            "Architecture": planned.architecture,
            "Maintainer": planned.maintainer or _MAINTAINER,
            "Installed-Size": str(self.data.installed),
            "Section": "misc",
            "Priority": "optional",
            "Homepage": planned.url,
            "Description": f"{planned.summary}\n {planned.description}",
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)

    def scripts(self) -> Mapping[str, str]:
        """Maintainer scripts by name; none that would do nothing."""
        planned, unit = self.planned, self.planned.unit
        known = scripts.variables(planned.name, planned.prefix, f"{package.MADE}/{planned.name}")
        folders = [item for item in planned.items if item.entry.kind == "d"]
        listed = "".join(
            f"{item.entry.mode:o} {item.entry.uid}:{item.entry.gid} {'.' + item.entry.path.rstrip('/')}\n"
            for item in folders
        )
        body = known + "later=\n" + scripts.INTO
        body += "folders() { cat <<'END'\n" + listed + "END\n}\n" + _FOLDERS
        body += scripts.make(planned.nodes, planned.links) + scripts.mend(self.mends, _ATTRIBUTE)
        after = _case(
            "configure|abort-upgrade|abort-deconfigure|abort-remove", body + (_START.format(unit=unit) if unit else "")
        )
        found = {"postinst": scripts.HEAD + after}
        if unit:
            found["prerm"] = scripts.HEAD + _case("remove", _STOP.format(unit=unit))
        gone = scripts.unmake(planned.nodes, planned.links)
        text = ""
        if gone:
            text += 'upgrade=\n[ "$1" != upgrade ] || upgrade=yes\n'
            text += _case("remove|upgrade", known + scripts.INTO + gone)
        conffiles = [item.entry.path for item in planned.items if item.config]
        if conffiles:
            text += known + scripts.INTO
            text += _case("upgrade", scripts.note(planned.prefix, conffiles)) + _case("purge", scripts.leave())
        if unit:
            text += _ENDED.format(unit=unit)
        if text:
            found["postrm"] = scripts.HEAD + text
        return {name: text + "exit 0\n" for name, text in found.items()}


def _changelog(planned: Package) -> bytes:
    """One entry (deb-changelog(5)), of the time of the image's epoch."""
    import deflate

    when = format_datetime(datetime.fromtimestamp(planned.epoch, UTC))
    text = (
        f"{planned.name} ({planned.version}-{planned.release}) unstable; urgency=medium\n\n"
        f"  * {planned.description}\n\n -- {planned.maintainer or _MAINTAINER}  {when}\n"
    )
    return bytes(deflate.gzip_compress(text.encode("utf-8", "surrogateescape"), 9))


_FOREIGN = (
    "arch-dependent-file-in-usr-share",
    "arch-dependent-file-not-in-arch-specific-directory",
    "binary-or-shlib-defines-rpath",
    "custom-library-search-path",
    "embedded-library",
    "library-not-linked-against-libc",
    "mawk-script-but-no-mawk-dep",
    "missing-depends-on-sensible-utils",
    "missing-dependency-on-perlapi",
    "non-etc-file-marked-as-conffile",
    "non-standard-dir-in-var",
    "package-contains-ancient-file",
    "package-installs-packlist",
    "package-installs-perllocal-pod",
    "package-installs-python-bytecode",
    "package-installs-python-pycache-dir",
    "python3-script-but-no-python3-dep",
    "service-file-is-not-a-file",
    "shared-library-is-executable",
    "shared-library-lacks-stack-section",
    "shipped-file-without-utf8-name",
    "statically-linked-binary",
    "unstripped-binary-or-object",
    "wrong-file-owner-uid-or-gid",
)
"""What lintian calls errors in files that are for this host, and these are for the root only."""


_NOBODY = ("bogus-mail-host", "bogus-mail-host-in-debian-changelog", "root-in-contact")


def _overrides(planned: Package) -> bytes:
    said = [
        "# The files below the prefix are a root file system of its own, as its packages made it:",
        "# none of them is",
    ]
    said[1] += " for the system that this package is installed on."
    said += [f"{planned.name}: {tag} *" for tag in _FOREIGN]
    if not planned.maintainer:
        said.append("# The image does not say who made it (the label org.opencontainers.image.authors).")
        said += [f"{planned.name}: {tag} *" for tag in _NOBODY]
    return ("\n".join(said) + "\n").encode()


def _case(words: str, body: str) -> str:
    return f'case "$1" in\n{words})\n{body};;\nesac\n'


# As debhelper's dh_installsystemd has it: enabled once, then as the host's owner wants; started or brought up to date.
_START = """\
if [ -x /usr/bin/deb-systemd-helper ]; then
    deb-systemd-helper unmask '{unit}' >"$null" || :
    if deb-systemd-helper --quiet was-enabled '{unit}'; then
        deb-systemd-helper enable '{unit}' >"$null" || :
    else
        deb-systemd-helper update-state '{unit}' >"$null" || :
    fi
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >"$null" || :
        action=start
        [ -z "$2" ] || action=restart
        deb-systemd-invoke "$action" '{unit}' >"$null" || :
    fi
fi
"""
_STOP = """\
if [ -d /run/systemd/system ] && [ -x /usr/bin/deb-systemd-invoke ]; then
    deb-systemd-invoke stop '{unit}' >"$null" || :
fi
"""
_ENDED = """\
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >"$null" || :
fi
if [ -x /usr/bin/deb-systemd-helper ]; then
    case "$1" in
    remove) deb-systemd-helper mask '{unit}' >"$null" || : ;;
    purge) deb-systemd-helper purge '{unit}' >"$null" || :; deb-systemd-helper unmask '{unit}' >"$null" || : ;;
    esac
fi
"""


def _name(path: str, kind: str) -> bytes:
    """A member's name, as dpkg-deb writes it."""
    return b"." + os.fsencode(path) + (b"/" if kind == "d" and path != "/" else b"")


def _member(name: str, size: int, epoch: int) -> bytes:
    return b"%-16s%-12d%-6d%-6d%-8o%-10d`\n" % (name.encode(), max(0, epoch), 0, 0, 0o100644, size)


def _beside(out: int) -> str:
    """The folder of the file behind `out`: what is to be copied there has room there."""
    return os.path.dirname(os.readlink(f"/proc/self/fd/{out}"))


def _put(out: int, content: Buffer) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(out, view) :]


def _append(held: int, out: int, size: int) -> None:
    os.lseek(held, 0, os.SEEK_SET)
    while size:
        count = os.sendfile(out, held, None, size)
        if not count:
            raise OSError(5, "the end of the archive is missing")
        size -= count
