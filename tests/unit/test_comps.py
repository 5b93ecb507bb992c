"""comps.xml: groups, environments, and what a name means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.rpm import comps
from hosier.distro.rpm.comps import Comps, Environment, Group, Member
from hosier.errors import NotAuthentic

TEXT = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
  <group>
    <id>core</id>
    <name xml:lang="de">Kern</name>
    <name>Core</name>
    <description>Smallest</description>
    <default>false</default>
    <packagelist>
      <packagereq type="mandatory">bash</packagereq>
      <packagereq type="default" basearchonly="true"> dnf </packagereq>
      <packagereq type="optional">nano</packagereq>
      <packagereq type="conditional" requires="grub">grub-tools</packagereq>
      <packagereq arch="s390x, ppc64le">s390utils</packagereq>
      <packagereq/>
    </packagelist>
  </group>
  <group>
    <id>web</id>
    <name>Web Server</name>
    <packagelist>
      <packagereq type="optional">bash</packagereq>
      <packagereq type="mandatory">httpd</packagereq>
    </packagelist>
  </group>
  <environment>
    <id>minimal-environment</id>
    <name>Minimal Install</name>
    <grouplist><groupid>core</groupid><groupid>none</groupid></grouplist>
    <optionlist><groupid default="true">web</groupid></optionlist>
  </environment>
  <langpacks><match install="x-%s" name="x"/></langpacks>
</comps>
"""
BASH, DNF, NANO = Member("bash"), Member("dnf", "default", basearchonly=True), Member("nano", "optional")
GRUB, S390, HTTPD = Member("grub-tools", "conditional", "grub"), Member("s390utils"), Member("httpd")
ALL = Comps(
    {
        "core": Group("core", "Core", (BASH, DNF, NANO, GRUB, S390)),
        "web": Group("web", "Web Server", (Member("bash", "optional"), HTTPD)),
    },
    {"minimal-environment": Environment("minimal-environment", "Minimal Install", ("core", "none"), ("web",))},
)


def test_reading() -> None:
    assert comps.parse(TEXT.encode(), name="it") == ALL
    mine = comps.parse(TEXT.encode(), name="it", basearch="x86_64")
    assert mine.groups["core"].members == (BASH, DNF, NANO, GRUB)
    assert ALL.names == ("Core", "Minimal Install", "Web Server", "core", "minimal-environment", "web")


CORE = (BASH, DNF, GRUB, S390)
MEANT: list[tuple[str, tuple[Member, ...] | None]] = [
    ("core", CORE),
    ("CORE", CORE),
    ("web server", (HTTPD,)),
    ("minimal-environment", CORE),
    ("Minimal Install", CORE),
    ("*", (*CORE, HTTPD)),
    ("w?b", (HTTPD,)),
    ("Kern", None),
    ("", None),
    ("nothing", None),
]


def test_what_a_name_means() -> None:
    assert [(name, ALL.members(name)) for name, _ in MEANT] == MEANT
    assert ALL.members("web", comps.TYPES) == (Member("bash", "optional"), HTTPD)
    # in two groups it is there in its strictest kind
    assert ALL.members("*", comps.TYPES) == (BASH, DNF, NANO, GRUB, S390, HTTPD)


def test_several_documents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(TEXT)
    (tmp_path / "b").write_text(
        "<comps><group><id>web</id><name>Other</name><packagelist><packagereq>nginx</packagereq></packagelist></group>"
        "<group><id>new</id></group><environment><id>minimal-environment</id><grouplist><groupid>web</groupid>"
        "</grouplist></environment></comps>"
    )
    found = comps.merged([str(tmp_path / "a"), str(tmp_path / "b")])
    assert found.groups["web"] == Group("web", "Web Server", (Member("bash", "optional"), HTTPD, Member("nginx")))
    assert found.groups["new"] == Group("new", "")
    assert found.environments["minimal-environment"].groups == ("core", "none", "web")


@dataclass
class Case:
    name: str
    content: bytes
    reason: str


CASES = [
    Case("nothing", b"", "line 1: no element found"),
    Case("something else", b"<html/>", "line 1: the document is <html>, expected <comps>"),
    Case("cut short", TEXT.encode()[:-5], "line 34: unclosed token"),
    Case(
        "entities",
        b'<!DOCTYPE comps [<!ENTITY a "b">]><comps>&a;</comps>',
        "line 1: it declares what its words stand for (a DOCTYPE)",
    ),
    Case("too deep", b"<comps>" + b"<a>" * 100, "line 1: elements are nested too deep"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_refused(case: Case) -> None:
    with pytest.raises(NotAuthentic) as raised:
        comps.parse(case.content, name="comps of base")
    assert str(raised.value) == f"cannot read comps of base: {case.reason}"


NAMES = st.text("abcXYZ019 ._+&<-", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(
    st.dictionaries(
        NAMES,
        st.lists(st.tuples(NAMES, st.sampled_from(comps.TYPES)), unique_by=lambda m: m[0], max_size=6),
        max_size=6,
    )
)
def test_what_is_written_is_read(groups: dict[str, list[tuple[str, str]]]) -> None:
    text = "".join(
        f"<group><id>{escape(name)}</id><packagelist>"
        + "".join(f'<packagereq type="{kind}">{escape(member)}</packagereq>' for member, kind in members)
        + "</packagelist></group>"
        for name, members in groups.items()
    )
    found = comps.parse(f"<comps>{text}</comps>".encode(), name="it")
    assert {name: [(m.name, m.kind) for m in group.members] for name, group in found.groups.items()} == groups


@given(st.data())
def test_damage(data: st.DataObject) -> None:
    content = bytearray(TEXT.encode())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=6))
    try:
        comps.parse(bytes(content), name="it")
    except NotAuthentic as error:
        assert str(error).startswith("cannot read it: ")
