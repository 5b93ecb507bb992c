"""`refresh` takes metadata from repositories that are what they say, and from no other."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pysequoia
import pytest

from hosier.distro import expand
from hosier.distro.rpm import archive
from hosier.distro.rpm.archive import Index, Refreshed
from hosier.errors import FetchFailed, HosierError, HostLacks, NotAuthentic, PackageInvalid, SpecInvalid
from hosier.fetch.progress import Reporter, _Quiet
from hosier.fetch.transport import Limits
from hosier.spec.lock import LockedRepo
from hosier.spec.model import Repo
from kit import http, rpms
from kit.archive import Key, new_key
from kit.http import Server
from kit.rpmmd import P
from kit.rpmrepo import COMPS, Lies, Made, compressed, make, metalink, signature

NOW = datetime.now(UTC).replace(microsecond=0)
QUICK = Limits(connect=1.0, silence=0.5, tries=2, back_off=0.01, longest_wait=0.05)
KEY, OTHER = new_key(), new_key("Other <other@example.org>")
SOON = NOW + timedelta(hours=6)
ME = KEY.fingerprint.upper()
REPOMD = "repodata/repomd.xml"
BOMB = '<!DOCTYPE metadata [<!ENTITY a "b">]>\n<metadata>&a;</metadata>'


class Heard(Reporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__(_Quiet())
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@dataclass
class World:
    """A store, a root with dnf's configuration, and what is served."""

    tmp: Path
    server: Server
    heard: Heard = field(default_factory=Heard)
    now: datetime = NOW

    @property
    def store(self) -> str:
        return str(self.tmp / "store")

    def write(self, path: str, text: str | bytes) -> str:
        where = self.tmp / "root" / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(where)

    def serve(self, at: str = "base", made: Made | None = None, *, signer: Key | None = None, **how: Any) -> Made:
        """Serve a repository under /AT."""
        made = made or make(**how)
        for path in [each for each in self.server.files if each.startswith(f"/{at}/")]:
            del self.server.files[path]
        files = dict(made.files)
        if signer is not None:
            files[f"{REPOMD}.asc"] = signature(made.repomd, signer)
        for path, content in files.items():
            self.server.files[f"/{at}/{path}"] = content
        return made

    def repo(self, *at: str, **fields: Any) -> Repo:
        uris = tuple(self.server.url(f"/{each}") for each in at or ("base",))
        return Repo(**{"name": "base", "type": "rpm", "uris": uris, "gpgcheck": False, **fields})

    def refresh(self, *repos: Repo, architecture: str = "amd64") -> Refreshed:
        found = archive.refresh(
            {architecture: repos or (self.repo(),)},
            self.store,
            reporter=self.heard,
            now=self.now.timestamp(),
            root=str(self.tmp / "root"),
            environment={},
            limits=QUICK,
        )
        return found[architecture]

    def left(self) -> list[str]:
        """What is in the store that should not be there: halves, and parts."""
        folder = Path(self.store, "indices")
        return [str(each) for each in folder.rglob("*") if each.is_file() and "." in each.name]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "root").mkdir()
    with Server() as server:
        yield World(tmp_path, server)


