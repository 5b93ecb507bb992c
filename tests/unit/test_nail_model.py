"""What a recording of a nail means: tables of events with the whole model, or all the problems, that they give."""

# ruff: noqa: E501 — messages are shown whole

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosier.spec import nail_toml, toenail
from hosier.spec.digest import digest
from hosier.spec.model import Device, Group, HostLink, Packages, Request, Spec, User
from hosier.spec.nail_events import Event, Item, Recording, Said, Splitter
from hosier.spec.toml import read

NAIL = "/nails/foot"
URL = "http://mrepo.example.org/sl62"
BASH = f"{URL}/bash-4.1.2-8.el6.x86_64.rpm"
MODULE = "SOCK_DIR=/srv/app"


def at(line: int, kind: str, *words: str, file: str = NAIL, depth: int = 0) -> Event:
    return Event(kind, words, file, line, depth)


def recorded(*items: Item, variables: str = "", **more: object) -> Recording:
    """A nail that came to its end, unless `items` say otherwise."""
    enter = Event("enter", (NAIL,))
    ending = (Event("end"), Event("variables", tuple(variables.split())))
    texts = {NAIL: "", "/nails/base": ""}
    given: dict[str, object] = {"path": "nails/foot", "real": NAIL, "cwd": "/", "texts": texts, **more}
    return Recording(items=(enter, *items, *ending), **given)  # type: ignore[arg-type]


def asked(*urls: str) -> Packages:
    return Packages(install=tuple(Request("", url=url) for url in urls), dependencies=False)


class Model(NamedTuple):
    name: str
    events: tuple[Event, ...]
    expected: Spec
    variables: str = ""


MODELS = [
    Model("nothing", (), Spec("foot", packages=asked(), prefix="/var/deploy")),
    Model(
        "variables, and a name that an image can have",
        (),
        Spec("my-app", "1.2", "3", packages=asked(), prefix="/srv/app"),
        "SOCK_DIR=/srv//app/ PACKAGE=My_-App VERSION=1.2 RELEASE=3 REPO_FILE=x MREPO_URL=y",
    ),
    Model(
        "packages in their order, each once",
        (
            at(1, "Rpm", f"{URL}/b-1-1.noarch.rpm"),
            at(2, "Rpm", BASH, "--nodeps"),
            at(1, "Rpm", f"{URL}/b-1-1.noarch.rpm"),
        ),
        Spec("foot", packages=asked(f"{URL}/b-1-1.noarch.rpm", BASH), prefix="/var/deploy"),
    ),
    Model(
        "a second argument that is a package is one",
        (at(1, "Rpm", BASH, f"{URL}/b-1-1.noarch.rpm"),),
        Spec("foot", packages=asked(BASH, f"{URL}/b-1-1.noarch.rpm"), prefix="/var/deploy"),
    ),
    Model(
        "no documentation, when every package is to have none",
        (at(1, "Rpm", BASH, "--excludedocs"), at(2, "Rpm", f"{URL}/b-1-1.noarch.rpm", "--nodocs")),
        Spec("foot", packages=replace(asked(BASH, f"{URL}/b-1-1.noarch.rpm"), docs=False), prefix="/var/deploy"),
    ),
    Model(
        "accounts, with a comment of several words",
        (
            at(1, "GroupAdd", "510", "sleepers"),
            at(2, "UserAdd", "511", "510", "/home/sleepy", "/bin/bash", "sleepy"),
            at(3, "UserAdd", "512", "sleepers", "/", "/sbin/nologin", "other"),
            at(4, "Gecos", "sleepy", "The", "user", "that  sleeps"),
        ),
        Spec(
            "foot",
            packages=asked(),
            groups=(Group("sleepers", 510),),
            users=(
                User("sleepy", 511, "510", (), "/home/sleepy", "/bin/bash", "The user that  sleeps", True),
                User("other", 512, "sleepers", (), "/", "/sbin/nologin", "", True),
            ),
            prefix="/var/deploy",
        ),
    ),
    Model(
        "devices and links, with one leading slash or none",
        (
            at(1, "Mknod", "c", "1", "3", "null"),
            at(2, "Mknod", "b", "8", "0", "/disk/a"),
            at(3, "Symlink", "/etc/init.d/app", "etc/init.d/app"),
            at(4, "Symlink", "/etc/app", "/etc/app"),
        ),
        Spec(
            "foot",
            packages=asked(),
            devices=(Device("/dev/null", "c", 1, 3, 0o666), Device("/dev/disk/a", "b", 8, 0, 0o666)),
            links=(HostLink("/etc/init.d/app", "/etc/init.d/app"), HostLink("/etc/app", "/etc/app")),
            prefix="/var/deploy",
        ),
    ),
    Model(
        "keys, each once",
        (at(1, "GpgImport", f"{URL}/KEY"), at(2, "GpgImport", f"{URL}/KEY")),
        Spec("foot", packages=asked(), keys=(f"{URL}/KEY",), prefix="/var/deploy"),
    ),
]


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
def test_a_nail_gives_the_model(case: Model) -> None:
    nail = toenail.read(recorded(*case.events, variables=case.variables))
    assert nail.spec is not None, nail.problems
    assert replace(nail.spec, sources=(), digest="") == case.expected
    assert nail.problems == ()


