"""The words of a spec: its sections, their keys, and what each may hold.

The reader, the lint rules, the JSON Schema and its descriptions are all made from this one table.
"""

from __future__ import annotations

from collections.abc import Mapping

from hosier.dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Word:
    """One key of a section.

    `kind` is one of: string, integer, boolean, strings (an array), words (a string or an array), mode (octal),
    command (a string or an array), env (a table of strings), when, time, entries (of packages.when).
    `low` and `high` bound an integer; `choices` a string.
    """

    kind: str
    about: str
    required: bool = False
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """One table of a spec, or an array of them (`entries`). `words` is empty for [vars], whose keys are free."""

    about: str
    entries: bool = False
    words: Mapping[str, Word] = field(default_factory=dict)


IDS_END = 65534
"""The highest id: 65535 must not be used, being (uid_t)-1 where ids have 16 bits (Debian policy 9.2.2)."""

_WHEN = Word("when", "Take this entry only for an architecture or suite: { architecture = …, suite = … }.")
_OWNER = Word("string", "Owner: a user name or a number. Default root.")
_GROUP = Word("string", "Group: a group name or a number. Default root.")

CONDITION: Mapping[str, Word] = {
    "architecture": Word("words", "Debian architecture names, one of which must be the image's."),
    "suite": Word("words", "Suites, one of which must be among those of the repos."),
}

PACKAGES_WHEN: Mapping[str, Word] = {
    **CONDITION,
    "install": Word("strings", "As packages.install."),
    "exclude": Word("strings", "As packages.exclude."),
}

