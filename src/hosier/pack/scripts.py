"""The scripts of packages: they make what no package holds safely (device nodes, links on the host), and take it away.

POSIX shell with coreutils, as root on the host. All can be run again at any time. Services may own folders of the root
and put links there, so a script first goes into a folder, looks where it is, and then names only what is in it.
"""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Iterable, Sequence

from hosier.dataclasses import dataclass
from hosier.store.manifest import Entry

_STAT = {"c": "character special file", "b": "block special file", "p": "fifo"}


@dataclass(frozen=True, slots=True)
class Node:
    """A device node or pipe of the root at `prefix`."""

    prefix: str
    entry: Entry

    @property
    def path(self) -> str:
        """Where it is on the host."""
        return self.prefix + self.entry.path

    @property
    def kind(self) -> str:
        """What stat(1) says with %F %t %T."""
        major, minor = (self.entry.rdev or (0, 0)) if self.entry.kind != "p" else (0, 0)
        return f"{_STAT[self.entry.kind]} {major:x} {minor:x}"

    @property
    def key(self) -> str:
        """How the list of what was made calls it: two packages' nodes are the same when this is."""
        return f"node {quoted_key(self.path)} {self.kind}"


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link on the host."""

    host: str
    target: str

    @property
    def key(self) -> str:
        """How the list of what was made calls it."""
        return f"link {quoted_key(self.host)} {quoted_key(self.target)}"


@dataclass(frozen=True, slots=True)
class Mend:
    """What has to be set on a path once it is there: an owner, a mode, attributes (name, hex)."""

    path: str
    owner: tuple[int, int] | None = None
    mode: int | None = None
    xattrs: tuple[tuple[str, str], ...] = ()


def quoted_key(text: str) -> str:
    """One word without blanks and line breaks, never read back."""
    return "".join(f"\\{ord(c):o}" if c in "\\ \n\t" else c for c in text)


def made(prefix: str, nodes: Iterable[Node], links: Iterable[Link]) -> bytes:
    """Where the root is, and what post-install makes: the scripts of the version before read it on an upgrade."""
    keys = sorted([*(node.key for node in nodes), *(link.key for link in links)])
    return "".join(f"{key}\n" for key in [f"prefix {prefix}", *keys]).encode("utf-8", "surrogateescape")


HEAD = """\
#!/bin/sh
set -e
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 022
null=/dev/null  # which not every root has that rpm or dpkg enters
[ -w "$null" ] || { null=$(mktemp -p / .null.XXXXXXXX); trap 'rm -f -- "$null"' EXIT; }
"""

INTO = """\
fail() { echo "$name: $*" >&2; exit 1; }
root=$(cd "$prefix" 2>"$null" && pwd -P) || root=
# Into a folder of the root, by no link: a service may own what is above.
into() {
    [ -n "$root" ] && cd "$root" || return 1
    [ -z "$1" ] || cd -P "./$1" 2>"$null" || return 1
    [ "$(pwd -P)" = "$root${1:+/$1}" ]
}
"""

_NODE = """\
# A node is made beside and renamed: it never has another mode or owner under its name.
node() {
    kind=$1; mode=$2; owner=$3; file=$4; shift 4
    [ "$(stat -c '%F %t %T %a %u:%g' -- "$file" 2>"$null")" != "$kind $mode $owner" ] || return 0
    [ -L "$file" ] || [ ! -d "$file" ] || fail "cannot make the node $prefix/$folder/$file: a folder is there"
    beside=$(mktemp -d ./.node.XXXXXXXX)
    ( cd "$beside" && mknod node "$@" && chown "$owner" node && chmod "$mode" node && mv -fT node "../$file" ) || {
        rm -f "$beside/node"; rmdir "$beside"; fail "cannot make the node $prefix/$folder/$file"
    }
    rmdir "$beside"
    [ ! -x /usr/sbin/restorecon ] || /usr/sbin/restorecon -- "$file" || :
}
"""

_LINK = """\
# Folders that are not there are noted, to go with the package.
above() {
    above=${1%/*}
    case $above in *'
'*) mkdir -p -- "$above"; return ;; esac
    absent=
    while [ ! -e "$above/" ] && [ ! -L "$above" ]; do
        mkdir -p -- "${folders%/*}"
        printf '%s\\n' "$above" >>"$folders"
        absent=$above
        above=${above%/*}
    done
    mkdir -p -- "${1%/*}/"
    [ -z "$absent" ] || [ ! -x /usr/sbin/restorecon ] || /usr/sbin/restorecon -R -- "$absent" || :
}
link() {
    [ "$(readlink -- "$1")" != "$2" ] || return 0
    if [ -e "$1" ] || [ -L "$1" ]; then
        [ -z "$later" ] || return 0
        fail "cannot make the link $1: something else is there"
    fi
    above "$1"
    ln -s -- "$2" "$1"
    [ ! -x /usr/sbin/restorecon ] || /usr/sbin/restorecon -- "$1" || :
}
"""

_MOVED = """\
moved() { [ -e "$list" ] && ! grep -Fxqs -e "prefix $prefix" -- "$list"; }
"""
_GONE = """\
# What the version that takes over makes too stays.
kept() { [ -n "$upgrade" ] && grep -Fxqs -e "$1" -- "$list"; }
gone_node() {
    ! kept "$1" || return 0
    into "$2" || return 0
    [ "$(stat -c '%F %t %T' -- "./$3" 2>"$null")" != "$4" ] || rm -f -- "./$3"
}
gone_link() {
    ! kept "$1" || return 0
    [ "$(readlink -- "$2")" != "$3" ] || rm -f -- "$2"
}
# When no version is left that has this script.
gone_folders() {
    [ -z "$upgrade" ] || [ ! -e "$list" ] || return 0
    [ -f "$folders" ] || return 0
    sort -ru -- "$folders" | while IFS= read -r above; do rmdir -- "$above" 2>"$null" || :; done
    rm -f -- "$folders"
    rmdir -- "${folders%/*}" 2>"$null" || :
}
"""
NOTED = "/var/lib/hosier-made"
"""Where it is noted which folders of the host were made for links, and which of conffiles are at another place."""


_NOTE = """\
if moved || [ ! -e "$list" ]; then  # a version without nodes and links has no list
    mkdir -p -- "${left%/*}"
    cat >>"$left" <<'END'
"""
_NOTED = """\
END
    sort -u -o "$left" -- "$left"
fi
"""
_LEAVE = """\
[ ! -f "$left" ] || sort -ru -- "$left" | while IFS= read -r folder; do
    prefix=${folder%%//*}
    folder=${folder#*//}
    cd /
    root=$(cd "$prefix" 2>"$null" && pwd -P) || continue
    if [ -z "$folder" ]; then
        rmdir -- "$prefix" 2>"$null" || :
        continue
    fi
    case $folder in */*) above=${folder%/*} ;; *) above= ;; esac
    into "$above" && rmdir -- "./${folder##*/}" 2>"$null" || :
