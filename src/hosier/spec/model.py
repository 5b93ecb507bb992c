"""What a spec says, as values: the one model that every reader of specs gives.

All strings are expanded (variables) and all conditions decided (architecture, suite) by the time a `Spec` exists.
"""

from __future__ import annotations

from hosier.dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Position:
    """Where something was written; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Repo:
    """One `[[repo]]`. `source = "host"` has no uris; each other one of type "deb" has uris and suites.

    One of type "rpm" has uris (baseurl), a mirrorlist or a metalink, and no suites; `$basearch`, `$arch`, `$releasever`
    and the host's own variables stand in them as written. Its `signed_by` (gpgkey) may hold http: and https: URLs too.

    `snapshot` is UTC, as YYYY-MM-DDTHH:MM:SSZ.
    `suites` may hold one exact path ending in "/" (a flat repository, sources.list(5)); then components is empty.
    `signed_by` holds absolute paths of key files or folders, or key blocks in ASCII armour as written.
    """

    name: str
    type: str = "deb"
    source: str | None = None
    uris: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    signed_by: tuple[str, ...] = ()
    snapshot: str | None = None
    third_party: bool = False
    """With source = "host": also take the entries that are not the distribution's own archives."""
    allow_unsigned: bool = False
    allow_expired: bool = False
    """Accept a Release whose Valid-Until has passed."""
    mirrorlist: str | None = None
    metalink: str | None = None
    gpgcheck: bool = True
    """Each package must be signed by one of the keys (dnf.conf(5))."""
    repo_gpgcheck: bool = False
    """repomd.xml must be signed by one of the keys."""
    priority: int = 99
    """The lowest wins whatever the versions (dnf.conf(5))."""
    cost: int = 1000
    include: tuple[str, ...] = ()
    """includepkgs: only packages that one of these matches."""
    exclude: tuple[str, ...] = ()
    """excludepkgs."""
    releasever: str | None = None
    module_hotfixes: bool = False
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Origin:
    """One `[[origin]]`: another place that serves what a lock names, checked by digest whoever serves it.

    `kind` is "uri" (laid out as the repo), "snapshot" (a URI before "/YYYYMMDDTHHMMSSZ/"), "folder" (made by `hosier
    vendor`) or "registry". `where` is the URI without "/" at its end, the folder as seen from that of the spec (or
    absolute, as written), or HOST[:PORT]/REPOSITORY. `repo` is the locked repo that it serves, "" for any; `first`
    puts it before the repo's own uris.
    """

    name: str
    kind: str
    where: str
    repo: str = ""
    first: bool = False
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Request:
    """One entry of `packages.install`: a name with an optional architecture and version constraint, or a local file.

    `operator` is one of "<<", "<=", "=", ">=", ">>" with `version`, or both are None.
    `path` is the absolute path of a local package file, `url` that of one on the network; then name is "". The text of
    a request names the same thing on every machine: `name:arch (>= version)`, or a local file as seen from the spec.

    Of the RPM family, name may also be NAME.ARCH, a NEVRA, a pattern, a capability, a path or @group; the operators are
    `<`, `<=`, `=`, `>=` and `>`.
    """

    name: str
    architecture: str | None = None
    operator: str | None = None
    version: str | None = None
    path: str | None = None
    url: str | None = None
    relative: str | None = field(default=None, compare=False)
    """Of a local file that was not named by an absolute path: its path from the folder of the spec, as "./x"."""
    position: Position | None = field(default=None, compare=False)

    def __str__(self) -> str:
        if self.path is not None:
            return self.relative or self.path
        if self.url is not None:
            return self.url
        name = self.name if self.architecture is None else f"{self.name}:{self.architecture}"
        return name if self.operator is None else f"{name} ({self.operator} {self.version})"


@dataclass(frozen=True, slots=True)
class Packages:
    """`[packages]`."""

    install: tuple[Request, ...] = ()
    exclude: tuple[str, ...] = ()
    recommends: bool = False
    paths_exclude: tuple[str, ...] = ()
    """Patterns as in dpkg's path-exclude (dpkg(1)): fnmatch over the absolute path, "*" matches "/"."""
    paths_include: tuple[str, ...] = ()
    debconf: tuple[str, ...] = ()
    """Lines as debconf-set-selections(1) reads them."""
    scripts: str = "run"
    """"run", or "declared": maintainer scripts are read and not run."""
    dependencies: bool = True
    """False: what is listed and nothing else, as SOCK installs."""
    docs: bool = True
    """False: files that an RPM package marks as documentation are left out (rpm(8), --excludedocs)."""
    languages: tuple[str, ...] | None = None
    """The languages whose files are unpacked, as `%_install_langs` has them; None: all."""


