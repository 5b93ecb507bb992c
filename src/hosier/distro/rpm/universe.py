"""All packages that one spec may choose from for one architecture, and which of them it leaves out."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.distro.rpm import evr
from hosier.distro.rpm.evr import Evr
from hosier.errors import PackageInvalid
from hosier.solve.rpm import Damaged, Declared, Package, Pool, Source
from hosier.spec.architectures import rpm_name

if TYPE_CHECKING:
    from hosier.distro.rpm.archive import Index, Refreshed
    from hosier.distro.rpm.comps import Comps
    from hosier.distro.rpm.modules import Modules

_NAME, _PART = r"(?P<name>[^:(/=<> ]+)", r"[^-:(/=<> ]+"
_EVR = rf"(?:(?P<epoch>[0-9]+):)?(?P<version>{_PART})"
_ARCH = r"(?P<arch>[^-:.(/=<> ]+)"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"{_NAME}-{_EVR}-(?P<release>{_PART})\.{_ARCH}",
        rf"{_NAME}\.{_ARCH}",
        _NAME,
        rf"{_NAME}-{_EVR}-(?P<release>{_PART})",
        rf"{_NAME}-{_EVR}",
    )
)
"""What a word may be, the first that fits anything: NEVRA, NAME.ARCH, NAME, NEVR, NEV (dnf(8), "Specifying Packages";
libdnf's nevra.cpp and HY_FORMS_MOST_SPEC)."""


EXCLUDED = "is excluded by the spec"
INACTIVE = "is of a module's stream that is not active"
HIDDEN = "is hidden by an active module that has a package of its name"


@dataclass(frozen=True, slots=True)
class Found:
    """The packages that a word stands for; `just_name` when it is no more than a name, or a pattern of names."""

    packages: tuple[int, ...]
    just_name: bool = False


def is_pattern(text: str) -> bool:
    """Whether a word is a pattern, as dnf sees it."""
    return any(each in text for each in "*?[")


class Universe:
    """Packages of repositories and files, without those that are left out. Raises PackageInvalid.

    `lists` brings the file lists of the repositories, when one is needed. `asked` are the requests, of which those for
    streams of modules say what is left out. `described` says in messages where packages were looked for.
    """

    def __init__(
        self,
        refreshed: Refreshed,
        *,
        architecture: str,
        local: Sequence[Declared],
        excluded: Sequence[str],
        asked: Sequence[str] = (),
        lists: Callable[[], Sequence[Index]] | None = None,
    ) -> None:
        self.native = architecture
        self.architecture = rpm_name(architecture)
        self.local = tuple(local)
        self.excluded = tuple(excluded)
        self._lists = lists
        self.indices = list(refreshed.indices)
        """What decides; file lists that are brought later come to it."""
        self.channels = {channel.repo: channel for channel in refreshed.channels}
        self._listed = {each.repo for each in refreshed.later} if lists is not None else set()
        names = sorted({index.repo for index in self.indices})
        self.described = ", ".join(names) or "the repositories"
        primaries = [index for index in self.indices if index.kind == "primary"]
        try:
            self.pool = Pool(
                [self._source(index) for index in primaries],
                architecture=self.architecture,
                local=local,
                lists=self._bring,
                cache=os.path.dirname(primaries[0].file) if primaries else None,
            )
        except Damaged as reason:
            raise PackageInvalid(f"cannot choose packages: {reason}") from None
        self.reasons: dict[int, str] = {}
        """Why a package is left out, in words."""
        self.streams = self._streams(asked)
        """The stream of each module that is active."""
        self._leave_out()

    def _source(self, index: Index) -> Source:
        return Source(
            name=index.repo,
            primary=index.file,
            primary_digest=index.sha256,
            has_lists=index.repo in self._listed,
            priority=index.priority,
            cost=index.cost,
        )

    def _bring(self) -> dict[str, tuple[str, str]]:
        brought = [] if self._lists is None else list(self._lists())
        self.indices += brought
        return {index.repo: (index.file, index.sha256) for index in brought}

    # what is left out

    def _leave_out(self) -> None:
        out = self.reasons
        for pattern in self.excluded:
            for each in self.word(pattern).packages:
                out[each] = EXCLUDED
        for name, repo in self.channels.items():
            if repo.include:
                wanted = {each for pattern in repo.include for each in self.word(pattern).packages}
                for each in self._of_repo(name):
                    if each not in wanted:
                        out.setdefault(each, f"is not among what the repo {name} includes")
            for pattern in repo.exclude:
                for each in self.word(pattern).packages:
                    if self.pool.package(each).repo == name:
                        out.setdefault(each, f"is excluded by the repo {name}")
        self._leave_out_modules(out)
        self.pool.leave_out(out)

    def _of_repo(self, name: str) -> list[int]:
        return [each for ids in self.pool.by_name.values() for each in ids if self.pool.package(each).repo == name]

    def _leave_out_modules(self, out: dict[int, str]) -> None:
        """As dnf does: default streams of modules are active, what others have is hidden."""
        if self.modules is None:
            return
        hotfixes = {name for name, repo in self.channels.items() if repo.module_hotfixes}
        rule = self.modules.filter(self.streams)
        hidden = (_FORMS[0].fullmatch(each) for each in rule.hidden)
        for name in sorted(rule.names.union(said["name"] for said in hidden if said is not None)):
            for each in self.pool.named(name):
                package = self.pool.package(each)
                full = full_nevra(package)
                if package.local is None and not rule.allows(name, full, hotfixes=package.repo in hotfixes):
                    out.setdefault(each, INACTIVE if full in rule.hidden else HIDDEN)

    def _streams(self, asked: Sequence[str]) -> Mapping[str, str]:
        """What the requests for streams make active, with what those require, and the defaults."""
        if self.modules is None:
            return {}
        from hosier.distro.rpm import modules

        enabled = {}
        for request in asked:
            said = modules.asked(request[1:]) if request.startswith("@") else None
            if said is not None and (said.stream or said.profile):
                stream = said.stream or self.modules.defaults.get(said.module)
                if stream in self.modules.known(said.module):
                    enabled[said.module] = stream
        return self.modules.active(enabled)

    @cached_property
    def modules(self) -> Modules | None:
        """The modules of all repositories."""
        files = [index.file for index in self.indices if index.kind == "modules"]
        if not files:
            return None
        from hosier.distro.rpm import modules

        return modules.merged(files)

    def of_stream(self, number: int) -> str | None:
        """The module's stream that a package is of, as it is asked for."""
        full = full_nevra(self.pool.package(number))
        for each in self.modules.streams if self.modules is not None else ():
            if full in each.artifacts:
                return f"@{each.name}:{each.stream}"
        return None

    def limited(self, only: Mapping[str, frozenset[str]]) -> None:
        """Leave out, too, all versions of a package but those that `only` has for its name."""
        more = {
            each: "is not there for all"
            for name, versions in only.items()
            for each in self.pool.named(name)
            if self.pool.package(each).evr not in versions and self.is_native(self.pool.package(each))
        }
        self.pool.leave_out({**self.reasons, **more})

    # what there is

    def package(self, number: int) -> Package:
        """What a number stands for."""
        return self.pool.package(number)

    def key(self, number: int) -> str:
        """How a lock calls a package that is there in one version (`hosier.spec.naming.plain`)."""
        package = self.pool.package(number)
        return package.name if self.is_native(package) else f"{package.name}:{package.architecture}"

    def alone(self, number: int) -> bool:
        """Whether no other version of a package may be there beside it."""
        return number not in self.pool.installonly

    def is_native(self, package: Package) -> bool:
        """Whether a request that names no architecture means such packages."""
        return package.architecture in (self.architecture, "noarch")

    def usable(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """Those that are not left out."""
        out = self.pool.left_out
        return tuple(each for each in numbers if each not in out)

    def named(self, name: str) -> tuple[int, ...]:
        """Packages of a name that are not left out, the newest first."""
        return self.newest(self.usable(self.pool.named(name)))

    def newest(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """The same packages, the newest first."""

        def rank(number: int) -> tuple[object, ...]:
            return version_of(self.pool.package(number)).key

        return tuple(sorted(sorted(numbers), key=rank, reverse=True))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names of packages, sorted."""
        return tuple(self.pool.by_name)

    def word(self, text: str) -> Found:
        """The packages, left out or not, of a word that is a package's name in one of dnf's forms."""
        for form in _FORMS:
            said = form.fullmatch(text)
            if said is None:
                continue
            name = said["name"]
            names = [each for each in self.names if fnmatch.fnmatchcase(each, name)] if is_pattern(name) else [name]
            ids = [each for one in names for each in self.pool.named(one)]
            parts = said.groupdict()
            found = tuple(each for each in ids if _fits(self.pool.package(each), said) and self.known(each))
            if found:
                return Found(found, just_name={k for k, v in parts.items() if v is not None} == {"name"})
        if is_pattern(text):
            every = [each for ids in self.pool.by_name.values() for each in ids]
            return Found(tuple(each for each in every if fnmatch.fnmatchcase(self.pool.package(each).nevra, text)))
        return Found(())

    def known(self, number: int) -> bool:
        """Whether a package is of an architecture that may be installed."""
        return self.pool.goes(self.pool.package(number).architecture)

    @cached_property
    def comps(self) -> Comps | None:
        """The groups of all repositories."""
        files = [index.file for index in self.indices if index.kind.startswith("group")]
        if not files:
            return None
        from hosier.distro.rpm import comps

        return comps.merged(files)


def version_of(package: Package) -> Evr:
    """The version of a package, whatever its metadata says; what is none has the epoch 0."""
    try:
        return evr.parse(package.evr)
    except ValueError:
        return Evr(0, package.evr, "")


def full_nevra(package: Package) -> str:
    """A package as modules name it, its epoch written always."""
    own = version_of(package)
    return f"{package.name}-{own.epoch}:{own.version}-{own.release}.{package.architecture}"


def _fits(package: Package, said: re.Match[str]) -> bool:
    """Whether the version and architecture that a word has, if it has any, are the package's."""
    parts = said.groupdict()
    wanted_arch = parts.get("arch")
    if wanted_arch is not None and not fnmatch.fnmatchcase(package.architecture, wanted_arch):
        return False
    version = parts.get("version")
    if version is None:
        return True
    own = version_of(package)
    if parts.get("epoch") is not None and int(parts["epoch"]) != own.epoch:
        return False
    release = parts.get("release")
    return _same(own.version, version) and (release is None or _same(own.release, release))


def _same(own: str, wanted: str) -> bool:
    return fnmatch.fnmatchcase(own, wanted) if is_pattern(wanted) else evr.vercmp(own, wanted) == 0
