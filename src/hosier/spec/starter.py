"""The spec that `hosier init` writes: whole, small, and commented so that the next step needs no manual."""

from __future__ import annotations

from hosier.errors import UsageError
from hosier.spec.forms import IMAGE_NAME

_HEAD = """\
# A root filesystem, described. docs/spec.md tells all keys.
#
#   hosier lint {name}.toml       check it
#   hosier build {name}.toml      lock it ({name}.lock) and build it
#   hosier run {name} -- sh       a command in it; nothing that it changes is kept

[image]
name    = "{name}"
version = "0.1"
# architectures = ["amd64", "arm64"]  # locked together; docs/architectures.md
# include = ["base.toml"]            # specs that are read before this one

"""

_DEB = """\
# Where packages come from: what apt on this machine uses …
[[repo]]
name   = "debian"
source = "host"

# … or an archive of your own:
# [[repo]]
# name       = "ours"
# uris       = ["https://packages.example.org/debian"]
# suites     = ["bookworm"]
# components = ["main"]
# signed-by  = "keys/ours.asc"       # relative to this file
# snapshot   = "2026-11-01T00:00:00Z"

# The essential packages come by themselves, and so does all that these depend on.
[packages]
install = [
    "ca-certificates",
    # "nginx-light (>= 1.22)",       # with a version
    # "./local/app_1.0_amd64.deb",   # a file, relative to this one
]
# exclude    = ["…"]
# recommends = true                  # recommended packages too
# paths-exclude = ["/usr/share/doc/*", "/usr/share/man/*"]

# Only for some architectures or suites:
# [[packages.when]]
# architecture = "amd64"
# install      = ["cpuid"]

"""

_RPM = """\
# Where packages come from: what dnf on this machine uses …
[[repo]]
name   = "host"
type   = "rpm"
source = "host"

# … or a repository of your own:
# [[repo]]
# name       = "ours"
# type       = "rpm"
# baseurl    = "https://packages.example.org/$releasever/$basearch/"
# gpgkey     = "keys/ours.asc"       # relative to this file, or a URL
# releasever = "40"                  # what $releasever is
# repo_gpgcheck = true               # the metadata is signed too

# All that these depend on comes by itself.
[packages]
install = [
    "bash",
    "coreutils",
    # "nginx >= 1.22",               # with a version
    # "@core",                       # a group
    # "./local/app-1.0-1.x86_64.rpm",  # a file, relative to this one
]
# exclude    = ["kernel*"]
# recommends = true                  # weak dependencies too
# docs       = false                 # no documentation
# languages  = ["de", "fr"]          # translations into these only
# paths-exclude = ["/usr/share/man/*"]

# Only for some architectures:
# [[packages.when]]
# architecture = "amd64"
# install      = ["cpuid"]

"""

_TAIL = """\
# [[group]]
# name = "app"
# gid  = 990

# [[user]]
# name  = "app"
# uid   = 990
# group = "app"
# home  = "/var/lib/app"

# A file: its content here, or a source on this machine, or the target of a link.
# [[file]]
# path    = "/etc/app.conf"
# content = "listen = ${{port}}\\n"   # with [vars] and port = "8080"
# mode    = "0640"
# group   = "app"

# A command in the root when all packages are configured.
# [[run]]
# command = ["{certificates}"]

# [service]
# command = ["/usr/bin/app", "--config", "/etc/app.conf"]
# user    = "app"
"""

_FAMILIES = {"deb": (_DEB, "update-ca-certificates"), "rpm": (_RPM, "update-ca-trust")}
"""Where packages come from and which they are, and what renews their certificates."""


def starter(name: str, family: str = "deb") -> str:
    """The text of a first spec for an image called `name`, over packages of `family`, "deb" or "rpm".

    Raises UsageError for a name that an image cannot have.
    """
    if not IMAGE_NAME.fullmatch(name):
        raise UsageError(
            f"cannot name an image {name!r}: a name has lower-case letters and digits, with single . _ - between",
            hint="choose one like web or web-1",
        )
    packages, certificates = _FAMILIES[family]
    return (_HEAD + packages + _TAIL).format(name=name, certificates=certificates)