@pytest.mark.parametrize("compression", ["", "gz", "xz", "zst", "bz2"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_good_repository(world: World, compression: str, algorithm: str) -> None:
    made = world.serve(compression=compression, algorithm=algorithm, texts={"group": COMPS, "modules": "---\n...\n"})
    found = world.refresh(world.repo(priority=10, cost=7))
    ending = f".{compression}" if compression else ""
    url = world.server.url("/base")
    assert found.repos == (LockedRepo("base", "rpm", (url,), (), (), gpgcheck=False),)
    assert [(each.kind, each.path, each.sha256) for each in found.indices] == [
        ("repomd", REPOMD, hashlib.sha256(made.repomd).hexdigest()),
        ("primary", f"repodata/primary.xml{ending}", made.sha256("primary")),
        ("group", f"repodata/group.xml{ending}", made.sha256("group")),
        ("modules", f"repodata/modules.yaml{ending}", made.sha256("modules")),
    ]
    assert {(each.repo, each.priority, each.cost, each.architecture) for each in found.indices} == {
        ("base", 10, 7, "amd64")
    }
    texts = {each.kind: Path(each.file).read_bytes() for each in found.indices}
    expected = {kind: made.texts[kind] for kind in ("primary", "group", "modules")}
    assert texts == {"repomd": made.repomd, **expected}
    assert (found.keys, found.epoch, found.channel("base").uris) == ((), 1700000000, (url,))
    assert world.server.asked(f"/base/repodata/filelists.xml{ending}") == 0
    (lists,) = archive.filelists(found, world.store, reporter=world.heard, limits=QUICK)
    assert lists == Index(
        repo="base",
        kind="filelists",
        path=f"repodata/filelists.xml{ending}",
        sha256=made.sha256("filelists"),
        file=lists.file,
        priority=10,
        cost=7,
        architecture="amd64",
    )
    assert Path(lists.file).read_bytes() == made.texts["filelists"]
    assert archive.filelists(found, world.store, reporter=world.heard, repos=["other"]) == ()
    assert (world.left(), world.heard.warnings) == ([], [])


def test_what_the_store_has_is_not_fetched_again(world: World) -> None:
    for algorithm in ("sha256", "sha512"):
        world.serve(algorithm=algorithm)
        first = world.refresh()
        world.server.requests.clear()
        assert world.refresh() == first
        assert [each.path for each in world.server.requests] == [f"/base/{REPOMD}"]


def test_several_architectures_ask_once_for_what_is_the_same(world: World) -> None:
    world.serve()
    for arch in ("x86_64", "aarch64"):
        world.serve(f"own/{arch}", packages=[P("two", arch=arch)])
    repos = [world.repo(), world.repo("own/$basearch", name="own")]
    found = archive.refresh(
        {"amd64": repos, "arm64": repos},
        world.store,
        reporter=world.heard,
        now=world.now.timestamp(),
        root=str(world.tmp / "root"),
        environment={},
        limits=QUICK,
    )
    assert {architecture: [each.uris for each in of.repos] for architecture, of in found.items()} == {
        "amd64": [(world.server.url("/base"),), (world.server.url("/own/x86_64"),)],
        "arm64": [(world.server.url("/base"),), (world.server.url("/own/aarch64"),)],
    }
    assert world.server.asked(f"/base/{REPOMD}") == 1
    assert {index.architecture for index in found["arm64"].indices} == {"arm64"}


@dataclass
class Case:
    name: str
    prepare: Callable[[World], object]
    error: type[HosierError] | None = None
    told: str = ""
    hint: str | None = None
    repo: dict[str, Any] = field(default_factory=dict)


def expiring(world: World) -> None:
    cert = pysequoia.Cert.from_bytes(KEY.public.encode())
    soon = cert.set_expiration(SOON, KEY.secret.certifier())
    world.write("k.asc", str(soon))
    world.serve(signer=KEY)
    world.now = NOW + timedelta(days=1)


def signed_before(world: World) -> None:
    world.serve(signer=KEY)
    world.server.files[f"/base/{REPOMD}"] = world.server.files[f"/base/{REPOMD}"] + b"\n"


def served_short(world: World) -> None:
    made = world.serve()
    path = "/base/repodata/primary.xml.gz"
    world.server.files[path] = made.files[path.removeprefix("/base/")][:-10]


def corrupt(world: World) -> None:
    world.serve()
    world.server.faults["/base/repodata/primary.xml.gz"] = [http.corrupt] * 9


AGAIN = "the mirror may be within an update, or a proxy may hold an old copy: try again later"
NEWER = "the mirror may be within an update: try again later, or name another baseurl"
ANEW = "who keeps the repository makes it anew with createrepo_c"
CHECKED: dict[str, Any] = {"repo_gpgcheck": True, "signed_by": (KEY.public,)}
NO_CHECK = "repo_gpgcheck = false in the [[repo]] takes it without a check"
PRIMARY = "repodata/primary.xml.gz of base"
CASES = [
    Case("a signed one", lambda w: w.serve(signer=KEY), repo=CHECKED),
    Case(
        "a key among several", lambda w: w.serve(signer=KEY), repo=CHECKED | {"signed_by": (OTHER.public, KEY.public)}
    ),
    Case("no signature is asked for", lambda w: w.serve(signer=OTHER)),
    Case(
        "a signature of another",
        lambda w: w.serve(signer=OTHER),
        NotAuthentic,
        f"cannot trust {REPOMD} of base: it is signed by SUBKEY, and no such key is in the key block in gpgkey",
        f"name the key in gpgkey; {NO_CHECK}",
        CHECKED,
    ),
    Case(
        "no signature",
        lambda w: w.serve(),
        NotAuthentic,
        f"cannot trust {REPOMD} of base ({REPOMD}.asc: 404 Not Found): it is not signed",
        NO_CHECK,
        CHECKED,
    ),
    Case(
        "changed after it was signed",
        signed_before,
        NotAuthentic,
        f"cannot trust {REPOMD} of base: its text is not what {ME} signed, or the signature is of a kind no longer "
        "accepted",
        None,
        CHECKED,
    ),
    Case(
        "no signature, but something",
        lambda w: (w.serve(), w.server.files.update({f"/base/{REPOMD}.asc": b"yes, really"})),
        NotAuthentic,
        f"cannot trust {REPOMD} of base: its signature is damaged: unexpected eof",
        None,
        CHECKED,
    ),
    Case(
        "a key that has expired",
        expiring,
        NotAuthentic,
        f"cannot trust {REPOMD} of base: the key that signed it expired: {ME} on {SOON:%Y-%m-%d}",
        "name the newest keys of the distribution in gpgkey",
        {"repo_gpgcheck": True, "signed_by": "k.asc"},
    ),
    Case(
        "a key file that is not there",
        lambda w: w.serve(),
        NotAuthentic,
        "cannot read the key file ROOT/k.asc of base: no such file or directory",
        "look at gpgkey",
        {"gpgcheck": True, "signed_by": "k.asc"},
    ),
    Case(
        "a key file that holds none",
        lambda w: (w.serve(), w.write("k.asc", "no key")),
        NotAuthentic,
        "cannot read the key file ROOT/k.asc: unexpected eof",
        "look at gpgkey",
        {"gpgcheck": True, "signed_by": "k.asc"},
    ),
    Case(
        "packages are checked, and no key is named",
        lambda w: w.serve(),
        SpecInvalid,
        'cannot use base ([[repo]] "base"): its packages are to be checked, and it names no gpgkey',
        "name its keys in gpgkey, or say gpgcheck = false",
        {"gpgcheck": True},
    ),
    Case(
        "damaged on the way",
        corrupt,
        NotAuthentic,
        f"cannot fetch {PRIMARY}: URL/base/repodata/primary.xml.gz: sha256 is FOUND, expected SHA256",
        AGAIN,
    ),
    Case(
        "cut short",
        served_short,
        NotAuthentic,
        f"cannot fetch {PRIMARY}: URL/base/repodata/primary.xml.gz: SIZE bytes, expected SIZE",
        AGAIN,
    ),
    Case(
        "a wrong digest",
        lambda w: w.serve(lies=Lies(digest=["primary"])),
        NotAuthentic,
        f"cannot fetch {PRIMARY}: URL/base/repodata/primary.xml.gz: sha256 is FOUND, expected SHA256",
        AGAIN,
    ),
    Case(
        "a wrong digest of another kind",
        lambda w: w.serve(lies=Lies(digest=["primary"]), algorithm="sha512"),
        NotAuthentic,
        f"cannot fetch {PRIMARY}: URL/base/repodata/primary.xml.gz: sha512 is FOUND, expected SHA256",
        AGAIN,
    ),
    Case(
        "a wrong digest of the text",
        lambda w: w.serve(lies=Lies(text=["primary"])),
        NotAuthentic,
        f"cannot fetch {PRIMARY}: its text's sha256 is FOUND, expected SHA256",
        AGAIN,
    ),
    Case(
        "a wrong size",
        lambda w: w.serve(lies=Lies(size={"primary": 10})),
        NotAuthentic,
        f"cannot fetch {PRIMARY}: URL/base/repodata/primary.xml.gz: SIZE bytes, expected SIZE",
        AGAIN,
    ),
    Case(
        "a text that is longer than it says",
        lambda w: w.serve(lies=Lies(expanded={"primary": 10})),
        NotAuthentic,
        f"cannot decompress {PRIMARY}: it gives more than 10 bytes",
    ),
    Case(
        "an absurd size",
        lambda w: w.serve(lies=Lies(size={"primary": 1 << 50})),
        NotAuthentic,
        f"cannot read {REPOMD} of base: the size of primary is '{1 << 50}', and at most {1 << 30} bytes are read",
        NEWER,
    ),
    Case(
        "not listed as it is compressed",
        lambda w: w.serve(made=_mislabelled()),
        NotAuthentic,
        f"cannot decompress {PRIMARY}: Error -3 while decompressing data: incorrect header check",
    ),
    Case(
        "entities in primary",
        lambda w: w.serve(texts={"primary": BOMB}),
        NotAuthentic,
        f"cannot read {PRIMARY}: line 1: it declares what its words stand for (a DOCTYPE)",
        ANEW,
    ),
    Case(
        "primary that ends early",
        lambda w: w.serve(texts={"primary": "<metadata><package>"}),
        NotAuthentic,
        f"cannot read {PRIMARY}: line 1: no element found",
        ANEW,
    ),
    Case(
        "primary that is something else",
        lambda w: w.serve(texts={"primary": "<html/>"}),
        NotAuthentic,
        f"cannot read {PRIMARY}: line 1: the document is <html>, expected <metadata>",
        ANEW,
    ),
    Case(
        "entities in groups",
        lambda w: w.serve(texts={"group": BOMB.replace("metadata", "comps")}),
        NotAuthentic,
        "cannot read repodata/group.xml.gz of base: line 1: it declares what its words stand for (a DOCTYPE)",
        "who keeps the repository makes it anew",
    ),
    Case(
        "modules that are damaged",
        lambda w: w.serve(texts={"modules": "---\ndocument: *alias\n"}),
        NotAuthentic,
        "cannot read repodata/modules.yaml.gz of base: line 2: an alias ('*alias') is not read",
        "module_hotfixes = true in the [[repo]] takes its packages without regard to modules",
    ),
    Case(
        "modules that are damaged, and not used",
        lambda w: w.serve(texts={"modules": "---\ndocument: *alias\n"}),
        repo={"module_hotfixes": True},
    ),
    Case(
        "listed, and not there",
        lambda w: w.serve(lies=Lies(absent=["primary"])),
        FetchFailed,
        f"cannot fetch {PRIMARY}: URL/base/repodata/primary.xml.gz: 404 Not Found",
        "name more origins ([[origin]] or --origin), or look at the network and try again",
    ),
    Case(
        "no repository",
        lambda w: None,
        FetchFailed,
        f"cannot fetch {REPOMD} of base: URL/base: 404 Not Found",
        'look at [[repo]] "base" and at the network',
    ),
    Case(
        "a page instead of repomd.xml",
        lambda w: w.server.files.update({f"/base/{REPOMD}": b"<html></html>"}),
        NotAuthentic,
        f"cannot read {REPOMD} of base: line 1: the document is <html>, expected <repomd>",
        NEWER,
    ),
    Case(
        "a variable without a value",
        lambda w: w.serve(),
        SpecInvalid,
        'cannot use baseurl of base ([[repo]] "base"): the variable $releasever has no value',
        'say releasever = "…" in the [[repo]]',
        {"uris": ("https://example.org/$releasever/os",)},
    ),
    Case(
        "no place at all",
        lambda w: None,
        SpecInvalid,
        'cannot use [[repo]] "base": it has neither baseurl, mirrorlist nor metalink',
        'write baseurl = "https://…", or source = "host" on a machine with dnf',
        {"uris": ()},
    ),
]


def _mislabelled() -> Made:
    return make(texts={"primary": "<metadata/>"}, compression="gz").__class__(
        **_swapped(make(texts={"primary": "<metadata/>"}, compression="xz"))
    )


def _swapped(made: Made) -> dict[str, Any]:
    files = {path.replace(".xz", ".gz"): content for path, content in made.files.items()}
    files[REPOMD] = files[REPOMD].replace(b".xz", b".gz")
    return {"files": files, "texts": made.texts}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_taken_and_what_is_not(world: World, case: Case) -> None:
    case.prepare(world)
    fields = dict(case.repo)
    if isinstance(fields.get("signed_by"), str):
        fields["signed_by"] = (str(world.tmp / "root" / fields["signed_by"]),)
    if case.error is None:
        found = world.refresh(world.repo(**fields))
        assert {each.kind for each in found.indices} == {"repomd", "primary"}
        return
    for _ in range(2):  # nothing of the first try is of use to the second
        with pytest.raises(case.error) as raised:
            world.refresh(world.repo(**fields))
        assert (_plain(world, str(raised.value)), raised.value.hint) == (_plain(world, case.told), case.hint)
    kept = [path for path in Path(world.store, "indices").glob("*") if path.is_file()]
    texts = [path.read_bytes() for path in kept if not path.name.endswith(".part")]
    assert all(text.lstrip().startswith((b"<?xml", b"<repomd")) and b"<html" not in text for text in texts)


def _plain(world: World, text: str) -> str:
    import re

    text = text.replace(world.server.url(""), "URL").replace(str(world.tmp / "root"), "ROOT")
    text = re.sub(r"[0-9]+ bytes, expected [0-9]+", "SIZE bytes, expected SIZE", text)
    text = re.sub(r"signed by [0-9A-F]{40}, and", "signed by SUBKEY, and", text)
    return re.sub(r"is [0-9a-f]{64,128}, expected [0-9a-f]{64,128}", "is FOUND, expected SHA256", text)


def test_the_keys_are_in_the_lock(world: World) -> None:
    world.serve(signer=KEY)
    path = world.write("keys.asc", KEY.public + OTHER.public)
    found = world.refresh(world.repo(gpgcheck=True, repo_gpgcheck=True, signed_by=(path, KEY.public)))
    assert [(each.repo, each.fingerprint) for each in found.keys] == sorted(
        ("base", each.fingerprint.upper()) for each in (KEY, OTHER)
    )
    assert found.repos[0].gpgcheck
    import base64

    for each in found.keys:
        assert pysequoia.Cert.from_bytes(base64.b64decode(each.data)).fingerprint.upper() == each.fingerprint


def test_an_older_state_than_one_seen_is_refused_by_name(world: World) -> None:
    signed = {"repo_gpgcheck": True, "signed_by": (KEY.public,)}
    new, old = 1_700_000_000, 1_600_000_000
    world.serve(time=new, signer=KEY)
    assert world.refresh(world.repo(**signed)).epoch == new
    world.serve(time=old, signer=KEY)
    with pytest.raises(NotAuthentic) as raised:
        world.refresh(world.repo(**signed))
    assert (str(raised.value), raised.value.hint) == (
        f"cannot trust {REPOMD} of base: it is of 2020-09-13 12:26:40 UTC, and one of 2023-11-14 22:13:20 UTC was seen "
        "before",
        "the mirror serves an older state; allow-expired = true in the [[repo]] takes it nevertheless",
    )
    # Another mirror has the newer one.
    world.serve("other", time=new, signer=KEY)
    assert world.refresh(world.repo("base", "other", **signed)).epoch == new
    assert [each.split("; ")[0] for each in world.heard.warnings] == [
        f"base: {world.server.url('/base')} was not used: {raised.value}"
    ]
    # What another key signed, or nobody, says nothing of this one's.
    world.serve(time=new, signer=OTHER)
    assert world.refresh(world.repo(repo_gpgcheck=True, signed_by=(OTHER.public,))).epoch == new
    world.serve(time=old, signer=KEY)
    assert world.refresh(world.repo(**signed)).epoch == old
    world.serve(time=new)
    assert world.refresh().epoch == new
    world.serve(time=old)
    assert world.refresh().epoch == old


def test_an_older_state_is_taken_when_that_is_asked_for(world: World) -> None:
    signed = {"repo_gpgcheck": True, "signed_by": (KEY.public,)}
    for when in (1_700_000_000, 1_600_000_000):
        world.serve(time=when, signer=KEY)
        found = world.refresh(world.repo(**signed, allow_expired=True))
        assert found.epoch == when
    assert world.refresh(world.repo(**signed)).epoch == 1_600_000_000


def test_keys_of_urls(world: World) -> None:
    world.serve()
    world.server.files["/key"] = KEY.public.encode()
    local = "file://" + world.write("k.asc", OTHER.public)
    url = world.server.url("/key")
    found = world.refresh(world.repo(gpgcheck=True, signed_by=(url, local)))
    assert {each.fingerprint for each in found.keys} == {ME, OTHER.fingerprint.upper()}
    assert world.heard.warnings == [
        f"base: the key {url} came over a way that anybody can change; compare its fingerprint in the lock"
    ]
    del world.server.files["/key"]
    with pytest.raises(FetchFailed) as raised:
        world.refresh(world.repo(gpgcheck=True, signed_by=(url,)))
    assert str(raised.value) == f"cannot fetch the key {url} of base: 404 Not Found"


def test_the_first_place_that_serves_is_used(world: World) -> None:
    world.serve("second")
    world.serve("third")
    found = world.refresh(world.repo("first", "second", "third"))
    assert found.repos[0].uris == tuple(world.server.url(f"/{each}") for each in ("first", "second", "third"))
    assert world.server.asked("/second/repodata/primary.xml.gz") == 1
    assert world.heard.warnings == [f"base: {world.server.url('/first')} was not used: 404 Not Found"]


def test_a_place_that_is_within_an_update_is_passed_over(world: World) -> None:
    world.serve("first", lies=Lies(absent=["primary"]))
    world.serve("second")
    found = world.refresh(world.repo("first", "second"))
    assert Path(found.indices[1].file).exists()


def test_all_places_are_told(world: World) -> None:
    with pytest.raises(FetchFailed) as raised:
        world.refresh(world.repo("first", "second"))
    url = world.server.url
    assert str(raised.value) == (
        f"cannot fetch {REPOMD} of base: no mirror gave it\n  {url('/first')}: 404 Not Found\n"
        f"  {url('/second')}: 404 Not Found"
    )


def test_passing_failures_are_tried_again(world: World) -> None:
    world.serve()
    world.server.faults[f"/base/{REPOMD}"] = [http.status(503)]
    world.server.faults["/base/repodata/primary.xml.gz"] = [http.cut(10)]
    assert world.refresh().indices


def test_a_mirrorlist(world: World) -> None:
    world.serve("b")
    url = world.server.url
    world.server.files["/list"] = f"# repo\n{url('/a')}/\n{url('/b')}/\n".encode()
    found = world.refresh(world.repo(uris=(), mirrorlist=url("/list")))
    assert found.repos[0].uris == (url("/a"), url("/b"))
    assert world.server.asked("/b/repodata/primary.xml.gz") == 1


def test_a_mirrorlist_that_fails_leaves_the_baseurl(world: World) -> None:
    world.serve()
    url = world.server.url
    world.refresh(world.repo(mirrorlist=url("/none")))
    assert world.heard.warnings == [
        f"cannot fetch the mirrorlist of base: {url('/none')}: 404 Not Found; only baseurl is used"
    ]
    with pytest.raises(FetchFailed, match=r"^cannot fetch the mirrorlist of base"):
        world.refresh(world.repo(uris=(), mirrorlist=url("/none")))


def test_a_metalink_says_which_repomd_is_right(world: World) -> None:
    old, new = make(time=1600000000), make(time=1700000000)
    world.serve("old", old)
    url = world.server.url
    world.server.files["/link"] = metalink([url("/old"), url("/new")], new.repomd)
    repo = world.repo(uris=(), metalink=url("/link"))
    with pytest.raises(NotAuthentic, match="it is none of those that the metalink tells the digests of"):
        world.refresh(repo)
    world.serve("new", new)
    assert world.refresh(repo).epoch == 1700000000
    # a baseurl beside it is held to the same, and a metalink that cannot be had is not done without
    found = world.refresh(world.repo("old", metalink=url("/link")))
    assert (found.epoch, found.repos[0].uris) == (1700000000, (url("/old"), url("/new")))
    why = f"cannot trust {REPOMD} of base: it is none of those that the metalink tells the digests of"
    assert world.heard.warnings == [f"base: {url('/old')} was not used: {why}"] * 2
    del world.server.files["/link"]
    with pytest.raises(FetchFailed, match=r"^cannot fetch the metalink of base"):
        world.refresh(world.repo("new", metalink=url("/link")))


def test_the_metalink_is_a_defence(world: World) -> None:
    """The positive control: without it, the old state is taken."""
    world.serve("old", make(time=1600000000))
    assert world.refresh(world.repo("old")).epoch == 1600000000


# the host's own


def test_the_host(world: World) -> None:
    url = world.server.url
    for at in ("os/9.4/x86_64", "extra"):
        world.serve(at)
    world.server.files["/list9"] = url("/extra").encode()
    world.write("etc/dnf/dnf.conf", "[main]\ngpgcheck=1\nexcludepkgs=bad*\n")
    world.write("etc/dnf/vars/kind", "os\nmore\n")
    world.write("etc/os-release", 'ID="example"\nID_LIKE="rhel fedora"\nVERSION_ID="9.4"\n')
    world.write("etc/pki/key", KEY.public)
    world.write(
        "etc/yum.repos.d/a.repo",
        f"[baseos]\nbaseurl={url('')}/$kind/$releasever/$basearch/\ngpgkey=file:///etc/pki/key\npriority=5\n"
        f"[off]\nenabled=0\n[extra]\nmirrorlist={url('')}/list$releasever_major\ngpgcheck=0\nmodule_hotfixes=1\n",
    )
    found = world.refresh(Repo("host", type="rpm", source="host"))
    assert found.repos == (
        LockedRepo("baseos", "rpm", (url("/os/9.4/x86_64"),), (), (), gpgcheck=True),
        LockedRepo("extra", "rpm", (url("/extra"),), (), (), gpgcheck=False),
    )
    assert [(each.repo, each.fingerprint) for each in found.keys] == [("baseos", ME)]
    base, extra = found.channels
    assert (base.priority, base.exclude, base.module_hotfixes) == (5, ("bad*",), False)
    assert (extra.priority, extra.exclude, extra.module_hotfixes) == (99, ("bad*",), True)


def test_the_release_of_the_package_database_counts(world: World) -> None:
    provides = ["system-release = 9.4", "system-release(releasever) = 9"]
    header = rpms.split(rpms.build("example-release", "9.4", provides=provides)).main
    path = Path(world.write("var/lib/rpm/rpmdb.sqlite", b""))
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
        database.execute("CREATE TABLE Providename (key TEXT, hnum INTEGER, idx INTEGER)")
        database.execute("INSERT INTO Packages VALUES (1, ?)", (header[8:],))
        database.execute("INSERT INTO Providename VALUES ('system-release(releasever)', 1, 0)")
    database.close()
    world.write("etc/os-release", "ID=rhel\nVERSION_ID=9.4\n")
    world.serve("9")
    assert world.refresh(world.repo("$releasever")).repos[0].uris == (world.server.url("/9"),)
    world.write("etc/dnf/vars/releasever", "8")
    world.serve("8")
    assert world.refresh(world.repo("$releasever")).repos[0].uris == (world.server.url("/8"),)
    world.serve("7")
    assert world.refresh(world.repo("$releasever", releasever="7")).repos[0].uris == (world.server.url("/7"),)


def test_another_family_is_no_release(world: World) -> None:
    world.write("etc/os-release", "ID=debian\nVERSION_ID=12\n")
    with pytest.raises(SpecInvalid, match="releasever has no value"):
        world.refresh(world.repo("$releasever"))


def test_a_host_without_repositories(world: World) -> None:
    with pytest.raises(HostLacks) as raised:
        world.refresh(Repo("host", type="rpm", source="host"))
    assert str(raised.value) == (
        'cannot use the host\'s repositories for [[repo]] "host": its dnf has none that is enabled'
    )


# folders


@pytest.fixture
def folder(world: World) -> str:
    place = world.tmp / "packages"
    (place / "deep").mkdir(parents=True)
    rpms.write(
        place,
        "one",
        "1",
        files={"/usr/bin/one": rpms.File(b"x")},
        requires=["two >= 1:2-3", "(three or four)"],
        epoch=2,
    )
    rpms.write(place / "deep", "two", "2", arch="x86_64", summary="a < b & c \x01")
    rpms.write(place, "one", "1", arch="src", source=True)
    (place / "readme.txt").write_text("no package")
    return str(place)


def test_a_plain_folder(world: World, folder: str) -> None:
    found = world.refresh(world.repo(uris=(f"file://{folder}",)))
    (index,) = found.indices
    assert (index.kind, index.path) == ("primary", "primary.xml")
    assert found.repos[0].uris == (f"file://{folder}",)
    text = Path(index.file).read_text()
    assert hashlib.sha256(text.encode()).hexdigest() == index.sha256
    for part in (
        'packages="2"',
        '<location href="deep/two-2-1.x86_64.rpm"/>',
        '<location href="one-1-1.noarch.rpm"/>',
        '<version epoch="2" ver="1" rel="1"/>',
        '<rpm:entry name="two" flags="GE" epoch="1" ver="2" rel="3"/>',
        '<rpm:entry name="(three or four)"/>',
        "<file>/usr/bin/one</file>",
        "<summary>a &lt; b &amp; c </summary>",
        hashlib.sha256(Path(folder, "one-1-1.noarch.rpm").read_bytes()).hexdigest(),
    ):
        assert part in text
    assert "rpmlib(" not in text
    assert archive.filelists(found, world.store, reporter=world.heard) == ()


def test_a_plain_folder_is_read_again_when_it_changed(world: World, folder: str) -> None:
    repo = world.repo(uris=(f"file://{folder}",))
    first = world.refresh(repo)
    assert world.refresh(repo) == first
    rpms.write(folder, "three", "1")
    assert world.refresh(repo).indices[0].sha256 != first.indices[0].sha256
    os.unlink(f"{folder}/three-1-1.noarch.rpm")
    assert world.refresh(repo) == first


def test_libsolv_reads_what_is_made_of_a_folder(world: World, folder: str) -> None:
    import solv

    (index,) = world.refresh(world.repo(uris=(f"file://{folder}",))).indices
    pool = solv.Pool()
    pool.setarch("x86_64")
    repo = pool.add_repo("base")
    opened = solv.xfopen(index.file)
    assert repo.add_rpmmd(opened, None, 0)
    opened.close()
    assert sorted(str(each) for each in repo.solvables) == ["one-2:1-1.noarch", "two-2-1.x86_64"]


def test_package_files(world: World, folder: str) -> None:
    found = world.refresh(world.repo(uris=(f"file://{folder}/one-1-1.noarch.rpm",)))
    assert found.repos[0].uris == (f"file://{folder}",)
    assert 'packages="1"' in Path(found.indices[0].file).read_text()
    found = world.refresh(
        world.repo(uris=(f"file://{folder}/one-1-1.noarch.rpm", f"file://{folder}/deep/two-2-1.x86_64.rpm"))
    )
    assert found.repos[0].uris == (f"file://{folder}",)
    assert 'href="deep/two-2-1.x86_64.rpm"' in Path(found.indices[0].file).read_text()


def test_folders_that_are_refused(world: World, folder: str) -> None:
    repo = world.repo(uris=(f"file://{folder}",))
    with pytest.raises(NotAuthentic) as trust:
        world.refresh(world.repo(uris=repo.uris, repo_gpgcheck=True, signed_by=(KEY.public,)))
    assert str(trust.value) == (f"cannot trust {folder}, which base is: it has no repodata that could be signed")
    (world.tmp / "empty").mkdir()
    with pytest.raises(FetchFailed) as empty:
        world.refresh(world.repo(uris=(f"file://{world.tmp}/empty",)))
    assert str(empty.value) == (f"cannot use {world.tmp}/empty, which base is: it has neither repodata nor packages")
    Path(folder, "zero.rpm").write_bytes(b"\0" * 200)
    with pytest.raises(PackageInvalid) as damaged:
        world.refresh(repo)
    assert str(damaged.value) == "cannot read zero.rpm: it is not an RPM package"


def test_a_folder_with_metadata(world: World) -> None:
    made = make(compression="xz")
    for path, content in made.files.items():
        where = world.tmp / "made" / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(content)
    found = world.refresh(world.repo(uris=(f"file://{world.tmp}/made",)))
    assert [each.kind for each in found.indices] == ["repomd", "primary"]
    assert Path(found.indices[1].file).read_bytes() == made.texts["primary"]


def test_a_large_text_that_says_no_size_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "text_max", lambda kind: 10_000)
    world.serve(texts={"primary": "<metadata>" + " " * 20_000 + "</metadata>"}, sizes=False)
    with pytest.raises(NotAuthentic, match="it gives more than 10000 bytes"):
        world.refresh()
    world.serve(texts={"primary": "<metadata>" + " " * 20_000 + "</metadata>"})
    with pytest.raises(NotAuthentic, match=r"it is to give 20021 bytes, and of [0-9]+ no more than 10000 are read"):
        world.refresh()
    assert len(compressed(b" " * 20_000, "gz")) < 200


@pytest.mark.parametrize("compression", ["gz", "xz", "zst", "bz2"])
@pytest.mark.parametrize("sizes", [True, False])
def test_a_bomb_is_refused_by_name(world: World, compression: str, sizes: bool) -> None:
    """Before all of it is written, whether its size is told or not. Of gzip, a thousand to one is all that there is."""
    text = b"<metadata>" + b" " * (16 << 20)
    made = world.serve(texts={"primary": text}, compression=compression, sizes=sizes)
    path = f"repodata/primary.xml.{compression}"
    size = len(made.files[path])
    limit = size * 1000 + (1 << 20)
    with pytest.raises(NotAuthentic) as raised:
        world.refresh()
    if compression == "gz":
        reason = f"cannot read {path} of base: line 1: no element found"
    elif sizes:
        told = f"it is to give {len(text)} bytes, and of {size} no more than {limit} are read"
        reason = f"cannot decompress {path} of base: {told}"
    else:
        reason = f"cannot decompress {path} of base: it gives more than {limit} bytes"
    assert (str(raised.value), world.left()) == (reason, [])


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2"])
def test_a_file_of_nothing_but_beginnings_is_refused(world: World, compression: str) -> None:
    file = world.tmp / "packed"
    empty = compressed(b"", compression)
    for count, told in ((50, ""), (100_000, "it is of more streams, one after another, than files are made of")):
        file.write_bytes(empty * count)
        began = time.process_time()
        with pytest.raises(NotAuthentic) if told else contextlib.nullcontext() as raised:
            expand.expand(str(file), str(world.tmp / "text"), kind=compression, size=None, name="it")
        assert not told or str(raised.value) == f"cannot decompress it: {told}"
        assert time.process_time() - began < 3


def test_a_decoder_takes_no_more_memory_than_it_should(world: World) -> None:
    """An xz file of some bytes that wants a dictionary of 1.5 GiB."""
    text = b"<metadata/>"
    packed = lzma.compress(text, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 3 << 29}])
    assert lzma.decompress(packed) == text
    file = world.tmp / "primary.xml.xz"
    file.write_bytes(packed)
    with pytest.raises(NotAuthentic, match="cannot decompress it: Memory usage limit"):
        expand.expand(str(file), str(world.tmp / "primary.xml"), kind="xz", size=None, name="it")
