"""The spec that `hosier init` writes: whole, small, and commented so that the next step needs no manual."""

from __future__ import annotations

from hosier.errors import UsageError
from hosier.spec.forms import IMAGE_NAME

_TEXT = """\
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
# command = ["update-ca-certificates"]

# [service]
# command = ["/usr/bin/app", "--config", "/etc/app.conf"]
# user    = "app"
"""


def starter(name: str) -> str:
    """The text of a first spec for an image called `name`. Raises UsageError for a name that an image cannot have."""
    if not IMAGE_NAME.fullmatch(name):
        raise UsageError(
            f"cannot name an image {name!r}: a name has lower-case letters and digits, with single . _ - between",
            hint="choose one like web or web-1",
        )
    return _TEXT.format(name=name)