class Wrong(NamedTuple):
    name: str
    items: tuple[Item, ...]
    expected: list[str]  # "file:line severity[code] text | mend"
    variables: str = ""
    more: dict[str, object] = {}  # noqa: RUF012


WRONG = [
    Wrong(
        "too few and too many arguments",
        (at(1, "GroupAdd", "5"), at(2, "UserAdd", "1", "2", "/", "/bin/sh", "a", "b"), at(3, "ShadowCheck", "x")),
        [
            "nails/foot:1 error[directive-words] GroupAdd has 1 of its arguments | write GroupAdd GID GROUP",
            "nails/foot:2 error[directive-words] UserAdd has 6 arguments | write UserAdd UID GID HOMEDIR SHELL NAME",
            "nails/foot:3 error[directive-words] ShadowCheck has 1 arguments | write ShadowCheck",
        ],
    ),
    Wrong(
        "what must be a number and is none",
        (at(1, "GroupAdd", "x", "g"), at(2, "Mknod", "p", "1", "99999999", "n")),
        [
            "nails/foot:1 error[value-invalid] the gid 'x' is not a number of 0 to 65534 | write a number",
            "nails/foot:2 error[value-invalid] the type of a device cannot be 'p' | write c or b",
            "nails/foot:2 error[value-invalid] the minor number '99999999' is not a number of 0 to 1048575 | write a number",
        ],
    ),
    Wrong(
        "a target with SOCK_DIR before it, and one that climbs",
        (at(1, "Symlink", "/l", "/srv/app/var/test"), at(2, "Symlink", "l", "../x")),
        [
            "nails/foot:1 error[symlink-doubled] the target '/srv/app/var/test' begins with SOCK_DIR, and would be /srv/app/srv/app/var/test | write var/test",
            "nails/foot:2 error[path-invalid] 'l' is not absolute | write \"/l\"",
            'nails/foot:2 error[path-invalid] \'/../x\' climbs with ".." | write "/x"',
        ],
        MODULE,
    ),
    Wrong(
        "names of packages",
        (
            at(1, "Rpm", "${MREPO_URL}/a-1-1.noarch.rpm"),
            at(2, "Rpm", f"{URL}/bash"),
            at(3, "Rpm", "ftp://example.org/a-1-1.noarch.rpm"),
            at(4, "Rpm", f"{URL}/bash.rpm"),
            at(5, "Rpm", BASH),
            at(6, "Rpm", f"{URL}/bash-4.1.2-9.el6.x86_64.rpm"),
            at(7, "Rpm", "http://other.example.org/bash-4.1.2-8.el6.x86_64.rpm", "--noscripts"),
            at(8, "Rpm", f"{URL}/kernel-1-1.x86_64.rpm"),
            at(9, "Rpm", f"{URL}/kernel-2-1.x86_64.rpm", "--excludedocs"),
        ),
        [
            "nails/foot:1 error[request-unexpanded] '${MREPO_URL}/a-1-1.noarch.rpm' holds what bash did not expand | take the quotes away that keep it from being expanded",
            f"nails/foot:2 error[request-invalid] '{URL}/bash' is not the file of an RPM package | name a file or a URL that ends in .rpm",
            "nails/foot:3 error[request-invalid] packages are not fetched by ftp | name the same file by http or https",
            "nails/foot:4 warning[request-nvra] the name of bash.rpm does not say NAME-VERSION-RELEASE.ARCHITECTURE | name the package as it names itself",
            "nails/foot:6 error[package-versions] bash is asked for at 4.1.2-9.el6, and at 4.1.2-8.el6 at nails/foot:5:1 | take one of them out",
            "nails/foot:7 warning[option-ignored] --noscripts means nothing here, and is left out | take it out",
            "nails/foot:7 warning[request-repeated] bash-4.1.2-8.el6 is asked for already, at nails/foot:5:1 | take one of them out",
            "nails/foot:9 warning[option-ignored] documentation is left out of all packages or of none | give --excludedocs to every Rpm",
        ],
    ),
    Wrong(
        "MREPO_URL is told of once, and only where a place is what it is without it",
        (
            at(1, "Rpm", "/nowhere/a-1-1.noarch.rpm"),
            at(2, "Rpm", "foo"),
            at(3, "Rpm", "/os/b-1-1.noarch.rpm"),
            at(4, "Rpm", "/c-1-1.noarch.rpm"),
            at(5, "Rpm", ""),
            at(6, "GpgImport", "nails/KEY"),
            at(7, "GpgImport", "/usr"),
        ),
        [
            "nails/foot:1 error[file-missing] /nowhere/a-1-1.noarch.rpm does not exist | correct the path",
            "nails/foot:2 error[request-invalid] 'foo' is not the file of an RPM package | name a file or a URL that ends in .rpm",
            "nails/foot:3 error[variable-unset] MREPO_URL is not set, and this package's place begins with it | set it to the URL that packages are below, before this",
            "nails/foot:5 error[request-invalid] '' is not the file of an RPM package | set MREPO_URL before it",
            "nails/foot:6 error[file-missing] nails/KEY does not exist | correct the path, which is looked for from /nails and /",
            "nails/foot:7 error[file-missing] /usr is not a file | name a file",
        ],
        more={
            "texts": {
                NAIL: 'Rpm /nowhere/a-1-1.noarch.rpm\nRpm foo\nRpm "${MREPO_URL}"/os/b-1-1.noarch.rpm\n'
                "Rpm $there/c-1-1.noarch.rpm\nRpm $MREPO_URL\n"
            }
        },
    ),
    Wrong(
        "duplicates, and groups that come late or never",
        (
            at(1, "UserAdd", "500", "500", "/h", "/bin/sh", "a"),
            at(2, "GroupAdd", "500", "g"),
            at(3, "GroupAdd", "500", "h"),
            at(4, "UserAdd", "500", "777", "/h", "/bin/sh", "b"),
            at(5, "Mknod", "c", "1", "3", "null"),
            at(6, "Mknod", "c", "1", "3", "null"),
            at(7, "Gecos", "nobody", "x"),
        ),
        [
            "nails/foot:1 error[group-late] the group g of a is added after it, at nails/foot:2:1 | write the GroupAdd before the UserAdd",
            "nails/foot:3 error[duplicate] the gid 500 is there already, at nails/foot:2:1 | take one of them out",
            "nails/foot:4 error[duplicate] the uid 500 is there already, at nails/foot:1:1 | take one of them out",
            "nails/foot:4 warning[group-unknown] the group 777 of b is not added | write GroupAdd 777 … before it",
            "nails/foot:6 error[duplicate] the device /dev/null is there already, at nails/foot:5:1 | take one of them out",
            "nails/foot:7 warning[gecos-unknown] Gecos comes before the UserAdd of 'nobody', or there is none | write it after the UserAdd",
        ],
    ),
    Wrong(
        "Base late, and another one",
        (at(1, "Rpm", BASH), at(2, "Base", "/srv/a"), at(3, "Base", "/srv/a"), at(4, "Base", "/srv/b")),
        [
            "nails/foot:2 error[base-late] Base comes after what goes into the SOCK, at nails/foot:1:1 | write it first",
            "nails/foot:4 error[base-twice] Base is /srv/a already, at nails/foot:2:1 | take one of them out",
        ],
    ),
    Wrong(
        "a FOOT without what a FOOT sets",
        (at(1, "Include", "base"),),
        [
            "nails/foot:1 warning[variable-unset] REPO_FILE is not set | write REPO_FILE=/etc/yum.conf: the yum configuration that packages come from",
            "nails/foot:1 warning[variable-unset] MREPO_URL is not set | write MREPO_URL=http://mrepo.example.org/sl62: the URL that packages are below",
            "nails/foot:1 warning[variable-unset] VERSION is not set | write VERSION=1.0: the version of what is packaged",
            "nails/foot:1 warning[variable-unset] RELEASE is not set | write RELEASE=1: the release of this FOOT",
            "nails/foot:1 warning[variable-unset] PACKAGE is not set | write PACKAGE=app: the name of what is packaged",
        ],
    ),
    Wrong(
        "a variable that no package can have is found where it is written",
        (),
        ["nails/foot:2 error[version-invalid] VERSION cannot be '1/2' | use letters, digits and . _ + ~"],
        "REPO_FILE=x MREPO_URL=y VERSION=1/2 RELEASE=1 PACKAGE=app",
        {"texts": {NAIL: "# VERSION\nVERSION=1/2\n"}},
    ),
    Wrong(
        "commands that fail",
        (
            Said("/nails/foot: line 1: Rmp: command not found\n"),
            at(1, "failed", "127", "Rmp x"),
            Said("/nails/foot: line 2: frob: command not found\n"),
            at(2, "failed", "127", "frob x"),
            Said("grep: /etc/shadow: No such file or directory\n"),
            at(3, "failed", "2", "grep root /etc/shadow"),
            at(4, "failed", "1", "exec 3<> /dev/tcp/192.0.2.1/80"),
            Said("curl: (6) Could not resolve host: example.org\n"),
            at(5, "failed", "6", "fetch it"),
            at(6, "failed", "1", "false"),
        ),
        [
            "nails/foot:1 error[directive-unknown] there is no directive 'Rmp' | write Rpm",
            "nails/foot:2 warning[command-missing] the command 'frob' is not on this machine | install it, or do without it",
            "nails/foot:3 error[nail-outside] the nail tries what is not its own: grep root /etc/shadow failed with status 2: grep: /etc/shadow: No such file or directory | a nail sees its own folder and the programs in /usr, nothing else of the host",
            "nails/foot:4 error[nail-network] the nail tries the network: exec 3<> /dev/tcp/192.0.2.1/80 failed with status 1 | there is no network while a nail is read: name what is to be fetched with Rpm or GpgImport",
            "nails/foot:5 error[nail-network] the nail tries the network: fetch it failed with status 6: curl: (6) Could not resolve host: example.org | there is no network while a nail is read: name what is to be fetched with Rpm or GpgImport",
            "nails/foot:6 warning[command-failed] false failed with status 1 | correct it; a failure that is meant is tried in an if, or followed by || true",
        ],
    ),
    Wrong(
        "what editors of other systems leave behind, and a program where a directive was meant",
        (Said("RPM version 4.18.0\n"), at(2, "failed", "1", "rpm http://example.org/a-1-1.noarch.rpm")),
        [
            "nails/foot:1 warning[nail-characters] the file begins with a byte order mark, which is a part of its first word | save it as UTF-8 without one",
            "nails/foot:2 warning[command-failed] rpm http://example.org/a-1-1.noarch.rpm failed with status 1: RPM version 4.18.0 | write Rpm, if the directive is meant; correct it; a failure that is meant is tried in an if, or followed by || true",
            "nails/base:3 warning[nail-characters] lines end with a carriage return, which is a part of their last word | take them out: sed -i 's/\\r$//'",
        ],
        more={"texts": {NAIL: "\ufeff#\n", "/nails/base": "#\n#\nlog x\r\nlog y\r\n"}},
    ),
    Wrong(
        "what bash cannot read",
        (Said("/nails/base: line 3: syntax error near unexpected token `fi'\n/nails/base: line 3: `fi'\n"),),
        [
            "nails/base:3 error[nail-syntax] bash cannot read this: syntax error near unexpected token `fi', in `fi' | correct it, as bash -n tells"
        ],
    ),
    Wrong(
        "a cycle with its chain, and an Include that finds nothing",
        (
            at(2, "cycle", NAIL, "/nails/base", NAIL, file="/nails/base"),
            at(3, "missing", "nope", NAIL, "/nails/base", file="/nails/base"),
        ),
        [
            "nails/base:2 error[include-cycle] nails/foot includes nails/base includes nails/foot | take one of these Includes out",
            "nails/base:3 error[include-missing] Include finds no file 'nope' (read by nails/base included by nails/foot) | name it as seen from this file, or from the current folder; nothing else is shown to a nail",
        ],
    ),
    Wrong(
        "a nail that was stopped",
        (),
        [
            "nails/base:7 error[nail-time] the nail was stopped: it took more than 60 seconds | find what keeps it from going on"
        ],
        more={"stopped": "time", "seconds": 60.0, "at": ("/nails/base", 7)},
    ),
    Wrong(
        "ends of its own",
        (at(4, "die", "no", "way"), at(5, "die", "in a subshell", depth=1), at(6, "exit", "3"), at(7, "exit", "0")),
        [
            "nails/foot:4 error[nail-die] the nail dies: no way | do what it wants",
            "nails/foot:5 warning[nail-die] the nail dies: in a subshell | do what it wants",
            "nails/foot:6 error[nail-exit] the nail ends itself with status 3 | find out why; die tells why",
            "nails/foot:7 warning[nail-exit] the nail ends here, and what follows is not read | write return to end one file only",
        ],
    ),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_a_nail_has_these_problems_and_no_others(case: Wrong) -> None:
    nail = toenail.read(recorded(*case.items, variables=case.variables, **case.more))
    told = [
        f"{each.position.file}:{each.position.line} {each.severity}[{each.code}] {each.text} | {each.mend}"
        for each in nail.problems
    ]
    assert told == case.expected
    assert (nail.spec is None) == any(" error[" in line for line in case.expected)


def test_what_is_there_and_may_not_be_read_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nail, base = str(tmp_path / "foot"), str(tmp_path / "base")
    for name in ("foot", "base", "key", "a-1-1.noarch.rpm"):
        (tmp_path / name).touch()
    events = (
        at(1, "GpgImport", "key", file=nail),
        at(2, "Rpm", "a-1-1.noarch.rpm", file=nail),
        at(3, "missing", "base", nail, file=nail),
        at(4, "missing", "none", nail, file=nail),
    )
    recording = recorded(*events, path="foot", real=nail, cwd=str(tmp_path), texts={nail: "", base: ""})
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    look = "name it as seen from this file, or from the current folder; nothing else is shown to a nail"
    assert [(each.position.line, each.text, each.mend) for each in toenail.read(recording).problems] == [
        (1, "key cannot be read: permission denied", "let it be read, or do this as who may read it"),
        (2, "a-1-1.noarch.rpm cannot be read: permission denied", "let it be read, or do this as who may read it"),
        (
            3,
            "Include finds no file 'base'",
            "it is there, and a nail may not read it: let others read it, and by no link or hidden folder",
        ),
        (4, "Include finds no file 'none'", look),
    ]


def test_a_nail_that_set_u_ends_says_which_variable() -> None:
    said = Said("/nails/foot: line 3: UNDEF: unbound variable\n")
    recording = Recording("foot", NAIL, "/", (Event("enter", (NAIL,)), said), status=1, texts={NAIL: ""})
    assert [str(each).split("\n")[0] for each in toenail.read(recording).problems] == [
        "foot:3:1: error[nail-unbound]: the nail ends here, since it says set -u: UNDEF: unbound variable"
    ]


def test_a_nail_that_ends_without_a_word_is_no_nail() -> None:
    items = (Event("enter", (NAIL,)), at(5, "log", "hello"))
    found = toenail.read(Recording("foot", NAIL, "/", items, status=0, texts={NAIL: ""}))
    assert found.spec is None
    assert [(each.code, each.position.line) for each in found.problems] == [("nail-ended", 5)]


# Records and text in one stream.

WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))), max_size=4)
EVENTS = st.builds(
    lambda kind, words, line: Event(kind, tuple(words), "/n", line),
    st.sampled_from(["Rpm", "log"]),
    WORDS,
    st.integers(0, 999),
)
SAID = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).map(Said)


