"""Whose programs the known effects are: one of the same name from another package is not known."""

from __future__ import annotations

from collections.abc import Mapping

_PROGRAMS = {
    "adduser": "addgroup adduser",
    "coreutils": (
        "basename cat chgrp chmod chown cp cut date dirname expr head id install ln ls md5sum mkdir mktemp mv readlink "
        "realpath rm rmdir seq sha1sum sha256sum sha512sum sleep sort stat sync tail touch tr true uname uniq wc"
    ),
    "dash": "dash sh",
    "dbus-bin": "dbus-uuidgen",
    "debconf": "debconf-set-selections",
    "debianutils": "ischroot run-parts which",
    "diffutils": "cmp",
    "dpkg": (
        "dpkg dpkg-divert dpkg-maintscript-helper dpkg-query dpkg-statoverride dpkg-trigger start-stop-daemon "
        "update-alternatives"
    ),
    "findutils": "find",
    "gawk": "awk",
    "grep": "egrep fgrep grep",
    "init-system-helpers": "deb-systemd-helper deb-systemd-invoke invoke-rc.d service update-rc.d",
    "iproute2": "ss",
    "libc-bin": "getent ldconfig",
    "libcap2-bin": "getcap",
    "libpam-runtime": "pam-auth-update pam_getenv",
    "locales": "update-locale",
    "man-db": "mandb",
    "mawk": "awk mawk",
    "openssh-client": "ssh-keygen",
    "openssl": "openssl",
    "passwd": "groupadd grpck grpconv pwck pwconv useradd usermod",
    "perl-base": "perl",
    "postgresql-common": (
        "/usr/share/postgresql-common/pg_checksystem pg_conftool pg_createcluster pg_lsclusters pg_updatedicts"
    ),
    "procps": "pidof",
    "python3-minimal": "py3clean py3compile",
    "python3.11-minimal": "python3.11",
    "python3.12-minimal": "python3.12",
    "python3.13-minimal": "python3.13",
    "runit-helper": "runit-helper",
    "sed": "sed",
    "ssl-cert": "make-ssl-cert",
    "systemd-sysv": "telinit",
    "sysvinit-core": "telinit",
    "sysvinit-utils": "pidof",
    "ucf": "ucf ucfr",
    "util-linux": "mountpoint su",
}


def _packages() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for package, names in _PROGRAMS.items():
        for name in names.split():
            found.setdefault(name, set()).add(package)
    return {name: frozenset(packages) for name, packages in found.items()}


PACKAGES = _packages()
"""Each program of the table with the packages that may have brought it."""