SECTIONS: Mapping[str, Section] = {
    "image": Section(
        "What the image is called, and the specs that this one is made from.",
        words={
            "name": Word("string", "Lower-case letters, digits and single . _ - between them.", required=True),
            "version": Word("string", 'The version of the image. Default "0".'),
            "release": Word("string", 'The release of that version, for packages made from it. Default "1".'),
            "architecture": Word("string", "Debian architecture name. Default: that of the machine that builds."),
            "architectures": Word("strings", "Several of them, which are locked together; instead of architecture."),
            "include": Word("strings", "Specs that are read first, each once; paths are relative to this file."),
            "prefix": Word("string", "Where the root lies on a host that it is shipped to."),
        },
    ),
    "vars": Section("Variables: ${name} in any string is replaced, $$ is a dollar sign."),
    "repo": Section(
        "An archive that packages come from.",
        entries=True,
        words={
            "name": Word("string", "A name of its own for each archive.", required=True),
            "type": Word("string", "The family of the archive. Default deb.", choices=("deb", "rpm")),
            "source": Word("string", "host: what apt, or dnf, on this machine uses.", choices=("host",)),
            "uris": Word("words", "Where the archive is; several are tried in order. file:, http: or https:."),
            "suites": Word("words", "Suites, or one path that ends in / for a flat archive."),
            "components": Word("words", "Components; none for a flat archive."),
            "signed-by": Word("words", "Key files or folders, or a key block in ASCII armour."),
            "snapshot": Word("time", "The archive as it was then, UTC: 2026-11-01T00:00:00Z."),
            "third-party": Word("boolean", "With source = host: also entries that are not the distribution's own."),
            "allow-unsigned": Word("boolean", "Use the archive though nothing signs it."),
            "allow-expired": Word("boolean", "Use what is past its Valid-Until, or older than what was seen."),
            "baseurl": Word("words", "rpm: where it is, or a folder of packages; several are tried in order."),
            "mirrorlist": Word("string", "rpm: the URL of a list of such places."),
            "metalink": Word("string", "rpm: the URL of a list of them that has repomd.xml's digest."),
            "gpgkey": Word("words", "rpm: key files or URLs, or key blocks in ASCII armour."),
            "gpgcheck": Word("boolean", "rpm: each package must be signed by one of the keys. Default true."),
            "repo_gpgcheck": Word("boolean", "rpm: repomd.xml must be signed by one of them. Default false."),
            "priority": Word("integer", "rpm: the repo of the lowest one wins. Default 99.", low=1, high=99),
            "cost": Word("integer", "rpm: of equal packages the one of the lowest is taken. Default 1000.", high=10**6),
            "includepkgs": Word("words", "rpm: take only packages that one of these patterns matches."),
            "excludepkgs": Word("words", "rpm: take no package that one of these patterns matches."),
            "releasever": Word("string", "rpm: what $releasever is in the URLs."),
            "module_hotfixes": Word("boolean", "rpm: its packages replace those of modules. Default false."),
            "when": _WHEN,
        },
    ),
    "origin": Section(
        "Another place that serves what the lock names; all of it is checked by digest.",
        entries=True,
        words={
            "name": Word("string", "What messages call it; a name of its own for each.", required=True),
            "uri": Word("string", "A mirror, laid out as the repo. file:, http: or https:."),
            "snapshot": Word("string", "A URI that is followed by /YYYYMMDDTHHMMSSZ, the time of the lock."),
            "folder": Word("string", "A folder that hosier vendor wrote, relative to this file."),
            "registry": Word("string", "A repository of a container registry, where each object is a blob."),
            "repo": Word("string", "The repo whose packages it has. Default: the only one; any of a folder, registry."),
            "first": Word("boolean", "Ask it before the uris of the repo. Default false: after them."),
        },
    ),
    "packages": Section(
        "What is installed.",
        words={
            "install": Word(
                "strings", "Package names, with :architecture and (>= version) if need be, or ./files of packages."
            ),
            "exclude": Word("strings", "Packages that must not be installed."),
            "recommends": Word("boolean", "Install recommended packages too. Default false."),
            "paths-exclude": Word("strings", "Patterns of paths that are not unpacked (dpkg --path-exclude)."),
            "paths-include": Word("strings", "Patterns that are unpacked though excluded (dpkg --path-include)."),
            "debconf": Word("strings", "Answers, as debconf-set-selections reads them."),
            "scripts": Word(
                "string",
                "Whether maintainer scripts are run, in a box, or only read, their effects known. Default run.",
                choices=("run", "declared"),
            ),
            "dependencies": Word("boolean", "rpm: false installs what is listed and nothing else. Default true."),
            "docs": Word("boolean", "rpm: false leaves out what packages mark as documentation. Default true."),
            "languages": Word("strings", "rpm: only these languages' files, as %_install_langs. Default: all."),
            "gpgkey": Word("words", "rpm: keys that local packages and those of URLs must be signed by."),
            "when": Word("entries", "More packages, for an architecture or suite only."),
        },
    ),
    "group": Section(
        "A group of the image.",
        entries=True,
        words={
            "name": Word("string", "The group's name.", required=True),
            "gid": Word("integer", "Its id. Default: the next free one of the system range.", high=IDS_END),
            "when": _WHEN,
        },
    ),
    "user": Section(
        "A user of the image.",
        entries=True,
        words={
            "name": Word("string", "The user's name.", required=True),
            "uid": Word("integer", "Its id. Default: the next free one of the system range.", high=IDS_END),
            "group": Word("string", "The primary group. Default: one of the user's own name."),
            "groups": Word("strings", "Further groups."),
            "home": Word("string", "The home directory. Default /nonexistent."),
            "shell": Word("string", "The login shell. Default /usr/sbin/nologin."),
            "gecos": Word("string", "The full name."),
            "create-home": Word("boolean", "Make the home directory. Default false."),
            "when": _WHEN,
        },
    ),
    "device": Section(
        "A device node.",
        entries=True,
        words={
            "path": Word("string", "Where, absolute.", required=True),
            "type": Word(
                "string", "c for a character device, b for a block device.", required=True, choices=("c", "b")
            ),
            "major": Word("integer", "Major number (Linux has 12 bits).", required=True, high=4095),
            "minor": Word("integer", "Minor number (Linux has 20 bits).", required=True, high=1048575),
            "mode": Word("mode", 'Permission bits, octal. Default "0600".', high=0o777),
            "owner": _OWNER,
            "group": _GROUP,
            "when": _WHEN,
        },
    ),
    "file": Section(
        "A file, link or directory that is put into the image after the packages.",
        entries=True,
        words={
            "path": Word("string", "Where, absolute.", required=True),
            "content": Word("string", "What the file holds."),
            "source": Word("string", "A file or folder on the host that is copied, relative to this spec."),
            "target": Word("string", "Makes a symbolic link to this."),
            "directory": Word("boolean", "Makes an empty directory."),
            "mode": Word("mode", 'Octal. Default "0644"; "0755" for directories and executable sources.', high=0o7777),
            "owner": _OWNER,
            "group": _GROUP,
            "when": _WHEN,
        },
    ),
    "link": Section(
        "A link on the host into the root, made where the image is installed.",
        entries=True,
        words={
            "host": Word("string", "Where on the host, absolute.", required=True),
            "target": Word("string", "The path inside the root.", required=True),
            "when": _WHEN,
        },
    ),
    "run": Section(
        "A command that is run in the root when all packages are configured.",
        entries=True,
        words={
            "command": Word("command", "An array of words, or a string for /bin/sh -ec.", required=True),
            "network": Word("boolean", "With the host's network. Default false."),
            "user": Word("string", "Who runs it. Default root."),
            "workdir": Word("string", "Where it runs. Default /."),
            "env": Word("env", "Variables of its environment."),
            "when": _WHEN,
        },
    ),
    "sync": Section(
        "Files of the host that are refreshed in the root before it starts.",
        words={"files": Word("strings", "Their absolute paths, the same in both.")},
    ),
    "service": Section(
        "What the image runs when it is started.",
        words={
            "command": Word("command", "An array of words, or a string for /bin/sh -ec.", required=True),
            "user": Word("string", "Who runs it. Default root."),
            "group": Word("string", "Its group. Default: the user's own."),
            "log": Word("string", "A file for its output, absolute."),
            "syslog": Word("boolean", "Whether it reaches the host's /dev/log. Default false."),
            "env": Word("env", "Variables of its environment."),
            "labels": Word("env", "Labels of the image."),
        },
    ),
}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ARCHITECTURES = _names(
    "all alpha amd64 arc arm64 armel armhf hppa i386 ia64 loong64 m68k mips mips64el mipsel or1k powerpc ppc64 ppc64el "
    "riscv64 s390x sh4 sparc sparc64 x32 hurd-amd64 hurd-i386"
)
"""Names that dpkg-architecture(1) knows and that Debian or its ports are made for."""

BASE_USERS = {
    "deb": _names(
        "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats _apt nobody"
    ),
    "rpm": _names("root bin daemon adm lp sync shutdown halt mail operator games ftp nobody"),
}
"""The users that every root of a family has: passwd.master of base-passwd, and _apt; /etc/passwd of setup."""

BASE_GROUPS = {
    "deb": _names(
        "root daemon bin sys adm tty disk lp mail news uucp man proxy kmem dialout fax voice cdrom floppy tape sudo "
        "audio dip www-data backup operator list irc src gnats shadow utmp video sasl plugdev staff games users nogroup"
    ),
    "rpm": _names(
        "root bin daemon sys adm tty disk lp mem kmem wheel cdrom mail man dialout floppy games tape video ftp lock "
        "audio users utmp clock nobody"
    ),
}
"""The groups that every root of a family has: group.master of base-passwd; /etc/group of setup."""
