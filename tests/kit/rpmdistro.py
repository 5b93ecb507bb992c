"""The programs of the tests' own RPM distribution: packages of the host's own archive, packed again by rpmbuild.

apt-get says which packages belong together and fetches them; their files are unpacked here into one build root, with
/usr merged; their relations become Requires, Provides, Recommends and Suggests, and rpmbuild adds those of the
libraries. Maintainer scripts are left out: a few packages have scriptlets of their own instead, as packages of RPM
distributions have.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOTS = (
    "bash bc bzip2 ca-certificates coreutils cpio cron curl debianutils diffutils file findutils gawk grep gzip "
    "hostname iproute2 iputils-ping jq kmod less libc-bin libcap2-bin login logrotate lsof make mawk nano "
    "ncurses-base netbase nginx openssh-client openssl passwd patch procps psmisc python3 rpm rsync rsyslog sed "
    "sqlite3 tar time tree unzip util-linux wget xz-utils zip zstd"
)
"""What is asked of the archive; what these need comes with them."""

RENAMED = {
    "libc6": "glibc",
    "libssl3": "openssl-libs",
    "passwd": "shadow-utils",
    "xz-utils": "xz",
    "iputils-ping": "iputils",
    "openssh-client": "openssh-clients",
    "procps": "procps-ng",
    "libcap2-bin": "libcap-utils",
    "libc-bin": "glibc-common",
}
CUT = (
    "adduser base-files base-passwd cdebconf cron-daemon-common debconf debconf-2.0 dpkg init-system-helpers "
    "install-info libdebconfclient0 libperl5.36 lsb-base media-types perl perl-modules-5.36 perl:any perlapi-5.36.0 "
    "perl-base sensible-utils tzdata ucf usrmerge media-types"
)
"""Packages that belong to Debian's ways, or that only rpm's scripts for building packages need."""

DROPPED = re.compile(
    r"^(/usr/share/(doc-base|lintian|bug|info|man/(?!man1)|bash-completion|perl5|zsh|nano|locale/(?!(de|fr|pt_BR)/))|/lib/systemd|/usr/lib/systemd"
    r"|/usr/share/doc/.*/(changelog|NEWS|examples|README)|/etc/init\.d|/etc/default|/var/run|/usr/share/lintian"
    r"|/usr/lib/[^/]+/gconv/(?!gconv-modules|ISO8859-1[.]|UTF-16[.])|/usr/lib/python3.11/(test|lib2to3|distutils)/"
    r"|/usr/lib/[^/]+/tc/q_atm.so|/usr/share/nginx/modules-available"
    r"|/usr/lib/rpm/platform/(?!x86_64|i686|noarch|aarch64))"
)
"""What makes the world slower and no test better."""

FOLDERS = (
    "/boot /dev /etc /etc/skel /home /media /mnt /opt /proc /run /srv /sys /usr /usr/bin /usr/games /usr/include "
    "/usr/lib /usr/lib64 /usr/libexec /usr/local /usr/local/bin /usr/sbin /usr/share /usr/share/doc /usr/share/man "
    "/usr/src /var /var/cache /var/lib /var/log /var/opt /var/spool"
)
LINKS = {"/bin": "usr/bin", "/lib": "usr/lib", "/lib64": "usr/lib64", "/sbin": "usr/sbin", "/var/run": "../run"}

SHELL_ACCOUNTS = """\
root:x:0:0:root:/root:/bin/bash
bin:x:1:1:bin:/bin:/sbin/nologin
daemon:x:2:2:daemon:/sbin:/sbin/nologin
mail:x:8:12:mail:/var/spool/mail:/sbin/nologin
man:x:6:13:man:/var/cache/man:/sbin/nologin
nobody:x:65534:65534:Kernel Overflow User:/:/sbin/nologin
"""
GROUPS = """\
root:x:0:
bin:x:1:
daemon:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:12:
man:x:13:
utmp:x:22:
crontab:x:101:
_ssh:x:102:
shadow:x:42:
staff:x:50:
nogroup:x:65533:
nobody:x:65534:
"""
MACROS = "%_dbpath /usr/lib/sysimage/rpm\n%_db_backend sqlite\n%_keyringpath %{_dbpath}/pubkeys/\n"

PRE_NGINX = """\
getent group nginx >/dev/null || groupadd -r nginx
getent passwd nginx >/dev/null || useradd -r -g nginx -d /var/lib/nginx -s /sbin/nologin -c "nginx server" nginx
exit 0"""
POST_BASH = """\
local have = {}
local file = io.open("/etc/shells", "r")
if file then
    for line in file:lines() do have[line] = true end
    file:close()
