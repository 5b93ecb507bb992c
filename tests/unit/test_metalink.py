"""Lists of mirrors: their order, their digests, and what is none."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.rpm import metalink
from hosier.distro.rpm.metalink import Mirrors, State
from hosier.distro.rpm.repomd import Digest
from hosier.errors import FetchFailed, HosierError, NotAuthentic

NEW, OLD = b"<repomd>new</repomd>", b"<repomd>old</repomd>"
NAME = "the metalink of base"
LOOK = "look at its URL and at releasever, or name a baseurl instead"


def state(content: bytes, time: int, *algorithms: str) -> str:
    hashes = "".join(
        f'<hash type="{each}">{hashlib.new(each, content).hexdigest()}</hash>'
        for each in algorithms or ("md5", "sha256")
    )
    return f"<mm0:timestamp>{time}</mm0:timestamp><size>{len(content)}</size><verification>{hashes}</verification>"


def document(*urls: tuple[str, int], first: str | None = None, alternates: str = "", file: str = "repomd.xml") -> bytes:
    resources = "".join(
        f'<url protocol="{url.partition(":")[0]}" preference="{preference}">{url}/repodata/repomd.xml</url>'
        for url, preference in urls
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<metalink version="3.0" xmlns="http://www.metalinker.org/" '
        'type="dynamic" xmlns:mm0="http://fedorahosted.org/mirrormanager"><files>'
        f'<file name="{file}">{first or state(NEW, 1700000000, "md5", "sha1", "sha256", "sha512")}{alternates}'
        f'<resources maxconnections="1">{resources}</resources></file></files></metalink>'
    ).encode()


def digests(content: bytes, *algorithms: str) -> tuple[Digest, ...]:
    return tuple(Digest(each, hashlib.new(each, content).hexdigest()) for each in algorithms)


@dataclass
class Case:
    name: str
    content: bytes
    result: Mirrors | None = None
    error: type[HosierError] | None = None
    told: str = ""
    local: bool = False
    hint: str = field(default=LOOK)


A, B, C = "https://a.example.org/x", "http://b.example.org/x", "https://c.example.org/x"
STRONG = (State(len(NEW), digests(NEW, "sha256", "sha512"), 1700000000),)
CASES = [
    Case(
        "a metalink: by preference, those of https first, no rsync",
        document((B, 100), (C, 80), (A, 90), ("rsync://d.example.org/x", 100)),
        Mirrors((A, C, B), STRONG),
    ),
    Case(
        "alternates are other states",
        document(
            (A, 1),
            alternates=f"<mm0:alternates><mm0:alternate>{state(OLD, 1600000000)}</mm0:alternate></mm0:alternates>",
        ),
        Mirrors((A,), (*STRONG, State(len(OLD), digests(OLD, "sha256"), 1600000000))),
    ),
    Case(
        "a mirrorlist keeps its order",
        f"# repo = base arch = x86_64\n{B}/\n\n{A}/\n{C}\nftp://d.example.org/x\n{A}\n".encode(),
        Mirrors((A, C, B)),
    ),
    Case("of this machine, file URLs too", b"file:///srv/x/\n", Mirrors(("file:///srv/x",)), local=True),
    Case(
        "file URLs of another machine",
        b"file:///srv/x/\n",
        error=FetchFailed,
        told=f"cannot read {NAME}: it names no mirror of http or https",
    ),
    Case(
        "a list that says why it is empty",
        b"# repo = nothing arch = x86_64 error: invalid repo or arch\n# or this\n",
        error=FetchFailed,
        told=f"cannot read {NAME}: it names no mirror of http or https: 'repo = nothing arch = x86_64 error: invalid "
        "repo or arch'",
    ),
    Case("nothing", b"", error=FetchFailed, told=f"cannot read {NAME}: it names no mirror of http or https"),
    Case(
        "a page of HTML",
        b"<html>no such thing</html>",
        error=FetchFailed,
        told=f"cannot read {NAME}: line 1: the document is <html>, expected <metalink>",
    ),
    Case(
        "a metalink of something else",
        document((A, 1), file="image.iso"),
        error=FetchFailed,
        told=f"cannot read {NAME}: it does not speak of repomd.xml",
    ),
    Case("no mirrors", document(), error=FetchFailed, told=f"cannot read {NAME}: it names no mirror of http or https"),
    Case(
        "only weak digests",
        document((A, 1), first=state(NEW, 1, "md5", "sha1")),
        error=NotAuthentic,
        told=f"cannot trust {NAME}: it has no sha256 or sha512 of repomd.xml",
        hint="weaker digests are not accepted; name a mirrorlist or a baseurl instead",
    ),
    Case(
        "a bomb of entities",
        b'<!DOCTYPE metalink [<!ENTITY a "b">]>' + document((A, 1)).partition(b"\n")[2],
        error=FetchFailed,
        told=f"cannot read {NAME}: line 1: it declares what its words stand for (a DOCTYPE)",
    ),
    Case(
        "too long",
        b"#" * (metalink.DOCUMENT_MAX + 1),
        error=FetchFailed,
        told=f"cannot read {NAME}: it has more than 4 MiB",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reading(case: Case) -> None:
    if case.error is None:
        assert metalink.parse(case.content, name=NAME, local=case.local) == case.result
        return
    with pytest.raises(case.error) as raised:
        metalink.parse(case.content, name=NAME, local=case.local)
    assert (str(raised.value), raised.value.hint) == (case.told, case.hint)


def test_only_the_content_of_a_state_is_allowed() -> None:
    found = metalink.parse(document((A, 1)), name=NAME)
    assert [found.allow(each) for each in (NEW, OLD, NEW + b" ", b"")] == [True, False, False, False]
    assert Mirrors((A,)).allow(OLD)


def test_content_is_digested_once_for_many_states() -> None:
    many = Mirrors((A,), tuple(State(None, digests(str(n).encode(), "sha256", "sha512"), n) for n in range(20_000)))
    content = b"x" * (8 << 20)
    began = time.process_time()
    assert not many.allow(content)
    assert time.process_time() - began < 2


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes(content: bytes) -> None:
    try:
        found = metalink.parse(content, name=NAME)
    except (FetchFailed, NotAuthentic) as error:
        assert NAME in str(error)
    else:
        assert all(each.lower().startswith(("http://", "https://")) for each in found.uris)


@given(st.data())
def test_damage(data: st.DataObject) -> None:
    content = bytearray(document((A, 10), (B, 5)))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=8))
    try:
        metalink.parse(bytes(content), name=NAME)
    except (FetchFailed, NotAuthentic) as error:
        assert NAME in str(error)


@given(st.lists(st.from_regex(r"https?://[a-z]{1,8}\.example\.org/[a-z0-9/._-]{0,20}", fullmatch=True), min_size=1))
def test_a_list_is_read_back(uris: list[str]) -> None:
    content = "\n".join(uris).encode()
    bare = [each.rstrip("/") for each in uris]
    expected = [
        *(each for each in bare if each.startswith("https:")),
        *(each for each in bare if each.startswith("http:")),
    ]
    assert metalink.parse(content, name=NAME).uris == tuple(dict.fromkeys(expected))
