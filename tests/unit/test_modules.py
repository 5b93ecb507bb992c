"""modules.yaml, and the YAML that is read of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml as peer
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.rpm import modules, yaml
from hosier.distro.rpm.modules import Filter, Modules, Stream
from hosier.errors import NotAuthentic, PackageInvalid

TEXT = """---
document: modulemd
version: 2
data:
  name: perl
  stream: "5.26"
  version: 8010020190322
  context: 1a2b
  arch: x86_64
  summary: Practical Extraction and Report Language
  description: >-
    Perl is a language: it has
      - no end

    of words.
  license:
    module:
    - MIT
  xmd: {a: [1, {b: c}], 'd': "e:
    f"}
  dependencies:
  - buildrequires:
      platform: [el8]
    requires:
      platform: [el8]
  artifacts:
    rpms:
    - perl-0:5.26-1.x86_64
    - perl-4:5.26-1.src
    - perl-libs-4:5.26-1.x86_64
...
---
document: modulemd
version: 2
data:
  name: perl
  stream: 5.30
  artifacts:
    rpms: [perl-4:5.30-1.x86_64, "perl-libs-4:5.30-1.x86_64", perl-new-1-1.noarch]
...
---
document: modulemd
version: 2
data:
  name: dbd
  stream: a
  dependencies:
  - requires:
      perl: [5.26]
      platform: []
  artifacts:
    rpms:
    - dbd-0:1-1.x86_64
  demodularized:
    rpms: [dbd-extra]
---
document: modulemd
version: 2
data:
  name: dbd
  stream: a
  context: other
  dependencies:
  - requires: {perl: [-5.26]}
  artifacts:
    rpms:
    - dbd-0:1-2.x86_64
---
document: modulemd-defaults
version: 1
data:
  module: perl
  stream: 5.26
  profiles: {}
---
document: modulemd-defaults
version: 1
data:
  module: dbd
  stream: a
---
document: modulemd-translations
version: 1
data:
  module: perl
  stream: "5.26"
"""
PERL = Stream(
    name="perl",
    stream="5.26",
    version="8010020190322",
    context="1a2b",
    arch="x86_64",
    requires=({"platform": ("el8",)},),
    artifacts=("perl-0:5.26-1.x86_64", "perl-libs-4:5.26-1.x86_64"),
)
NEWER = Stream(
    "perl",
    "5.30",
    artifacts=("perl-4:5.30-1.x86_64", "perl-libs-4:5.30-1.x86_64", "perl-new-0:1-1.noarch"),
)
DBD = Stream(
    "dbd",
    "a",
    requires=({"perl": ("5.26",), "platform": ()},),
    artifacts=("dbd-0:1-1.x86_64",),
    demodularized=("dbd-extra",),
)
OTHER = Stream("dbd", "a", context="other", requires=({"perl": ("-5.26",)},), artifacts=("dbd-0:1-2.x86_64",))
ALL = Modules((PERL, NEWER, DBD, OTHER), {"perl": "5.26", "dbd": "a"})
HINT = "module_hotfixes = true in the [[repo]] takes its packages without regard to modules"


def test_reading() -> None:
    assert modules.parse(TEXT.encode(), name="it") == ALL


def test_artifacts(tmp_path: Path) -> None:
    path = tmp_path / "modules.yaml"
    path.write_text(TEXT)
    assert modules.artifacts(str(path)) == tuple(
        sorted((*PERL.artifacts, *NEWER.artifacts, *DBD.artifacts, *OTHER.artifacts))
    )
    assert modules.merged([str(path), str(path)]).defaults == {"perl": "5.26", "dbd": "a"}
    (tmp_path / "other.yaml").write_text(TEXT.replace("stream: 5.26", "stream: 5.30"))
    assert modules.merged([str(path), str(tmp_path / "other.yaml")]).defaults == {"dbd": "a"}


@dataclass
class Chosen:
    name: str
    enabled: Mapping[str, str]
    active: Mapping[str, str]
    filter: Filter


CHOSEN = [
    Chosen(
        "defaults, and of two contexts the one that fits",
        {},
        {"perl": "5.26", "dbd": "a"},
        Filter(
            frozenset((*NEWER.artifacts, *OTHER.artifacts)),
            frozenset((*PERL.artifacts, *DBD.artifacts)),
            frozenset(("perl", "perl-libs", "dbd")),
        ),
    ),
    Chosen(
        "a stream that is asked for moves what depends on it",
        {"perl": "5.30"},
        {"perl": "5.30", "dbd": "a"},
        Filter(
            frozenset((*PERL.artifacts, *DBD.artifacts)),
            frozenset((*NEWER.artifacts, *OTHER.artifacts)),
            frozenset(("perl", "perl-libs", "perl-new", "dbd")),
        ),
    ),
]


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_choosing(case: Chosen) -> None:
    assert ALL.active(case.enabled) == case.active
    assert ALL.filter(case.enabled) == case.filter


def test_without_defaults_all_modular_packages_are_hidden() -> None:
    found = Modules((PERL, DBD)).filter()
    assert (found.active, found.names) == (frozenset(), frozenset())
    assert found.hidden == frozenset((*PERL.artifacts, *DBD.artifacts))


def test_what_is_required_becomes_active_too() -> None:
    assert Modules((PERL, NEWER, DBD), {"dbd": "a"}).active() == {"dbd": "a", "perl": "5.26"}
    assert Modules((NEWER, DBD), {"dbd": "a"}).active() == {}


def _needing(count: int, streams: str) -> Modules:
    """Modules of which each needs the next, in streams of which none can be had at the end."""
    return Modules(
        tuple(Stream(f"m{n}", each, requires=({f"m{n + 1}": ()},)) for n in range(count) for each in streams)
    )


@pytest.mark.parametrize("known", [_needing(2000, "a"), _needing(40, "ab")], ids=["a long row", "many ways"])
def test_what_would_take_for_ever_is_refused(known: Modules) -> None:
    with pytest.raises(PackageInvalid) as raised:
        known.active({"m0": "a"})
    assert str(raised.value).startswith("cannot choose streams of modules: what m")
    assert raised.value.hint == HINT
    assert _needing(50, "a").active({"m0": "a"}) == {"m0": "a"}


ALLOWED = [
    ("perl", "perl-0:5.26-1.x86_64", False, True),
    ("perl", "perl-4:5.30-1.x86_64", False, False),
    ("perl", "perl-4:5.40-1.x86_64", False, False),
    ("perl", "perl-4:5.40-1.x86_64", True, True),
    ("perl-new", "perl-new-0:1-1.noarch", False, False),
    ("perl-new", "perl-new-0:2-1.noarch", False, True),
    ("bash", "bash-0:5-1.x86_64", False, True),
]


def test_what_a_filter_allows() -> None:
    found = ALL.filter()
    assert [(n, e, h, found.allows(n, e, hotfixes=h)) for n, e, h, _ in ALLOWED] == ALLOWED


REFUSED = [
    (b"\xff", "it is not UTF-8, at byte 0"),
    (b"---\ndocument: modulemd\ndata:\n  stream: a\n", "a module has no name"),
    (b"---\ndocument: modulemd\ndata:\n  name: a\n  stream: [b]\n", "a module has no stream"),
    (b"---\n- a\n", "a document is no mapping"),
    (
        b"---\ndocument: modulemd\ndata:\n  name: a\n  stream: b\n  artifacts:\n    rpms: [what]\n",
        "the artifact 'what' of a:b is not NAME-EPOCH:VERSION-RELEASE.ARCH",
    ),
    (b"\n" * (modules.LINES_MAX + 1), "it has more than 4000000 lines"),
    (b"---\ndocument: &x modulemd\n", "line 2: an anchor ('&x modulemd') is not read"),
    (b"---\ndocument: *x\n", "line 2: an alias ('*x') is not read"),
    (b"---\ndocument: !!str x\n", "line 2: a tag ('!!str x') is not read"),
    (b"---\ndocument: modulemd\n\tdata: x\n", "line 3: a tab is no indentation"),
    (b"---\ndocument: a\ndocument: b\n", "line 3: the key 'document' is there twice"),
    (b"---\ndocument: a\n   more: b\n", "line 3: a key stands within a value"),
    (b"---\ndocument: [a, b\nversion: 1\n", "line 3: a value before it is not closed"),
    (b'---\ndocument: "a\n', "line 2: its value is not closed"),
    (b'---\ndocument: "\\q"\n', "line 2: \\q is no escape"),
    (b"---\ndocument: a: b\n", "line 2: 'a: b' has a colon that needs quotes"),
    (
        b"---\ndata:\n  artifacts:\n" + b"".join(b" " * (4 + n) + b"-\n" for n in range(60)),
        "line 43: it is nested too deep",
    ),
    (b"---\ndocument: " + b"[" * 60, "line 2: it is nested too deep"),
]


@pytest.mark.parametrize(("content", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(NotAuthentic) as raised:
        modules.parse(content, name="modules.yaml of base")
    assert (str(raised.value), raised.value.hint) == (f"cannot read modules.yaml of base: {reason}", HINT)


# the YAML reader, against a whole one


class _Texts(peer.SafeLoader):
    """PyYAML without types: every scalar is a text, but for null."""


_Texts.yaml_implicit_resolvers = {
    sign: [each for each in of if each[0] == "tag:yaml.org,2002:null"]
    for sign, of in peer.SafeLoader.yaml_implicit_resolvers.items()
}

YAML = [
    "a: b\n",
    "a:\n- b\n- c: d\n  e: f\n-\n  - g\n  - - h\n    - i\n",
    "a:\n  - b\n  -   c: d\n      e: f\nz: y\n",
    "a: |\n  one\n   two\n\n  three\nb: >\n  one\n  two\n\n  three\n\n\nc: |-\n  x\nd: |+\n  y\n\ne: z\n",
    "- |\n one\n- >-\n  two\n  three\n- four\n",
    "a: [b, 'c''d', \"e\\tf\", {g: h, i: [j]}]\nk: {}\nl: []\n",
    "a: [b,\n  c, # comment\n  d]\ne: f # comment\n# comment\ng: h#i\n",
    "a: \"one\n  two\n\n  three\"\nb: 'x\n  y'\n",
    'a: "one\\\n  two"\n',
    "a: one\n  two\n\n  three\nb:\n  four\n  five\n",
    "a: 1.10\nb: true\nc: 2020-01-01\nd: null\ne:\nf: ~\n",
    "'a b': c\n\"d: e\": f\n",
    "a: http://example.org/b:c\nd: -e\nf: a-b?\n",
    "%YAML 1.2\n---\na: b\n...\n---\nc: d\n",
    "a:\r\n  - b\r\n  - c\r\n",
    "a: \xa0\nb:\xa0c: \u3000d\u2003 # e\n\xa0f\xa0: [\xa0g\xa0]\nh:  \u3000#i\n",
    "plain\n",
    "",
]


@pytest.mark.parametrize("text", YAML)
def test_as_a_whole_reader_of_yaml(text: str) -> None:
    expected = [each for each in peer.load_all(text, _Texts) if each is not None]
    assert list(yaml.documents(text)) == expected


def test_what_is_not_wanted_is_not_read() -> None:
    text = "a:\n  x: &b !!c *d\n  y:\n  - e\nb: &anchor\nc:\n- *alias\n- &b\nd: |\n  d:\n    text\ne: {f: g}\n"
    assert list(yaml.documents(text, {"a": {"y": None}, "e": None})) == [{"a": {"y": ["e"]}, "e": {"f": "g"}}]


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp")), max_size=30)
VALUES = st.recursive(
    TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXTS.filter(lambda key: key != "<<"), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES.filter(bool), st.booleans() | st.none(), st.integers(20, 200))
def test_what_a_whole_writer_writes(value: Any, flow: bool | None, width: int) -> None:
    text = peer.dump(value, allow_unicode=True, default_flow_style=flow, width=width)
    if "? " in text:
        return  # a key too long for one line
    expected = list(peer.load_all(text, _Texts))
    assert list(yaml.documents(text)) == expected


@given(st.text(alphabet="ab:-[]{}\"'#|>&*!?,\n \t%~\\", max_size=60))
def test_any_text_is_refused_or_read_as_a_whole_reader_does(text: str) -> None:
    try:
        found = list(yaml.documents(text))
    except yaml.YamlInvalid as error:
        assert str(error).startswith("line ")
        return
    try:
        expected = [each for each in peer.load_all(text, _Texts) if each is not None]
    except peer.YAMLError:
        return  # a stricter reader
    assert [each for each in found if each is not None] == expected


@given(st.data())
def test_damage(data: st.DataObject) -> None:
    content = bytearray(TEXT.encode())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=6))
    try:
        modules.parse(bytes(content), name="it")
    except NotAuthentic as error:
        assert str(error).startswith("cannot read it: ")