end
file = io.open("/etc/shells", "a+")
for _, shell in ipairs({"/bin/sh", "/bin/bash"}) do
    if not have[shell] then file:write(shell .. "\\n") end
end
file:close()"""

SCRIPTLETS = {
    "glibc": ("%post -p /sbin/ldconfig", "%postun -p /sbin/ldconfig"),
    "glibc-common": ("%transfiletriggerin -P 2000000 -- /usr/lib /usr/lib64\n/sbin/ldconfig",),
    "bash": (f"%post -p <lua>\n{POST_BASH}",),
    "ca-certificates": (
        "%post\ncd /usr/share/ca-certificates && find * -name '*.crt' | sort > /etc/ca-certificates.conf\n"
        "update-ca-certificates --fresh >/dev/null",
    ),
    "nginx-common": (f"%pre\n{PRE_NGINX}", "%preun\nif [ $1 -eq 0 ]; then rm -rf /var/lib/nginx/tmp; fi"),
    "rsyslog": ("%post\numask 077\n[ -e /var/log/messages ] || : > /var/log/messages",),
}
"""Sections of the spec file, by package."""

EXTRA = {
    "bash": ("Provides: /bin/sh", "Provides: /bin/bash", "Requires(post): filesystem"),
    "glibc": (
        "Provides: rtld(GNU_HASH)",
        "Provides: /sbin/ldconfig",
        "Requires(pre): filesystem",
        "Requires: glibc-common",
    ),
    "nginx-common": ("Requires(pre): shadow-utils", "Requires(pre): glibc-common"),
    "ca-certificates": ("Requires(post): bash coreutils grep sed findutils openssl",),
    "coreutils": ("Requires(pre): filesystem",),
    "rsyslog": ("Requires(post): /bin/sh",),
}
OWNED = {"/var/lib/nginx": (0o770, "nginx", "root"), "/var/log/nginx": (0o750, "nginx", "adm")}

PATCHED = {"/etc/nginx/nginx.conf": {b"user www-data;": b"user nginx;"}}


@dataclass
class Packed:
    """One package of the archive, ready to be packed again."""

    name: str
    evr: tuple[str, str, str]
    """Epoch ("" for none), version, release."""
    architecture: str
    summary: str
    fields: dict[str, str]
    """Debian's control fields."""
    files: list[str] = field(default_factory=list)
    """Lines for %files."""
    conffiles: frozenset[str] = frozenset()


# --- what the archive has ------------------------------------------------------------------------------------------