@dataclass(frozen=True, slots=True)
class Group:
    """`[[group]]`: gid None lets groupadd's system range decide."""

    name: str
    gid: int | None = None
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class User:
    """`[[user]]`: `group` is the primary group's name or number; None makes one of the user's own name."""

    name: str
    uid: int | None = None
    group: str | None = None
    groups: tuple[str, ...] = ()
    home: str = "/nonexistent"
    shell: str = "/usr/sbin/nologin"
    gecos: str = ""
    create_home: bool = False
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Device:
    """`[[device]]`: a node at `path` (absolute, inside the root); kind is "c" or "b"; mode is octal permission bits."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o600
    owner: str = "root"
    group: str = "root"
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class File:
    """`[[file]]`: exactly one of content, source (absolute host path of a file or folder), target (a link in the root),
    or directory.

    mode None: 0644, and 0755 for a directory or a source that its owner may execute. A source that is a link is
    followed; a source folder's own files are taken in the same way, its links as they are. owner and group are names
    or numbers.
    """

    path: str
    content: str | None = None
    source: str | None = None
    target: str | None = None
    directory: bool = False
    mode: int | None = None
    owner: str = "root"
    group: str = "root"
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class HostLink:
    """`[[link]]`: a link on the host, `host` (absolute), to `target` (absolute, inside the root). Used when an image
    is shipped."""

    host: str
    target: str
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RunStep:
    """`[[run]]`: a command in the root after all packages are configured; a string is run by ("/bin/sh", "-ec", …).

    `env` is sorted by name."""

    command: tuple[str, ...]
    network: bool = False
    user: str = "root"
    workdir: str = "/"
    env: tuple[tuple[str, str], ...] = ()
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Service:
    """`[service]`: what the image runs when it is shipped or started."""

    command: tuple[str, ...]
    user: str = "root"
    group: str | None = None
    log: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    syslog: bool = False
    """Whether it reaches the host's /dev/log."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole spec, its includes merged in order.

    `digest` is "sha256:HEX" over everything that can change a build: the expanded model (positions, origins and the
    other architectures left out) and the bytes of every file that it names.
    """

    name: str
    version: str = "0"
    release: str = "1"
    architecture: str | None = None
    """None: the architecture of the machine that builds."""
    architectures: tuple[str, ...] = ()
    """All that the image is made for, as written; empty when `architecture` is all. The conditions of this Spec are
    decided for `architecture`, which is one of them."""
    repos: tuple[Repo, ...] = ()
    origins: tuple[Origin, ...] = ()
    packages: Packages = field(default_factory=Packages)
    groups: tuple[Group, ...] = ()
    users: tuple[User, ...] = ()
    devices: tuple[Device, ...] = ()
    files: tuple[File, ...] = ()
    links: tuple[HostLink, ...] = ()
    run: tuple[RunStep, ...] = ()
    sync: tuple[str, ...] = ()
    """Absolute paths of host files that are refreshed in the root before it starts."""
    service: Service | None = None
    prefix: str | None = None
    """Where the root lies on a host that it is shipped to (SOCK_DIR); None: a writer's default."""
    keys: tuple[str, ...] = ()
    """Certificates that the root's package database gets (GpgImport): absolute paths, URLs, or armour."""
    sources: tuple[str, ...] = ()
    """Absolute paths of the spec files that were read, the spec itself first."""
    digest: str = ""

    @property
    def family(self) -> str:
        """The family of its packages, "deb" or "rpm": that of its repos, or of its files where there is no repo."""
        if self.repos:
            return self.repos[0].type
        named = [request.path or request.url for request in self.packages.install]
        files = any(name is not None and name.endswith(".rpm") for name in named)
        return "rpm" if files or not self.packages.dependencies else "deb"

    @property
    def tag(self) -> str:
        """The tag that a build gives its image."""
        return f"{self.name}:{self.version}"