def written(item: Item) -> bytes:
    if isinstance(item, Said):
        return item.text.encode()
    fields = ["", "t0ken", str(len(item.words) + 4), item.file, str(item.line), str(item.depth), item.kind, *item.words]
    return "".join(f"{field}\0" for field in fields).encode()


def joined(items: list[Item]) -> list[Item]:
    found: list[Item] = []
    for item in items:
        if isinstance(item, Said) and found and isinstance(found[-1], Said):
            found[-1] = Said(found[-1].text + item.text)
        else:
            found.append(item)
    return found


@given(st.lists(EVENTS | SAID), st.integers(1, 50))
def test_what_is_recorded_is_read_back_in_any_pieces(items: list[Item], size: int) -> None:
    stream = b"".join(map(written, items))
    splitter = Splitter("t0ken")
    found: list[Item] = []
    pieces = b""
    for begin in range(0, len(stream), size):
        got = splitter.feed(stream[begin : begin + size])
        found += [item for item in got if isinstance(item, Event)]
        pieces += b"".join(item.text.encode("utf-8", "surrogateescape") for item in got if isinstance(item, Said))
    rest = splitter.rest()
    pieces += b"".join(item.text.encode("utf-8", "surrogateescape") for item in rest if isinstance(item, Said))
    assert found == [item for item in items if isinstance(item, Event)]
    assert pieces.decode() == "".join(item.text for item in items if isinstance(item, Said))


