"""repomd.xml: what is listed is taken, what is weak, damaged or absurd is refused by name."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from dataclasses import dataclass
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.rpm import markup, repomd
from hosier.distro.rpm.repomd import Digest, Metadata, Repomd
from hosier.errors import NotAuthentic

ONE = hashlib.sha256(b"one").hexdigest()
TWO = hashlib.sha256(b"two").hexdigest()
LONG = hashlib.sha512(b"one").hexdigest()
NAME = "repodata/repomd.xml of base"
NEWER = "the mirror may be within an update: try again later, or name another baseurl"


def entry(
    kind: str = "primary",
    href: str = "repodata/primary.xml.gz",
    algorithm: str = "sha256",
    digest: str = ONE,
    size: object = 100,
    expanded: object = 1000,
    text: str | None = TWO,
    more: str = "",
) -> str:
    said = f'<checksum type="{algorithm}">{digest}</checksum>'
    said += "" if text is None else f'<open-checksum type="sha256">{text}</open-checksum>'
    said += f'<location href="{href}"/><timestamp>1700000000</timestamp>'
    said += f"<size>{size}</size><open-size>{expanded}</open-size>{more}"
    return f'<data type="{kind}">{said}</data>'


def document(*entries: str, revision: str = "1700000001", before: str = "") -> bytes:
    spaces = 'xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm"'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{before}<repomd {spaces}><revision>{revision}</revision>'
        f"{''.join(entries)}</repomd>"
    ).encode()


PRIMARY = Metadata(
    kind="primary",
    location="repodata/primary.xml.gz",
    compression="gz",
    digest=Digest("sha256", ONE),
    size=100,
    text=Digest("sha256", TWO),
    expanded=1000,
    time=1700000000,
)
BOMB = '<!DOCTYPE repomd [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE repomd [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@dataclass
class Case:
    name: str
    content: bytes
    result: Repomd | None = None
    error: str = ""
    hint: str | None = NEWER


CASES = [
    Case("one index", document(entry()), Repomd("1700000001", {"primary": PRIMARY})),
    Case(
        "databases, updates and zchunk are passed over, whatever their digests",
        document(
            entry(),
            entry("primary_db", algorithm="md5"),
            entry("primary_zck", "repodata/primary.xml.zck"),
            entry("updateinfo", algorithm="sha1"),
        ),
        Repomd("1700000001", {"primary": PRIMARY}),
    ),
    Case(
        "sha512, and no facts of the text",
        document(
            f'<data type="primary"><checksum type="SHA512"> {LONG.upper()}\n</checksum><location href="p.xml"/></data>'
        ),
        Repomd("1700000001", {"primary": Metadata("primary", "p.xml", "", Digest("sha512", LONG))}),
    ),
    Case(
        "a document type without declarations",
        document(entry(), before='<!DOCTYPE repomd SYSTEM "http://example.org/repomd.dtd">'),
        Repomd("1700000001", {"primary": PRIMARY}),
    ),
    Case(
        "sha1",
        document(entry(algorithm="sha", digest="a" * 40)),
        error=f"cannot trust {NAME}: the digest of primary is sha1, for which other content of the same digest can be "
        "made",
        hint="who keeps the repository makes it anew with createrepo_c --checksum sha256",
    ),
    Case(
        "md5 of a file that is used",
        document(entry(), entry("filelists", "f.xml.gz", algorithm="md5", digest="a" * 32)),
        error=f"cannot trust {NAME}: the digest of filelists is md5, for which other content of the same digest is "
        "made in seconds",
        hint="who keeps the repository makes it anew with createrepo_c --checksum sha256",
    ),
    Case(
        "a digest of no kind that is known",
        document(entry(algorithm="crc32")),
        error=f"cannot trust {NAME}: the digest of primary is 'crc32', and only sha256, sha384 and sha512 are accepted",
        hint="who keeps the repository makes it anew with createrepo_c --checksum sha256",
    ),
    Case(
        "a digest that is too short",
        document(entry(digest="abc")),
        error=f"cannot read {NAME}: the sha256 of primary is none: 'abc'",
    ),
    Case("no primary", document(), error=f"cannot read {NAME}: it lists no primary metadata"),
    Case(
        "two of a kind",
        document(entry(), entry()),
        error=f"cannot read {NAME}: line 2: it lists two files of kind primary",
    ),
    Case(
        "a climbing location",
        document(entry(href="../../../etc/passwd.xml")),
        error=f"cannot read {NAME}: line 2: primary is at '../../../etc/passwd.xml', which is not within the "
        "repository",
    ),
    Case(
        "a location elsewhere",
        document(entry(href="http://example.org/p.xml")),
        error=f"cannot read {NAME}: line 2: primary is at 'http://example.org/p.xml', which is not within the "
        "repository",
    ),
    Case(
        "zchunk alone",
        document(entry(href="repodata/p.xml.zck")),
        error=f"cannot use {NAME}: its primary is repodata/p.xml.zck, and .zck is no compression that is read",
        hint="known are .bz2 .gz .lzma .xz .zst",
    ),
    Case(
        "an absurd size",
        document(entry(size="999999999999999")),
        error=f"cannot read {NAME}: the size of primary is '999999999999999', and at most {1 << 30} bytes are read",
    ),
    Case(
        "a size of many digits",
        document(entry(expanded="9" * 5000)),
        error=f"cannot read {NAME}: the open-size of primary is '{'9' * 40}', and at most {1 << 30} bytes are read",
    ),
    Case(
        "a size that is none",
        document(entry(size="-1")),
        error=f"cannot read {NAME}: the size of primary is '-1', and at most {1 << 30} bytes are read",
    ),
    Case(
        "a bomb of entities",
        document(entry(more="&b;"), before=BOMB),
        error=f"cannot read {NAME}: line 2: it declares what its words stand for (a DOCTYPE)",
    ),
    Case(
        "an entity that is a file",
        document(entry(more="&a;"), before=OUTSIDE),
        error=f"cannot read {NAME}: line 2: it declares what its words stand for (a DOCTYPE)",
    ),
    Case(
        "an entity of a document type elsewhere",
        document(entry(more="&a;"), before='<!DOCTYPE repomd SYSTEM "repomd.dtd">'),
        error=f"cannot read {NAME}: line 2: &a; stands for nothing",
    ),
    Case("cut short", document(entry())[:-20], error=f"cannot read {NAME}: line 2: unclosed token"),
    Case("nothing", b"", error=f"cannot read {NAME}: line 1: no element found"),
    Case(
        "a page of HTML",
        b"<html><body/></html>",
        error=f"cannot read {NAME}: line 1: the document is <html>, expected <repomd>",
    ),
    Case(
        "too deep",
        document("<a>" * 100 + "</a>" * 100),
        error=f"cannot read {NAME}: line 2: elements are nested too deep",
    ),
    Case(
        "an unknown encoding",
        b'<?xml version="1.0" encoding="nowhere"?><repomd/>',
        error=f"cannot read {NAME}: unknown encoding: nowhere",
    ),
    Case("too long", b" " * (repomd.DOCUMENT_MAX + 1), error=f"cannot read {NAME}: it has more than 8 MiB"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reading(case: Case) -> None:
    if case.result is not None:
        assert repomd.parse(case.content, name=NAME) == case.result
        return
    with pytest.raises(NotAuthentic) as raised:
        repomd.parse(case.content, name=NAME)
    assert (str(raised.value), raised.value.hint) == (case.error, case.hint)


def test_the_bomb_would_go_off() -> None:
    """The positive control: a parser without the defence expands what is declared."""

    top = ElementTree.fromstring(document("<a>&b;</a>", before=BOMB))
    assert top[1].text == "aaaaaaaaaa" * 9


def test_epoch() -> None:
    for revision, expected in (
        ("1800000000", 1800000000),
        ("8.6", 1700000000),
        ("9" * 30, 1700000000),
        ("5", 1700000000),
    ):
        assert repomd.parse(document(entry(), revision=revision), name=NAME).epoch == expected


def test_groups_are_the_best_form() -> None:
    found = repomd.parse(document(entry(), entry("group", "c.xml"), entry("group_xz", "c.xml.xz")), name=NAME)
    assert found.groups is not None
    assert found.groups.kind == "group_xz"


LOCATIONS = [
    ("repodata/a-b.xml.gz", True),
    ("Packages/b/b~1^2+x.rpm", True),
    ("", False),
    ("/etc/passwd", False),
    ("a/../b", False),
    ("..", False),
    ("a//b", False),
    ("./a", False),
    ("//example.org/a", False),
    ("file:a", False),
    ("a\nb", False),
    ("a\\..\\b", False),
]


def test_locations() -> None:
    assert [(text, repomd.safe_location(text)) for text, _ in LOCATIONS] == LOCATIONS


def test_check_reads_any_size_and_stops_at_declarations() -> None:
    good = b"<metadata>" + b"<package/>" * 300_000 + b"</metadata>"
    markup.check(io.BytesIO(good), root="metadata")
    for bad, reason in (
        (good[:-1], "unclosed token"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + good, "declares"),
        (b"<other/>", "expected <metadata>"),
        (good + b"<metadata/>", "junk after document element"),
    ):
        with pytest.raises(markup.MarkupInvalid, match=reason):
            markup.check(io.BytesIO(bad), root="metadata")


def nested(depth: int, *, head: bytes = b"", inside: bytes = b"") -> bytes:
    """A document of that depth."""
    return head + b"<metadata>" + b"<a>" * (depth - 1) + inside + b"</a>" * (depth - 1) + b"</metadata>"


HIDING = [
    b"/>",  # in a text it ends nothing
    b"<!-- </a></a></a> -->",
    b"<![CDATA[</a></a></a>]]>",
    b"<?no </a></a></a> ?>",
    b"<b c='/>'/>",
    b'<b c=">/>"/>',
    b"<!--<!<! --><![CDATA[<!]]>",
]
"""What would deceive who counts tags by their signs."""


@pytest.mark.parametrize("inside", [b"", *HIDING], ids=repr)
def test_depth_is_bounded_whatever_stands_between(inside: bytes) -> None:
    for head in (b"", b'<?xml version="1.0" encoding="UTF-8"?>\n', b"<!-- made by -->\n", b"\xef\xbb\xbf"):
        markup.check(io.BytesIO(nested(markup.DEPTH_MAX - 1, head=head, inside=inside)), root="metadata")
        deep = head + b"<metadata>" + (inside + b"<a>") * 100_000
        began = time.process_time()
        with pytest.raises(markup.MarkupInvalid, match="nested too deep"):
            markup.check(io.BytesIO(deep), root="metadata")
        assert time.process_time() - began < 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_depth_is_exact(encoding: str) -> None:
    for depth in (1, markup.DEPTH_MAX, markup.DEPTH_MAX + 1):
        content = io.BytesIO(nested(depth).decode().encode(encoding))
        with (
            contextlib.nullcontext()
            if depth <= markup.DEPTH_MAX
            else pytest.raises(markup.MarkupInvalid, match="line 1: elements are nested too deep")
        ):
            markup.check(content, root="metadata")


@pytest.mark.parametrize(
    "content",
    [b'<metadata a="' + b"x" * (8 << 20) + b'"/>', b"<metadata><!--" + b"x" * (8 << 20) + b"--></metadata>"],
    ids=["attribute", "comment"],
)
def test_a_token_is_bounded(content: bytes) -> None:
    with pytest.raises(markup.MarkupInvalid, match="line 1: a tag or a comment has more than 4 MiB"):
        markup.check(io.BytesIO(content), root="metadata")


def test_a_tree_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "ELEMENTS_MAX", 1000)
    for content, reason in (
        (b"<repomd>" + b"<a/>" * markup.ELEMENTS_MAX + b"</repomd>", "line 1: it has more than 1000 elements"),
        (
            b"<repomd>\n<a " + b" ".join(b'a%d=""' % at for at in range(10_000)) + b"/></repomd>",
            "line 2: a tag has more",
        ),
        (b'<repomd a="' + b"x" * (1 << 20) + b'"/>', "line 1: a tag has more than 65536 bytes"),
        (b"<repomd>" + b"<a>" * 100 + b"</a>" * 100 + b"</repomd>", "line 1: elements are nested too deep"),
    ):
        with pytest.raises(NotAuthentic, match=reason):
            repomd.parse(content, name=NAME)


@given(st.data())
def test_damage_is_refused_and_nothing_else_happens(data: st.DataObject) -> None:
    content = bytearray(document(entry(), entry("filelists", "f.xml.xz"), entry("group", "c.xml")))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    try:
        found = repomd.parse(bytes(content), name=NAME)
    except NotAuthentic as error:
        assert NAME in str(error)
    else:
        assert all(repomd.safe_location(each.location) for each in found.files.values())


@given(st.text(), st.integers(0, 1 << 30), st.sampled_from(sorted(repomd.STRONG)))
def test_what_is_written_is_read(revision: str, size: int, algorithm: str) -> None:
    import xml.sax.saxutils as sax

    digest = hashlib.new(algorithm, revision.encode("utf-8", "surrogatepass")).hexdigest()
    revision = "".join(sign for sign in revision if sign.isprintable())
    content = document(entry(algorithm=algorithm, digest=digest, size=size), revision=sax.escape(revision))
    found = repomd.parse(content, name=NAME)
    assert found.revision == revision.strip()
    assert (found.files["primary"].digest, found.files["primary"].size) == (Digest(algorithm, digest), size)
