"""Which packages of a transaction would rather come after which others, besides what they need. Pure.

rpm orders by Recommends, Suggests and OrderWithRequires of a package, and by Supplements and Enhances of the others:
of what is installed together anyway (rpmtsOrder of rpm 4.18).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hosier.build.rpm import compose
from hosier.dataclasses import dataclass
from hosier.distro.rpm import evr, richdeps, tags
from hosier.distro.rpm.header import Header

_NEEDED = (tags.REQUIRENAME, tags.REQUIREFLAGS, tags.REQUIREVERSION)
_BEFORE_IT = (
    (tags.RECOMMENDNAME, tags.RECOMMENDFLAGS, tags.RECOMMENDVERSION),
    (tags.SUGGESTNAME, tags.SUGGESTFLAGS, tags.SUGGESTVERSION),
)
_AT_LAST = ((tags.ORDERNAME, tags.ORDERFLAGS, tags.ORDERVERSION),)
_AFTER_IT = (
    (tags.SUPPLEMENTNAME, tags.SUPPLEMENTFLAGS, tags.SUPPLEMENTVERSION),
    (tags.ENHANCENAME, tags.ENHANCEFLAGS, tags.ENHANCEVERSION),
)
_INSTALL = tags.SENSE_PREREQ | tags.SENSE_SCRIPT_PRE | tags.SENSE_SCRIPT_POST
_SENSES = {"<": tags.SENSE_LESS, ">": tags.SENSE_GREATER, "=": tags.SENSE_EQUAL}


@dataclass(frozen=True, slots=True)
class Wish:
    """By number: `first` before `then`, as `number` says; `scriptlets`: for the sake of its scriptlets."""

    number: int
    first: int
    then: int
    scriptlets: bool


@dataclass(frozen=True, slots=True)
class _Relation:
    number: int
    name: str
    flags: int
    version: str
    reverse: bool


def wishes(headers: Sequence[Header]) -> Iterator[Wish]:
    """The wishes of packages, which are known by their place in `headers`, in the order in which they are said."""
    relations = [each for number, header in enumerate(headers) for each in _relations(number, header)]
    if not relations:
        return
    given = _given(headers, {each.name for each in relations})
    for each in relations:
        met = [number for number, flags, version in given.get(each.name, ()) if _meets(each, flags, version)]
        if not met or each.number in met:
            continue
        own = headers[each.number].string(tags.ARCH)

        def rank(number: int, name: str = each.name, own: str = own) -> tuple[bool, bool, int]:
            header = headers[number]
            return header.string(tags.NAME) != name, header.string(tags.ARCH) != own, number

        other = min(met, key=rank)
        first, then = (each.number, other) if each.reverse else (other, each.number)
        yield Wish(each.number, first, then, bool(each.flags & _INSTALL))


def conditional(header: Header) -> bool:
    """Whether a package needs something with words in it: a lock has all that meets it, `wishes` what rpm orders by."""
    return any(name.startswith("(") for name in header.strings(tags.REQUIRENAME))


def _relations(number: int, header: Header) -> Iterator[_Relation]:
    needed = (_NEEDED,) if conditional(header) else ()
    for rows, reverse in ((needed, False), (_BEFORE_IT, False), (_AFTER_IT, True), (_AT_LAST, False)):
        for names, flags, versions in rows:
            if names not in header:
                continue
            for name, flag, version in zip(
                header.strings(names), header.numbers(flags), header.strings(versions), strict=False
            ):
                if flag & (tags.SENSE_RPMLIB | tags.SENSE_CONFIG):
                    continue
                if not name.startswith("("):
                    yield _Relation(number, name, flag, version, reverse)
                    continue
                for leaf in _leaves(richdeps.lenient(name)):
                    words = leaf.split(" ")
                    sense = sum(_SENSES.get(sign, 0) for sign in words[1]) if len(words) == 3 else 0
                    yield _Relation(number, words[0], sense | flag & _INSTALL, words[-1] if sense else "", reverse)


def _leaves(tree: richdeps.Tree) -> Iterator[str]:
    """What rpm orders by of a dependency with words in it: not by what is only a condition, nor what is without it."""
    if isinstance(tree, str):
        yield tree
        return
    yield from _leaves(tree.left)
    if tree.word in ("and", "or"):
        yield from _leaves(tree.right)


def _given(headers: Sequence[Header], names: set[str]) -> dict[str, list[tuple[int, int, str]]]:
    """Who provides these names, by number, with the flags and version of that."""
    found: dict[str, list[tuple[int, int, str]]] = {}
    files = any(name.startswith("/") for name in names)
    for number, header in enumerate(headers):
        provided = header.strings(tags.PROVIDENAME)
        if not names.isdisjoint(provided):
            rows = zip(provided, header.numbers(tags.PROVIDEFLAGS), header.strings(tags.PROVIDEVERSION), strict=False)
            for name, flags, version in rows:
                if name in names:
                    found.setdefault(name, []).append((number, flags, version))
        if files:
            for path in names.intersection(compose.paths(header)):
                found.setdefault(path, []).append((number, 0, ""))
    return found


def _meets(wanted: _Relation, flags: int, version: str) -> bool:
    try:
        return evr.overlaps(flags, version, wanted.flags, wanted.version)
    except ValueError:
        return False