@given(st.binary(), st.binary())
def test_any_bytes_are_taken_apart_without_an_error(before: bytes, after: bytes) -> None:
    splitter = Splitter("t0ken")
    splitter.feed(before + b"\0t0ken\0" + after)
    splitter.rest()


# Nails as TOML.

NAMES = st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True)
IDS = st.integers(0, 65534).map(str)
PATHS = st.lists(
    st.text(st.characters(exclude_characters="\0\n/:", exclude_categories=("Cs",)), min_size=1, max_size=6),
    min_size=1,
    max_size=3,
).map(lambda parts: "/" + "/".join(parts))
NVRA = st.from_regex(r"[a-z][a-z0-9+-]{0,6}-[0-9.]{1,3}-[0-9]\.(noarch|x86_64)", fullmatch=True)
GECOS = st.text(st.characters(exclude_characters="\0:\n", exclude_categories=("Cs",)))
DIRECTIVES = st.one_of(
    st.tuples(st.just("GroupAdd"), IDS, NAMES),
    st.tuples(st.just("UserAdd"), IDS, IDS | NAMES, PATHS | st.just("/"), PATHS, NAMES),
    st.tuples(st.just("Gecos"), NAMES, GECOS, GECOS),
    st.tuples(
        st.just("Mknod"), st.sampled_from("cb"), st.integers(0, 4095).map(str), st.integers(0, 99).map(str), PATHS
    ),
    st.tuples(st.just("Symlink"), PATHS, PATHS),
    st.tuples(st.just("Rpm"), NVRA.map(lambda name: f"{URL}/{name}.rpm")),
    st.tuples(st.just("GpgImport"), NVRA.map(lambda name: f"{URL}/{name}.asc")),
)


