"""dnf's configuration files and the variables in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.rpm import repofile, variables
from hosier.distro.rpm.repofile import DnfConfigInvalid, RepoSection

FILE = "/etc/yum.repos.d/a.repo"
HINT = "dnf.conf(5) says what such a file may hold"


@dataclass
class Case:
    name: str
    text: str
    result: list[RepoSection] = field(default_factory=list)
    error: str = ""
    main: str = ""


def repo(name: str, line: int = 1, **fields: Any) -> RepoSection:
    return RepoSection(
        **{"name": name, "title": name, "where": f"{FILE}:{line}", "baseurl": ("https://example.org",), **fields}
    )


CASES = [
    Case(
        "several sections, lists over lines, comments",
        """# the distribution
[baseos]
name = Base $releasever - $basearch
baseurl=https://one.example.org/$basearch/os/
        https://two.example.org/$basearch/os/,
 # not this one
        https://three.example.org/os
; another comment
gpgkey = file:///etc/pki/rpm-gpg/RPM-GPG-KEY-a,
  https://example.org/key
gpgcheck=1
enabled=1

[debug]
enabled = 0
[fast]
metalink=https://example.org/metalink?repo=fast&arch=$basearch
cost=500
priority=10
repo_gpgcheck = True
excludepkgs=kernel*, *-debug
includepkgs = a b
module_hotfixes = yes
""",
        [
            repo(
                "baseos",
                2,
                title="Base $releasever - $basearch",
                baseurl=(
                    "https://one.example.org/$basearch/os",
                    "https://two.example.org/$basearch/os",
                    "https://three.example.org/os",
                ),
                keys=("file:///etc/pki/rpm-gpg/RPM-GPG-KEY-a", "https://example.org/key"),
            ),
            repo("debug", 14, baseurl=(), enabled=False),
            repo(
                "fast",
                16,
                baseurl=(),
                metalink="https://example.org/metalink?repo=fast&arch=$basearch",
                cost=500,
                priority=10,
                repo_gpgcheck=True,
                exclude=("kernel*", "*-debug"),
                include=("a", "b"),
                module_hotfixes=True,
            ),
        ],
    ),
    Case(
        "what [main] says holds for all, and a repository's own word more",
        "[a]\nbaseurl=https://example.org\n[b]\nbaseurl=https://example.org\ngpgcheck=1\nexclude=y\n",
        [
            repo("a", gpgcheck=False, repo_gpgcheck=True, exclude=("x",)),
            repo("b", 3, gpgcheck=True, repo_gpgcheck=True, exclude=("y", "x")),
        ],
        main="[main]\ngpgcheck=0\nrepo_gpgcheck=1\nexcludepkgs=x\n",
    ),
    Case(
        "a section that goes on further down",
        "[a]\nbaseurl=https://example.org\n[b]\nenabled=0\n[a]\ncost=1\n",
        [repo("a", cost=1), repo("b", 3, baseurl=(), enabled=False)],
    ),
    Case("carriage returns and a byte order mark", "\ufeff[a]\r\nbaseurl=https://example.org\r\n", [repo("a")]),
    Case("nothing", "\n# only a comment\n"),
    Case("no section", "baseurl=x\n", error=f"cannot read {FILE}: line 1: 'baseurl' stands before any [section]"),
    Case(
        "no key",
        "[a]\nwhat is this\n",
        error=f"cannot read {FILE}: line 2: expected [section] or key = value, not 'what is this'",
    ),
    Case("an open section", "[a\n", error=f"cannot read {FILE}: line 1: the ] is missing"),
    Case(
        "a bad name",
        "[a b]\n",
        error=f"cannot read {FILE}: line 1: [a b] is no name of a repository: letters, digits and -_.:+",
    ),
    Case(
        "an indented line after nothing",
        "[a]\n  x\n",
        error=f"cannot read {FILE}: line 2: an indented line, and no value before it to go on with",
    ),
    Case(
        "no place",
        "[a]\nname=x\n",
        error=f"cannot read {FILE}: line 1: [a] has neither baseurl, mirrorlist nor metalink",
    ),
    Case(
        "maybe",
        "[a]\nbaseurl=https://example.org\ngpgcheck=maybe\n",
        error=f"cannot read {FILE}: line 3: gpgcheck is yes or no, not 'maybe'",
    ),
    Case(
        "no number",
        "[a]\nbaseurl=https://example.org\n\ncost=1k\n",
        error=f"cannot read {FILE}: line 4: cost is a number, not '1k'",
    ),
    Case(
        "a priority that there is not",
        "[a]\nbaseurl=https://example.org\npriority=0\n",
        error=f"cannot read {FILE}: line 3: priority is from 1 to 99, not 0",
    ),
    Case("a zero byte", "[a]\n\0=1\n", error=f"cannot read {FILE}: line 2: it has a zero byte"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reading(case: Case) -> None:
    def read() -> list[RepoSection]:
        main = next(iter(repofile.read(case.main, name="/etc/dnf/dnf.conf")), None)
        return [repofile.repository(each, main) for each in repofile.read(case.text, name=FILE)]

    if not case.error:
        assert read() == case.result
        return
    with pytest.raises(DnfConfigInvalid) as raised:
        read()
    assert (str(raised.value), raised.value.hint, raised.value.code) == (case.error, HINT, "dnf-config-invalid")


VALUES = {"basearch": "x86_64", "releasever": "9.4", "empty": "", "a_b": "c"}
EXPANSIONS = [
    ("plain", "plain"),
    ("/$basearch/os", "/x86_64/os"),
    ("$releasever$basearch.", "9.4x86_64."),
    ("${basearch}x", "x86_64x"),
    ("$a_b", "c"),
    ("5$ and $ and $", "5$ and $ and $"),
    ("${none:-word}", "word"),
    ("${empty:-word}", "word"),
    ("${a_b:-word}", "c"),
    ("${a_b:+word}", "word"),
    ("${none:+word}", ""),
    ("${none:-$basearch}", "x86_64"),
    ("${none:-${none:-deep}}/x", "deep/x"),
    ("${none:-a\\}b}", "a}b"),
]
REFUSED = [
    ("$none", "the variable $none has no value"),
    ("${none}", "the variable $none has no value"),
    ("${none", "it has a ${ without its }"),
    ("${}", "it has ${}, which is no variable"),
    ("${a-b}", "it has ${a-b}, which is no variable"),
    ("${none:-" * 40 + "}" * 40, "its variables are nested too deep"),
]


def test_variables() -> None:
    assert [(text, variables.expand(text, VALUES)) for text, _ in EXPANSIONS] == EXPANSIONS
    for text, reason in REFUSED:
        with pytest.raises(variables.VariableInvalid) as raised:
            variables.expand(text, VALUES)
        assert str(raised.value) == reason


def test_values() -> None:
    others = {"stream": "9-stream", "basearch": "z80"}
    assert variables.of("amd64", "9.4", others) == {
        "stream": "9-stream",
        "arch": "x86_64",
        "basearch": "x86_64",
        "releasever": "9.4",
        "releasever_major": "9",
        "releasever_minor": "4",
    }
    assert variables.of("i386", None, {}) == {"arch": "i686", "basearch": "i386"}
    assert variables.of("arm64", None, {"releasever": "40"})["releasever_major"] == "40"


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        for section in repofile.read(text, name=FILE):
            repofile.repository(section)
    except DnfConfigInvalid as error:
        assert str(error).startswith(f"cannot read {FILE}: line ")


@given(st.text(alphabet="${}:-+\\ab"))
def test_any_variables(text: str) -> None:
    try:
        variables.expand(text, {"a": "1"})
    except variables.VariableInvalid as error:
        assert str(error)


def _words(alphabet: str) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=1, max_size=12)


PRINTED = "".join(map(chr, range(ord("!"), ord("~") + 1)))
SAID = st.lists(_words(PRINTED).filter(lambda word: word[0] not in "#;"), min_size=1, max_size=4)


@given(st.dictionaries(_words("azAZ09_.:+-"), st.dictionaries(_words("abcz_"), SAID, max_size=4), max_size=4))
def test_what_is_written_is_read(sections: dict[str, dict[str, list[str]]]) -> None:
    text = "".join(
        f"[{name}]\n" + "".join(f"{key} = " + "\n  ".join(words) + "\n" for key, words in values.items())
        for name, values in sections.items()
    )
    found = {
        each.name: {key: value.text.split("\n") for key, value in each.values.items()}
        for each in repofile.read(text, name=FILE)
    }
    assert found == sections
