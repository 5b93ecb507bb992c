"""Read XML from a stranger: no entities, no other files, bounded in size and depth.

expat itself keeps to this as long as no declaration is taken: an entity is refused where it is declared, so none is
ever expanded, and no other file is opened for a document type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import IO, Any
from xml.parsers import expat

from hosier.dataclasses import dataclass, field

DEPTH_MAX = 64
ELEMENTS_MAX = 500_000
"""Of a document that is read as a tree; the largest list of groups has 40,000."""
TAG_MAX = 1 << 16
"""The most bytes between "<" and ">" in such a document."""
TOKEN_MAX = 4 << 20
"""The most bytes of a tag or a comment in any other document; expat begins anew with each piece that is read of one."""
_PIECE = 1 << 20
_LONG_TAG = re.compile(rb"<[^<>]{%d}" % TAG_MAX)
_XML = "http://www.w3.org/XML/1998/namespace "


class MarkupInvalid(Exception):
    """What is wrong with a document, with its line."""


@dataclass(slots=True)
class Node:
    """One element: `tag` and the names of `attributes` without their name spaces, but for "xml:"."""

    tag: str
    attributes: Mapping[str, str]
    line: int
    children: list[Node] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> Iterator[Node]:
        """The children of that name."""
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Node | None:
        """The first child of that name."""
        return next(self.all(tag), None)

    def words(self, tag: str, default: str = "") -> str:
        """The text of the first child of that name, without space around it."""
        child = self.first(tag)
        return default if child is None else child.text.strip()


def tree(content: bytes, *, root: str) -> Node:
    """The document as a tree, whose root is called `root`. Raises MarkupInvalid."""
    if long := _LONG_TAG.search(content):
        line = content.count(b"\n", 0, long.start()) + 1
        raise MarkupInvalid(f"line {line}: a tag has more than {TAG_MAX} bytes")
    parser = _parser()
    stack: list[Node] = []
    top: list[Node] = []
    count = 0

    def start(tag: str, attributes: list[str]) -> None:
        nonlocal count
        count += 1
        if len(stack) >= DEPTH_MAX:
            raise MarkupInvalid(f"line {parser.CurrentLineNumber}: elements are nested too deep")
        if count > ELEMENTS_MAX:
            raise MarkupInvalid(f"line {parser.CurrentLineNumber}: it has more than {ELEMENTS_MAX} elements")
        named = {_attribute(key): value for key, value in zip(attributes[::2], attributes[1::2], strict=True)}
        node = Node(_local(tag), named, parser.CurrentLineNumber)
        if not stack and node.tag != root:
            raise MarkupInvalid(f"line {node.line}: the document is <{_shown(node.tag)}>, expected <{root}>")
        (stack[-1].children if stack else top).append(node)
        stack.append(node)

    def end(_tag: str) -> None:
        node = stack.pop()
        node.text = "".join(parts.pop(id(node), ()))

    parts: dict[int, list[str]] = {}

    def text(said: str) -> None:
        if stack:
            parts.setdefault(id(stack[-1]), []).append(said)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    _feed(parser, content, last=True)
    return top[0]


def check(file: IO[bytes], *, root: str) -> None:
    """See that a document of any size is well formed, that its root is called `root`, that it declares nothing, and
    that it is nested no deeper than `DEPTH_MAX`.

    For what another reader (libsolv) takes in afterwards. Raises MarkupInvalid.
    """
    parser = _parser()
    depth = 0

    def start(tag: str, _attributes: list[str]) -> None:
        nonlocal depth
        if depth == 0 and _local(tag) != root:
            found = _shown(_local(tag))
            raise MarkupInvalid(f"line {parser.CurrentLineNumber}: the document is <{found}>, expected <{root}>")
        depth += 1
        if depth > DEPTH_MAX:
            raise MarkupInvalid(f"line {parser.CurrentLineNumber}: elements are nested too deep")

    def end(_tag: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    fed = 0
    while piece := file.read(_PIECE):
        _feed(parser, piece, last=False)
        fed += len(piece)
        if fed - parser.CurrentByteIndex > TOKEN_MAX:
            line = parser.CurrentLineNumber
            raise MarkupInvalid(f"line {line}: a tag or a comment has more than {TOKEN_MAX >> 20} MiB")
    _feed(parser, b"", last=True)


def _parser() -> Any:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.ordered_attributes = True
    parser.buffer_text = True

    def document_type(_name: str, _system: str | None, _public: str | None, declares: int) -> None:
        # comps.xml has a document type by custom; one with declarations of its own is nobody's custom.
        if declares:
            raise MarkupInvalid(f"line {parser.CurrentLineNumber}: it declares what its words stand for (a DOCTYPE)")

    def declared(*_: object) -> None:
        raise MarkupInvalid(f"line {parser.CurrentLineNumber}: it declares an entity")

    def skipped(name: str, _parameter: bool) -> None:
        raise MarkupInvalid(f"line {parser.CurrentLineNumber}: &{_shown(name)}; stands for nothing")

    parser.StartDoctypeDeclHandler = document_type
    parser.EntityDeclHandler = declared
    parser.SkippedEntityHandler = skipped
    return parser


def _feed(parser: Any, content: bytes, *, last: bool) -> None:
    try:
        parser.Parse(content, last)
    except expat.ExpatError as error:
        raise MarkupInvalid(f"line {error.lineno}: {expat.ErrorString(error.code)}") from None
    except (ValueError, LookupError) as error:  # an encoding that Python does not have, or that it cannot map
        raise MarkupInvalid(str(error).lower()) from None


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _attribute(name: str) -> str:
    return f"xml:{name[len(_XML) :]}" if name.startswith(_XML) else _local(name)


def _shown(name: str) -> str:
    return name[:40].encode("ascii", "backslashreplace").decode()