@given(st.lists(DIRECTIVES, max_size=12))
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=200)
def test_a_nail_and_its_toml_are_the_same(directives: list[tuple[str, ...]]) -> None:
    import tempfile

    nail = toenail.read(recorded(*(at(n + 1, *each) for n, each in enumerate(directives)), variables=MODULE))
    if nail.spec is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "foot.toml")
        path.write_text(nail_toml.dumps(nail.spec, nail.names, source="foot", folder=folder), encoding="utf-8")
        back = read(str(path), architecture="amd64")
    assert replace(back, sources=()) == replace(nail.spec, sources=())


def test_what_a_nail_names_beside_it_is_named_from_where_the_toml_lies(tmp_path: Path) -> None:
    for name in ("nails/rpms/a-1-1.noarch.rpm", "nails/KEY", "other/b-1-1.noarch.rpm"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    real = str(tmp_path / "nails/foot")
    events = (
        at(1, "Rpm", "rpms/a-1-1.noarch.rpm", file=real),
        at(2, "Rpm", f"file://{tmp_path}/other/b-1-1.noarch.rpm", file=real),
        at(3, "GpgImport", "KEY", file=real),
    )
    nail = toenail.read(recorded(*events, real=real, path=real, texts={}))
    assert nail.spec is not None, nail.problems
    for folder in ("nails", "other", "."):
        (tmp_path / folder / "foot.toml").write_text(
            nail_toml.dumps(nail.spec, nail.names, source="foot", folder=os.path.realpath(tmp_path / folder))
        )
        back = read(str(tmp_path / folder / "foot.toml"), architecture="amd64")
        assert replace(back, sources=(), digest="") == replace(nail.spec, sources=(), digest="")
    assert [str(request) for request in nail.spec.packages.install] == [
        "./rpms/a-1-1.noarch.rpm",
        f"{tmp_path}/other/b-1-1.noarch.rpm",
    ]
    assert digest(nail.spec, nail.names).digest == read(str(tmp_path / "nails/foot.toml"), architecture="amd64").digest