done
rm -f -- "$left"
rmdir -- "${left%/*}" 2>"$null" || :
"""


def note(prefix: str, conffiles: Iterable[str]) -> str:
    """Note the folders of conffiles, paths of the root, when the version that takes over may lie elsewhere: dpkg, which
    keeps these files until they are purged, does not know their folders any more by then. INTO comes before."""
    found = _folders_above(conffiles) | {"/"}
    folders = sorted(each for each in found if "\n" not in each)
    return _MOVED + _NOTE + "".join(f"{prefix}/{each}\n" for each in folders) + _NOTED


def leave() -> str:
    """Remove the folders that were noted, when they are empty; INTO comes before."""
    return _LEAVE


def variables(name: str, prefix: str, listed: str) -> str:
    """What the functions know the package by."""
    noted = quote(f"{NOTED}/{name}")
    return f"name={quote(name)}\nprefix={quote(prefix)}\nlist={quote(listed)}\nfolders={noted}\nleft={noted}:left\n"


def quote(text: str) -> str:
    """A word of the shell."""
    return shlex.quote(text)


def make(nodes: Sequence[Node], links: Sequence[Link]) -> str:
    """Make what is not there; INTO comes before.

    $later not empty: a link whose place another has is left to a later run.
    """
    if not nodes and not links:
        return ""
    said = [_NODE] if nodes else []
    said += [_LINK] if links else []
    here = None
    for node in nodes:
        folder, entry = _folder(node.entry.path), node.entry
        if folder != here:
            said.append(_enter(folder))
            here = folder
        kind = entry.kind + ("" if entry.kind == "p" else " {} {}".format(*(entry.rdev or (0, 0))))
        owner = f"{entry.uid}:{entry.gid}"
        said.append(f"node {quote(node.kind)} {entry.mode:o} {owner} {_base(entry.path)} {kind}\n")
    said += ["cd /\n", *(f"link {quote(link.host)} {quote(link.target)}\n" for link in links)]
    return "".join(said)


def mend(mends: Sequence[Mend], attribute: str) -> str:
    """Set what the package manager does not, after INTO; `attribute` defines a shell function attribute FILE NAME HEX.

    Many names go to one program, since it is started once for each owner in each folder.
    """
    if not mends:
        return ""
    said = [attribute] if any(each.xattrs for each in mends) else []
    folders: dict[str, list[Mend]] = {}
    for each in mends:
        folders.setdefault(_folder(each.path) if each.path != "/" else "", []).append(each)
    for folder, inside in folders.items():
        said.append(_enter(folder))
        for option, key in (("chown -h", "owner"), ("chmod", "mode")):
            groups: dict[str, list[str]] = {}
            for each in inside:
                value = getattr(each, key)
                if value is not None:
                    word = f"{value:o}" if isinstance(value, int) else "{}:{}".format(*value)
                    groups.setdefault(word, []).append(_base(each.path))
            for word, names in groups.items():
                said += [f"{option} {word} {' '.join(part)}\n" for part in _parts(names)]
        for each in inside:
            said += [f"attribute {_base(each.path)} {quote(name)} {value!r}\n" for name, value in each.xattrs]
    return "".join([*said, "cd /\n"])


def unmake(nodes: Sequence[Node], links: Sequence[Link]) -> str:
    """Remove what post-install made, if it is still that; INTO comes before.

    $upgrade not empty: and if the new version does not make it.
    """
    if not nodes and not links:
        return ""
    said = [_MOVED, _GONE]
    for node in nodes:
        path = node.entry.path
        words = (node.key, _folder(path), posixpath.basename(path), node.kind)
        said.append(f"gone_node {' '.join(map(quote, words))}\n")
    if nodes:  # which kept these from going with the package's files
        said.append('if [ -z "$upgrade" ] || moved; then\n')
        said += [f'into {quote(_folder(path))} && rmdir {_base(path)} 2>"$null" || :\n' for path in _above(nodes)]
        said.append("fi\n")
    said += ["cd /\n", *(f"gone_link {' '.join(map(quote, (link.key, link.host, link.target)))}\n" for link in links)]
    return "".join([*said, "gone_folders\n"])


def _above(nodes: Iterable[Node]) -> list[str]:
    """The folders of the root that nodes are in, from the inside."""
    return sorted(_folders_above(node.entry.path for node in nodes), reverse=True)


def _folders_above(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in map(posixpath.dirname, paths):
        while path != "/" and path not in found:
            found.add(path)
            path = posixpath.dirname(path)
    return found


def _enter(folder: str) -> str:
    word = quote(folder)
    return f'folder={word}\ninto "$folder" || fail "cannot find the folder $prefix/$folder"\n'


def _folder(path: str) -> str:
    return posixpath.dirname(path)[1:]


def _base(path: str) -> str:
    return quote("./" + posixpath.basename(path)) if path != "/" else "."


def _parts(names: Sequence[str]) -> Iterable[Sequence[str]]:
    """In pieces that execve(2) takes."""
    part: list[str] = []
    size = 0
    for name in names:
        size += len(os.fsencode(name)) + 9
        if part and size > 100_000:
            yield part
            part, size = [], 0
        part.append(name)
    if part:
        yield part