def fetch(folder: Path, names: str = ROOTS) -> list[Path]:
    """The .deb files of `names` and of all that they need, from the host's own archive by its own apt-get.

    The host's indices are used as they are, and new ones only where these are missing or name what is gone.
    """
    for each in ("state/lists/partial", "debs/partial"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    own = ["-o", f"Dir::State::status={folder}/status", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root"]
    own += ["-o", f"Dir::Cache::archives={folder}/debs/", "-o", "Acquire::Languages=none"]
    install = ["apt-get", "-qq", "-y", *own, "--no-install-recommends", "--download-only", "install", *names.split()]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(install, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        lists = ["-o", f"Dir::State::lists={folder}/state/lists", "-o", f"Dir::Cache={folder}/cache"]
        for words in (["apt-get", "-qq", *own, *lists, "update"], [*install, *lists]):
            done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                raise AssertionError(f"{' '.join(words)}:\n{done.stdout}\n{done.stderr}")
    return sorted((folder / "debs").glob("*.deb"))


def control(deb: Path) -> tuple[dict[str, str], frozenset[str]]:
    """The control fields of a package, and its configuration files."""
    with subprocess.Popen(["dpkg-deb", "--ctrl-tarfile", str(deb)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        texts = {}
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                if member.name in ("./control", "./conffiles"):
                    content = tar.extractfile(member)
                    assert content is not None
                    texts[member.name[2:]] = content.read().decode()
    fields: dict[str, str] = {}
    key = ""
    for line in texts["control"].splitlines():
        if line[:1] in " \t":
            fields[key] += "\n" + line
        else:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    return fields, frozenset(texts.get("conffiles", "").split())


def merged(path: str) -> str:
    """Where `path` is once /usr is merged."""
    return re.sub(r"^/(bin|sbin|lib|lib64)(?=/)", r"/usr/\1", path)


# --- from one form to the other ------------------------------------------------------------------------------------


def evr(version: str) -> tuple[str, str, str]:
    """A Debian version as epoch, version and release; "-" is no letter of the latter two."""
    epoch, _, rest = version.rpartition(":")
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, "0"
    return ("" if epoch == "0" else epoch), upstream.replace("-", "."), revision


def shown(parts: tuple[str, str, str]) -> str:
    epoch, version, release = parts
    return f"{epoch}:{version}-{release}" if epoch else f"{version}-{release}"


_RELATION = re.compile(r"^(?P<name>[^\s:(\[]+)(:\w+)?\s*(\((?P<op><<|<=|=|>=|>>)\s*(?P<version>[^)]+)\))?")


def relations(text: str, known: Mapping[str, str]) -> Iterator[str]:
    """Debian's relations as rpm's; alternatives that `known` (names there, to names here) lacks are left out."""
    for term in filter(None, (each.strip() for each in text.replace("\n", " ").split(","))):
        found = []
        for alternative in term.split("|"):
            match = _RELATION.match(alternative.strip())
            if match is None or match["name"] not in known:
                continue
            name = known[match["name"]]
            if match["version"]:
                version = evr(match["version"])
                # To rpm, what has no release means every release: 2.36-9 is not > 2.36, as it is >> 2.36 to Debian.
                wanted = shown(version) if "-" in match["version"] else shown(version).removesuffix("-0")
                later = ">" if "-" in match["version"] else ">="
                name += f" {({'<<': '<', '>>': later}).get(match['op'], match['op'])} {wanted}"
            if name not in found:
                found.append(name)
        if len(found) == 1:
            yield found[0]
        elif found:
            yield f"({' or '.join(found)})"


def unpack(deb: Path, root: Path) -> Packed:
    """Unpack into `root`, which other packages share."""
    fields, conffiles = control(deb)
    arch = "noarch" if fields["Architecture"] == "all" else "x86_64"
    name = RENAMED.get(fields["Package"], fields["Package"])
    summary = fields["Description"].splitlines()[0].replace("%", "%%")
    packed = Packed(name, evr(fields["Version"]), arch, summary, fields, conffiles=frozenset(map(merged, conffiles)))
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            packed.files = list(_members(tar, root, packed.conffiles))
    return packed


def _members(tar: tarfile.TarFile, root: Path, conffiles: frozenset[str]) -> Iterator[str]:
    for member in tar:
        path = merged(member.name[1:].rstrip("/"))
        if not path or path in FOLDERS.split() or path in LINKS or path in ("/tmp", "/var/tmp", "/root"):
            continue
        if DROPPED.match(path) or path in ("/usr/bin/sh",):
            continue
        place = f"{root}{path}"
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if member.isdir():
            os.makedirs(place, exist_ok=True)
        elif member.issym():
            os.symlink(member.linkname, place)
        elif member.islnk():
            os.link(f"{root}{merged(member.linkname[1:])}", place)
        elif member.isreg():
            content = tar.extractfile(member)
            assert content is not None
            text = content.read()
            for before, after in PATCHED.get(path, {}).items():
                text = text.replace(before, after)
            with open(place, "wb") as out:
                out.write(text)
        else:
            continue
        if not member.issym():
            os.chmod(place, member.mode)
        os.utime(place, (member.mtime, member.mtime), follow_symlinks=False)
        yield line(path, member, conffiles)


def line(path: str, member: tarfile.TarInfo, conffiles: frozenset[str]) -> str:
    """What %files says of it."""
    words = []
    if member.isdir():
        words.append("%dir")
    mode, user, group = member.mode, member.uname or "root", member.gname or "root"
    if path in OWNED:
        mode, user, group = OWNED[path]
    if (user, group) != ("root", "root"):
        words.append(f"%attr({mode:o}, {user}, {group})")
    if path in conffiles:
        words.append("%config(noreplace)")
    language = re.match(r"/usr/share/locale/([^/]+)/.", path)
    if language and not member.isdir():
        words.append(f"%lang({language[1]})")
    return " ".join([*words, quoted(path)])


def quoted(path: str) -> str:
    """For %files, which takes patterns."""
    return '"' + re.sub(r"([\[*?])", r"[\1]", path).replace("%", "%%") + '"'


# --- the spec file -------------------------------------------------------------------------------------------------

HEAD = """\
%global debug_package %{nil}
%global __os_install_post %{nil}
%global _build_id_links none
%global _binary_payload w1.zstdio
%global _unpackaged_files_terminate_build 0
%global __check_files %{nil}
%global use_source_date_epoch_as_buildtime 1
%global clamp_mtime_to_source_date_epoch 1
%global _buildhost build.example.org
"""
GENERATORS = "desktop font metainfo ocaml perl perllib pkgconfig python pythondist rpm_macro script debuginfo"
MAIN = """\
Name: world
Version: 1
Release: 1
Summary: The tests' own distribution
License: MIT
%description
Nothing is packed of this.
%install
mkdir -p %{buildroot}
cp -al STAGE/. %{buildroot}/
"""


def head() -> str:
    """What every spec file of the distribution begins with."""
    none = "".join(
        f"%global __{each}_{way} %{{nil}}\n" for each in GENERATORS.split() for way in ("provides", "requires")
    )
    return HEAD + none


def package(
    name: str,
    version: tuple[str, str, str],
    architecture: str,
    summary: str,
    tags: Iterable[str],
    sections: Iterable[str],
    files: Iterable[str],
) -> str:
    """A subpackage of a spec file. A section begins with its word, to which the package's name is added."""
    epoch, number, release = version
    lines = [f"%package -n {name}", f"Version: {number}", f"Release: {release}", f"Summary: {summary}"]
    if epoch:
        lines.append(f"Epoch: {epoch}")
    if architecture == "noarch":
        lines.append("BuildArch: noarch")
    lines += [*tags, f"%description -n {name}", summary]
    for section in sections:
        word, _, rest = section.partition("\n")
        first, _, options = word.partition(" ")
        lines.append(f"{first} -n {name} {options}".rstrip())
        lines.append(rest)
    lines += [f"%files -n {name}", "%defattr(-,root,root,-)", *files, ""]
    return "\n".join(lines)


def base(stage: Path) -> list[Packed]:
    """`setup`, `filesystem` and what Debian's scripts would have made, in `stage`; before all others."""
    for path in [*FOLDERS.split(), "/root", "/tmp", "/var/tmp", "/etc/profile.d", "/usr/lib/sysimage/rpm"]:
        (stage / path[1:]).mkdir(parents=True, exist_ok=True)
    for path, target in LINKS.items():
        os.symlink(target, stage / path[1:])
    texts = {
        "/etc/passwd": SHELL_ACCOUNTS,
        "/etc/group": GROUPS,
        "/etc/shadow": "".join(f"{row.split(':')[0]}:*:19000:0:99999:7:::\n" for row in SHELL_ACCOUNTS.splitlines()),
        "/etc/gshadow": "".join(f"{row.split(':')[0]}:::\n" for row in GROUPS.splitlines()),
        "/etc/os-release": 'NAME="World"\nID=world\nVERSION_ID="1"\nPRETTY_NAME="World 1"\n',
        "/etc/profile": "PATH=/usr/local/bin:/usr/bin:/usr/sbin\nexport PATH\n",
        "/etc/ld.so.conf": "/usr/local/lib\n/usr/lib/x86_64-linux-gnu\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
        "/usr/lib/rpm/macros.d/macros.world": MACROS,
        "/etc/shells": "",
        "/etc/ld.so.cache": "",
        "/etc/ca-certificates.conf": "",
    }
    for path, text in texts.items():
        place = stage / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        os.utime(place, (1_600_000_000, 1_600_000_000))
    setup = Packed("setup", ("", "2.14", "1"), "noarch", "Accounts and other settings of a system", {})
    setup.files = [
        "%config(noreplace) /etc/passwd",
        "%config(noreplace) /etc/group",
        "%attr(0000, root, root) %config(noreplace,missingok) /etc/shadow",
        "%attr(0000, root, root) %config(noreplace,missingok) /etc/gshadow",
        "%config(noreplace) /etc/profile",
        "%config(noreplace) /etc/nsswitch.conf",
        "%dir /etc/profile.d",
        "%ghost %config(noreplace) /etc/shells",
    ]
    filesystem = Packed("filesystem", ("", "3.18", "2"), "x86_64", "The folders of a system", {})
    filesystem.files = [f"%dir {path}" for path in FOLDERS.split() if path != "/usr/share/man"]
    filesystem.files += [*LINKS, "%dir %attr(0550, root, root) /root", "%dir %attr(1777, root, root) /tmp"]
    filesystem.files += ["%dir %attr(1777, root, root) /var/tmp", "%dir /usr/share/man"]
    release = Packed("world-release", ("", "1", "1"), "noarch", "The name of the distribution", {})
    release.files = ["/etc/os-release", "/usr/lib/rpm/macros.d/macros.world", "%dir /usr/lib/sysimage/rpm"]
    return [setup, filesystem, release]


def needed(heads: Mapping[Path, tuple[dict[str, str], frozenset[str]]]) -> list[Path]:
    """Those that ROOTS still need once CUT is cut."""
    by_name = {fields["Package"]: deb for deb, (fields, _) in heads.items() if fields["Package"] not in CUT.split()}
    provided = {}
    for name, deb in by_name.items():
        for word in re.findall(r"(?:^|,\s*)([a-z0-9][a-z0-9.+-]+)", heads[deb][0].get("Provides", "")):
            provided.setdefault(word, name)
    known = {**provided, **{name: name for name in by_name}}
    found: set[str] = set()
    todo = [name for name in ROOTS.split() if name in by_name]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        fields = heads[by_name[name]][0]
        for key in ("Pre-Depends", "Depends"):
            for relation in relations(fields.get(key, ""), known):
                todo += [word for word in re.findall(r"[a-z0-9][a-z0-9.+-]+", relation) if word in by_name]
    return sorted(by_name[name] for name in found)


def spec(folder: Path, stage: Path) -> tuple[str, list[str]]:
    """Fetch and unpack; the text of the spec file and the names of its packages."""
    made = base(stage)
    debs = fetch(folder)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        heads = dict(zip(debs, pool.map(control, debs), strict=True))
        wanted = needed(heads)
        unpacked = list(pool.map(lambda deb: unpack(deb, stage), wanted))
    os.symlink("bash", stage / "usr/bin/sh")
    os.symlink("mawk", stage / "usr/bin/awk")
    names = {each.fields["Package"]: each.name for each in unpacked}
    for each in unpacked:
        for provided in re.findall(r"(?:^|,\s*)([a-z0-9][a-z0-9.+-]+)", each.fields.get("Provides", "")):
            names.setdefault(provided, provided)
    texts = [head(), MAIN.replace("STAGE", str(stage))]
    basic = {
        "setup": ["Requires: world-release", "Provides: system-accounts = 2"],
        "filesystem": ["Requires(pre): setup", "Provides: filesystem(merged)"],
        "world-release": ["Provides: system-release = 1", "Provides: system-release(releasever) = 1"],
    }
    for each in made:
        sections = []
        if each.name == "filesystem":
            sections = ['%pretrans -p <lua>\nposix.mkdir("/proc")\nposix.mkdir("/sys")\nposix.chmod("/proc", 0555)']
        texts.append(
            package(each.name, each.evr, each.architecture, each.summary, basic[each.name], sections, each.files)
        )
    for each in unpacked:
        tags = [*EXTRA.get(each.name, ())]
        if each.fields.get("Homepage"):
            tags.append("URL: https://example.org/" + each.name)
        for key, tag in (
            ("Pre-Depends", "Requires"),
            ("Depends", "Requires"),
            ("Recommends", "Recommends"),
            ("Suggests", "Suggests"),
            ("Enhances", "Enhances"),
            ("Provides", "Provides"),
        ):
            for relation in relations(each.fields.get(key, ""), names):
                if relation.split()[0] != each.name:
                    tags.append(f"{tag}: {relation}")
        if each.name != RENAMED.get(each.fields["Package"]) and each.fields["Package"] in RENAMED.values():
            continue
        if each.fields["Package"] in RENAMED:
            tags.append(f"Provides: {each.fields['Package']} = {shown(each.evr)}")
        files = each.files
        if each.name == "bash":
            files = [*files, "/usr/bin/sh"]
        if each.name == "mawk":
            files = [*files, "/usr/bin/awk"]
        if each.name == "ca-certificates":
            files = [*files, "%ghost %config(noreplace) /etc/ca-certificates.conf"]
        if each.name == "glibc-common":
            files = [each for each in files if "/usr/sbin/ldconfig" not in each]
        if each.name == "glibc":
            files = [*files, "/usr/sbin/ldconfig", "%config(noreplace) /etc/ld.so.conf", "%ghost /etc/ld.so.cache"]
        texts.append(
            package(each.name, each.evr, each.architecture, each.summary, tags, SCRIPTLETS.get(each.name, ()), files)
        )
    return "\n".join(texts), [each.name for each in [*made, *unpacked]]


def rpmbuild(spec_file: Path, out: Path, *, root: Path, epoch: int, target: str = "") -> None:
    """Build all binary packages of a spec file into `out`, flat."""
    define = {
        "_topdir": str(root),
        "_rpmdir": str(out),
        "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        "_dbpath": str(root / "db"),
        "_buildrootdir": str(root),
    }
    words = [word for key, value in define.items() for word in ("--define", f"{key} {value}")]
    if target:
        words += ["--target", target]
    environment = {"PATH": os.environ["PATH"], "HOME": str(root), "LC_ALL": "C", "TZ": "UTC"}
    done = subprocess.run(
        ["rpmbuild", "-bb", "--quiet", "--nodeps", *words, str(spec_file)],
        env={**environment, "SOURCE_DATE_EPOCH": str(epoch)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"rpmbuild {spec_file}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
