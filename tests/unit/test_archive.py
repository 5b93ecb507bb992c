"""`refresh` takes indices from archives that are what they say, and from no other."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pysequoia
import pytest

from hosier.distro.deb.archive import Index, Refreshed, refresh
from hosier.errors import FetchFailed, HosierError, HostLacks, NotAuthentic, SpecInvalid, StoreFailed
from hosier.fetch.progress import Reporter, _Quiet
from hosier.fetch.transport import Limits
from hosier.spec.lock import LockedRepo
from hosier.spec.model import Repo
from kit import http
from kit.archive import Archive, Key, Lies, archive_key, make_archive, new_key, sign
from kit.debs import build_deb
from kit.http import Server

NOW = datetime.now(UTC).replace(microsecond=0)
QUICK = Limits(connect=1.0, silence=0.5, tries=2, back_off=0.01, longest_wait=0.05)
MAIN = "main/binary-amd64"


class Heard(Reporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__(_Quiet())
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("debs") / "one.deb")
    build_deb(path, "one", "1")
    return path


@dataclass
class World:
    """A store, a root with apt's configuration, and one served archive."""

    tmp: Path
    server: Server
    package: str
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

    def archive(self, at: str = "debian", **how: Any) -> Archive:
        """Make an archive and serve it under /AT."""
        how = {"date": NOW - timedelta(days=1)} | how
        made = make_archive(self.tmp / at, [self.package], **how)
        self.serve(at)
        return made

    def serve(self, at: str = "debian") -> None:
        for path in [each for each in self.server.files if each.startswith(f"/{at}/")]:
            del self.server.files[path]
        for folder, _, names in os.walk(self.tmp / at):
            for name in names:
                path = os.path.join(folder, name)
                self.server.files[f"/{os.path.relpath(path, self.tmp)}"] = Path(path).read_bytes()

    def repo(self, *at: str, **fields: Any) -> Repo:
        where = {"uris": tuple(self.server.url(f"/{each}") for each in at or ("debian",)), "suites": ("stable",)}
        if "signed_by" not in fields:
            fields["signed_by"] = (archive_key().public,)
        return Repo("debian", **{**where, "components": ("main",), **fields})

    def refresh(self, *repos: Repo, architecture: str = "amd64") -> Refreshed:
        found = refresh(
            {architecture: repos or (self.repo(),)},
            self.store,
            reporter=self.heard,
            now=self.now.timestamp(),
            root=str(self.tmp / "root"),
            environment={},
            limits=QUICK,
        )
        return found[architecture]


@pytest.fixture
def world(tmp_path: Path, package: str) -> Iterator[World]:
    (tmp_path / "root").mkdir()
    with Server() as server:
        yield World(tmp_path, server, package)


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_good_archive(world: World) -> None:
    made = world.archive()
    found = world.refresh()
    digest = sha256(f"{made.dist}/{MAIN}/Packages.xz")
    text = Path(world.store, "indices", digest)
    place = f"dists/stable/{MAIN}/Packages.xz"
    assert found.indices == (Index("debian", "stable", "main", "amd64", place, digest, str(text), 500),)
    assert found.repos == (LockedRepo("debian", "deb", (world.server.url("/debian"),), ("stable",), ("main",)),)
    assert found.epoch == int((NOW - timedelta(days=1)).timestamp())
    assert [(each.repo, each.fingerprint) for each in found.keys] == [("debian", archive_key().fingerprint.upper())]
    assert text.read_text().startswith("Package: one\n")
    assert world.server.asked(f"/debian/dists/stable/{MAIN}/by-hash/SHA256/{digest}") == 1
    # What is in the store is not fetched again, and an unchanged InRelease costs no body.
    world.server.requests.clear()
    assert world.refresh() == found
    assert [each.path for each in world.server.requests] == ["/debian/dists/stable/InRelease"]
    assert "if-none-match" in world.server.requests[0].headers
    left = sorted(os.path.relpath(os.path.join(a, b), world.store) for a, _, c in os.walk(world.store) for b in c)
    assert [re.sub("[0-9a-f]{64}", "X", each) for each in left] == ["indices/X", "indices/release/X", "locks/refresh"]


def key_expires(world: World) -> None:
    """The archive's key expires in half a day, and now is later."""
    secret = archive_key().secret
    cert = pysequoia.Cert.from_bytes(archive_key().public.encode())
    soon = cert.set_expiration(NOW + timedelta(hours=12), secret.certifier())
    world.write("k.asc", str(soon))
    world.now = NOW + timedelta(days=1)


def detached(world: World, keys: list[Key], *, flaw: bool = False) -> None:
    """Release with Release.gpg instead of InRelease."""
    made = world.archive(lies=Lies(unsigned=True))
    signatures = b"".join(
        pysequoia.sign(key.secret.signer(), made.release, mode=pysequoia.SignatureMode.DETACHED, armor=False)
        for key in keys
    )
    Path(made.dist, "Release.gpg").write_bytes(signatures)
    if flaw:
        Path(made.dist, "Release").write_bytes(made.release + b"X: y\n")
    world.serve()


def two_signatures(world: World) -> None:
    detached(world, [OTHER, archive_key()])


@dataclass
class Case:
    name: str
    prepare: Callable[[World], object]
    error: type[HosierError] | None = None
    told: str = ""
    repo: dict[str, Any] = field(default_factory=dict)
    allow: dict[str, Any] | None = None
    """The switch with which it is taken; None: none does."""


OTHER = new_key("Other <other@example.org>")
ME = archive_key().fingerprint.upper()
RELEASE = "the Release of stable of debian"
DAY = timedelta(days=1)
CASES = [
    Case(
        "a key in a file", lambda w: (w.archive(), w.write("k.asc", archive_key().public)), repo={"signed_by": "k.asc"}
    ),
    Case(
        "a binary key in a file",
        lambda w: (
            w.archive(),
            w.write("k.gpg", bytes(pysequoia.Cert.from_bytes(archive_key().public.encode()))),
        ),
        repo={"signed_by": "k.gpg"},
    ),
    Case(
        "the trusted folder",
        lambda w: (w.archive(), w.write("etc/apt/trusted.gpg.d/a.asc", OTHER.public + archive_key().public)),
        repo={"signed_by": ()},
    ),
    Case(
        "a key of the trusted folder is not enough where signed-by names another",
        lambda w: (w.archive(), w.write("etc/apt/trusted.gpg.d/a.asc", archive_key().public)),
        NotAuthentic,
        f"cannot trust {RELEASE}: it is signed by KEY, and no such key is in the key block in signed-by",
        repo={"signed_by": (OTHER.public,)},
        allow={"allow_unsigned": True},
    ),
    Case(
        "no keys at all",
        World.archive,
        NotAuthentic,
        f"cannot trust {RELEASE}: it is signed by KEY, and no such key is in the trusted folder of apt, "
        "which holds no key",
        repo={"signed_by": ()},
        allow={"allow_unsigned": True},
    ),
    Case(
        "a fingerprint that fits",
        lambda w: (w.archive(), w.write("etc/apt/trusted.gpg.d/a.asc", archive_key().public)),
        repo={"signed_by": (ME,)},
    ),
    Case(
        "a fingerprint that does not",
        lambda w: (w.archive(), w.write("etc/apt/trusted.gpg.d/a.asc", archive_key().public + OTHER.public)),
        NotAuthentic,
        f"cannot trust {RELEASE}: it is not signed by a key that signed-by names: {OTHER.fingerprint}",
        repo={"signed_by": (OTHER.fingerprint.upper(),)},
        allow={"allow_unsigned": True},
    ),
    Case(
        "a key file that is not there",
        World.archive,
        NotAuthentic,
        "cannot read the key file ROOT/none.asc: no such file or directory",
        repo={"signed_by": "none.asc"},
        allow={"allow_unsigned": True},
    ),
    Case(
        "a key file without a key",
        lambda w: (w.archive(), w.write("k.asc", "")),
        NotAuthentic,
        "cannot read the key file ROOT/k.asc: it holds no key",
        repo={"signed_by": "k.asc"},
        allow={"allow_unsigned": True},
    ),
    Case(
        "tampered with",
        lambda w: w.archive(lies=Lies(broken_signature=True)),
        NotAuthentic,
        f"cannot trust {RELEASE}: its text is not what {ME} signed, or the signature is of a kind no longer accepted",
    ),
    Case(
        "not signed",
        lambda w: w.archive(lies=Lies(unsigned=True)),
        NotAuthentic,
        f"cannot trust {RELEASE}: it is not signed",
        allow={"allow_unsigned": True},
    ),
    Case("signed apart", lambda w: detached(w, [archive_key()])),
    Case("signed apart, by several of which one is known", two_signatures),
    Case(
        "signed apart, by another",
        lambda w: detached(w, [OTHER]),
        NotAuthentic,
        f"cannot trust {RELEASE}: it is signed by KEY, and no such key is in the key block in signed-by",
        allow={"allow_unsigned": True},
    ),
    Case(
        "signed apart, and tampered with",
        lambda w: detached(w, [archive_key()], flaw=True),
        NotAuthentic,
        f"cannot trust {RELEASE}: its text is not what {ME} signed, or the signature is of a kind no longer accepted",
    ),
    Case(
        "an expired key",
        lambda w: (w.archive(), key_expires(w)),
        NotAuthentic,
        f"cannot trust {RELEASE}: the key that signed it expired: {ME} on {NOW + timedelta(hours=12):%Y-%m-%d}",
        repo={"signed_by": "k.asc"},
        allow={"allow_expired": True},
    ),
    Case(
        "past its Valid-Until",
        lambda w: w.archive(date=NOW - 9 * DAY, valid_until=NOW - DAY),
        NotAuthentic,
        f"cannot trust {RELEASE}: it was valid until {NOW - DAY:%Y-%m-%d %H:%M:%S} UTC",
        allow={"allow_expired": True},
    ),
    Case("before its Valid-Until", lambda w: w.archive(valid_until=NOW + DAY)),
    Case(
        "from the future",
        lambda w: w.archive(date=NOW + DAY),
        NotAuthentic,
        f"cannot trust {RELEASE}: it is from the future, {NOW + DAY:%Y-%m-%d %H:%M:%S} UTC",
    ),
    Case(
        "not there",
        lambda w: None,
        FetchFailed,
        f"cannot fetch {RELEASE}: URI/debian: InRelease: 404 Not Found",
    ),
    Case(
        "no such component",
        World.archive,
        SpecInvalid,
        "cannot use stable of debian: it has no component extra, only main",
        repo={"components": ("extra",)},
    ),
    Case(
        "no such architecture",
        lambda w: w.archive(architecture="arm64"),
        SpecInvalid,
        "cannot use stable of debian: it has no packages for amd64, only for arm64",
    ),
    Case(
        "a digest that is a lie",
        lambda w: w.archive(lies=Lies(index_digest=True), by_hash=False),
        NotAuthentic,
        f"cannot fetch dists/stable/{MAIN}/Packages.xz of debian: URI/debian/dists/stable/{MAIN}/Packages.xz: "
        "sha256 is HEX, expected HEX",
    ),
    Case(
        "a size that is a lie",
        lambda w: w.archive(lies=Lies(index_size=3), by_hash=False),
        NotAuthentic,
        f"cannot fetch dists/stable/{MAIN}/Packages.xz of debian: URI/debian/dists/stable/{MAIN}/Packages.xz: "
        "N bytes, expected N",
    ),
    Case("gzip", lambda w: w.archive(compressions=("gz",))),
    Case("zstd", lambda w: w.archive(compressions=("zst", "gz"))),
    Case("plain", lambda w: w.archive(compressions=("",))),
    Case("no by-hash", lambda w: w.archive(by_hash=False)),
]


def with_files(repo: dict[str, Any], world: World) -> dict[str, Any]:
    named = repo.get("signed_by")
    return repo | {"signed_by": (str(world.tmp / "root" / named),)} if isinstance(named, str) else repo


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_trusted(case: Case, world: World) -> None:
    case.prepare(world)
    fields = with_files(case.repo, world)
    if case.error is None:
        (index,) = world.refresh(world.repo(**fields)).indices
        assert Path(index.file).read_text().startswith("Package: one\n")
        return
    with pytest.raises(HosierError) as raised:
        world.refresh(world.repo(**fields))
    told = str(raised.value).replace(str(world.tmp / "root"), "ROOT").replace(world.server.url(""), "URI")
    told = re.sub(r"signed by [0-9A-F]{40}(?=,)", "signed by KEY", told)
    if "HEX" in case.told:
        told = re.sub(r"\b[0-9a-f]{64}\b", "HEX", told)
    if "N bytes" in case.told:
        told = re.sub(r"\d+(?= bytes)|(?<=expected )\d+", "N", told)
    assert told == case.told
    assert isinstance(raised.value, case.error)
    for switch in ({"allow_unsigned": True}, {"allow_expired": True}):
        if switch == case.allow:
            assert len(world.refresh(world.repo(**fields, **switch)).indices) == 1
        else:
            with pytest.raises(case.error):
                world.refresh(world.repo(**fields, **switch))


def test_an_older_state_than_one_seen_is_refused_by_name(world: World) -> None:
    world.archive(date=NOW - DAY)
    world.refresh()
    world.archive(date=NOW - 30 * DAY)
    with pytest.raises(NotAuthentic) as raised:
        world.refresh()
    assert str(raised.value) == (
        f"cannot trust {RELEASE}: it is of {NOW - 30 * DAY:%Y-%m-%d %H:%M:%S} UTC, "
        f"and one of {NOW - DAY:%Y-%m-%d %H:%M:%S} UTC was seen before"
    )
    assert raised.value.hint is not None and "allow-expired" in raised.value.hint
    assert world.refresh(world.repo(allow_expired=True)).epoch == int((NOW - 30 * DAY).timestamp())


MIRRORS: list[tuple[str, Callable[[World], object], str]] = [
    ("absent", lambda w: None, "InRelease: 404 Not Found"),
    ("down", lambda w: w.server.faults.update({"/bad/dists/stable/InRelease": [http.drop] * 9}),
     "connection dropped (tried 2 times)"),
    ("tampered with", lambda w: w.archive("bad", lies=Lies(broken_signature=True)),
     f"cannot trust {RELEASE}: its text is not what {ME} signed, or the signature is of a kind no longer accepted"),
    ("expired", lambda w: w.archive("bad", date=NOW - 9 * DAY, valid_until=NOW - DAY),
     f"cannot trust {RELEASE}: it was valid until {NOW - DAY:%Y-%m-%d %H:%M:%S} UTC"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "prepare", "told"), MIRRORS, ids=[each[0] for each in MIRRORS])
def test_a_bad_mirror_is_passed_over_and_named(
    name: str, prepare: Callable[[World], object], told: str, world: World
) -> None:
    world.archive("good")
    prepare(world)
    found = world.refresh(world.repo("bad", "good"))
    assert len(found.indices) == 1
    assert found.repos[0].uris == (world.server.url("/bad"), world.server.url("/good"))
    assert world.heard.warnings == [f"stable of debian: {world.server.url('/bad')} was not used: {told}"]


def test_a_mirror_with_last_months_index_is_passed_over_once_a_newer_was_seen(world: World) -> None:
    world.archive("bad", date=NOW - 30 * DAY)
    world.archive("good")
    world.refresh(world.repo("good"))
    assert world.refresh(world.repo("bad", "good")).epoch == int((NOW - DAY).timestamp())
    assert "was seen before" in world.heard.warnings[0]


def test_an_index_comes_from_the_mirror_that_has_it_right(world: World) -> None:
    world.archive("one", by_hash=False)
    world.archive("two", by_hash=False)
    world.server.faults[f"/one/dists/stable/{MAIN}/Packages.xz"] = [http.corrupt]
    (index,) = world.refresh(world.repo("one", "two")).indices
    assert Path(index.file).read_text().startswith("Package: one\n")
    assert world.server.asked(f"/two/dists/stable/{MAIN}/Packages.xz") == 1


def test_no_mirror_is_good(world: World) -> None:
    with pytest.raises(FetchFailed) as raised:
        world.refresh(world.repo("a", "b"))
    assert str(raised.value) == (
        f"cannot fetch the Release of stable of debian: no mirror gave it\n"
        f"  {world.server.url('/a')}: InRelease: 404 Not Found\n"
        f"  {world.server.url('/b')}: InRelease: 404 Not Found"
    )


FLAT = [("./", ""), ("/", ""), ("sub/dir/", "sub/dir/")]


@pytest.mark.parametrize(("suite", "folder"), FLAT)
def test_flat_repositories(suite: str, folder: str, world: World) -> None:
    index = b"Package: two\nFilename: ./two.deb\n"
    listed = f"{hashlib.sha256(index).hexdigest()} {len(index)} Packages"
    text = f"Date: Fri, 02 Jan 2026 03:04:05 +0000\nSHA256:\n {listed}\n"
    world.server.files |= {
        f"/flat/{folder}Packages": index,
        f"/flat/{folder}InRelease": sign(text.encode(), archive_key()),
    }
    (found,) = world.refresh(world.repo("flat", suites=(suite,), components=())).indices
    assert (found.path, found.component, Path(found.file).read_bytes()) == (f"{folder}Packages", "", index)


def test_files_on_this_machine(world: World) -> None:
    made = world.archive()
    found = world.refresh(world.repo(uris=(made.file_uri,)))
    assert found.indices[0].path == f"dists/stable/{MAIN}/Packages.gz"
    assert world.server.requests == []


PINS = [({}, 500), ({"NotAutomatic": "yes"}, 1), ({"NotAutomatic": "yes", "ButAutomaticUpgrades": "yes"}, 100)]


@pytest.mark.parametrize(("fields", "pin"), PINS)
def test_pins(fields: dict[str, str], pin: int, world: World) -> None:
    world.archive(fields=fields)
    assert world.refresh().indices[0].pin == pin


def sources(world: World, *at: str, options: str = "") -> None:
    lines = [f"deb [{options} signed-by=/k.asc] {world.server.url(f'/{each}')} stable main" for each in at]
    world.write("etc/apt/sources.list", "\n".join(lines).replace("[ ", "["))
    world.write("k.asc", archive_key().public)
    world.write("etc/os-release", 'ID=raspbian\nID_LIKE="debian"\n')


def test_the_hosts_own_archives_and_no_others(world: World) -> None:
    world.archive("debian")
    world.archive("debian-security", label="Debian-Security")
    world.archive("vendor", origin="Vendor", label="Debianish")
    sources(world, "debian", "debian-security", "vendor")
    found = world.refresh(Repo("debian", source="host"))
    assert [each.name for each in found.repos] == ["debian", "debian-security"]
    assert world.heard.notes == [
        f"left out {world.tmp}/root/etc/apt/sources.list:3: stable is Vendor/Debianish's, not the distribution's "
        "(third-party = true takes it)"
    ]
    found = world.refresh(Repo("debian", source="host", third_party=True))
    assert [each.name for each in found.repos] == ["debian", "debian-security", "debian-vendor"]


def test_a_host_without_archives(world: World) -> None:
    with pytest.raises(
        HostLacks, match=r"^cannot use the host's archives for \[\[repo\]\] \"d\": its apt has none for"
    ):
        world.refresh(Repo("d", source="host"))
    world.archive("vendor", origin="Vendor", label="Vendor")
    sources(world, "vendor")
    with pytest.raises(HostLacks, match=r"^cannot use the host's archives: none is the distribution's own \(debian, r"):
        world.refresh(Repo("d", source="host"))


HOST_SWITCHES = [
    ("nothing", "", "", NotAuthentic),
    ("the entry's", "check-valid-until=no", "", None),
    ("apt.conf's", "", 'Acquire::Check-Valid-Until "false";', None),
    ("the entry's before apt.conf's", "check-valid-until=yes", 'Acquire::Check-Valid-Until "false";', NotAuthentic),
]


@pytest.mark.parametrize(("name", "options", "conf", "error"), HOST_SWITCHES, ids=[each[0] for each in HOST_SWITCHES])
def test_what_the_host_says_of_expiry(
    name: str, options: str, conf: str, error: type[HosierError] | None, world: World
) -> None:
    world.archive(date=NOW - 9 * DAY, valid_until=NOW - DAY)
    sources(world, "debian", options=options)
    world.write("etc/apt/apt.conf", conf)
    if error is None:
        assert len(world.refresh(Repo("debian", source="host")).indices) == 1
    else:
        with pytest.raises(error, match=r"it was valid until"):
            world.refresh(Repo("debian", source="host"))


def test_a_host_entry_that_is_trusted_needs_no_signature(world: World) -> None:
    world.archive(lies=Lies(unsigned=True))
    sources(world, "debian", options="trusted=yes")
    found = world.refresh(Repo("debian", source="host"))
    assert (len(found.indices), found.keys) == (1, ())


SNAPSHOT = "2026-01-02T03:04:05Z"
ID = "20260102T030405Z"


def test_a_snapshot_where_the_release_says(world: World) -> None:
    world.archive(fields={"Snapshots": world.server.url("/snap/@SNAPSHOTID@/")})
    # A snapshot is past its Valid-Until by nature.
    world.archive(f"snap/{ID}", date=NOW - 99 * DAY, valid_until=NOW - 90 * DAY)
    found = world.refresh(world.repo(snapshot=SNAPSHOT))
    assert found.repos[0].uris == (world.server.url(f"/snap/{ID}"),)
    assert found.epoch == int((NOW - 99 * DAY).timestamp())


def test_a_snapshot_where_the_spec_or_apt_conf_says(world: World) -> None:
    world.archive()
    world.archive(f"snap/{ID}", date=NOW - 99 * DAY)
    place = world.server.url("/snap/@SNAPSHOTID@")
    found = world.refresh(world.repo(uris=(place,), snapshot=SNAPSHOT))
    assert found.repos[0].uris == (world.server.url(f"/snap/{ID}"),)
    with pytest.raises(SpecInvalid) as raised:
        world.refresh(world.repo(snapshot=SNAPSHOT))
    assert (
        str(raised.value) == f"cannot take stable of debian as it was at {ID}: its archive names no place for snapshots"
    )
    world.write("etc/apt/apt.conf", f'Acquire::Snapshots::URI::Origin::Debian "{place}";')
    assert world.refresh(world.repo(snapshot=SNAPSHOT)) == found


BAD_REPOS = [
    ({"snapshot": "yesterday"}, 'the snapshot "yesterday" is not a time'),
    ({"uris": ()}, "it names no uris"),
    ({"suites": ()}, "it names no suites"),
    ({"components": ()}, "the suite stable needs components"),
    ({"suites": ("x/",)}, "the suite x/ is a path, so it has no components"),
    ({"uris": ("http://x/@SNAPSHOTID@",)}, "a URI holds @SNAPSHOTID@, and there is no snapshot"),
]


@pytest.mark.parametrize(("fields", "told"), BAD_REPOS, ids=[each[1] for each in BAD_REPOS])
def test_repos_that_say_too_little(fields: dict[str, Any], told: str, world: World) -> None:
    with pytest.raises(SpecInvalid, match=rf'^cannot use \[\[repo\]\] "debian": {re.escape(told)}$'):
        world.refresh(replace(world.repo(), **fields))


def test_a_store_that_cannot_be_written(world: World) -> None:
    Path(world.store).write_text("")
    with pytest.raises(StoreFailed, match=r"^cannot write the store: .*/store/indices: not a directory$"):
        world.refresh()


def test_an_index_that_a_crash_cut_short_is_made_again(world: World) -> None:
    world.archive()
    (index,) = world.refresh().indices
    whole = Path(index.file).read_bytes()
    Path(index.file).write_bytes(whole[:5])
    world.refresh()
    assert Path(index.file).read_bytes() == whole


def test_a_record_that_a_crash_cut_short_is_not_believed(world: World) -> None:
    world.archive()
    found = world.refresh()
    folder = Path(world.store, "indices/release")
    for name in os.listdir(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-9])
    assert world.refresh() == found


def test_what_a_killed_process_left_is_swept(world: World) -> None:
    world.archive()
    folder = Path(world.store, "indices")
    (folder / "release").mkdir(parents=True)
    for name in ("abc.new-1", "release/abc.new-1-2", "release/abc.new-3-4"):
        (folder / name).write_bytes(b"half")
    os.utime(folder / "release/abc.new-1-2", (0, 0))
    world.refresh()
    left = sorted(name for _, _, names in os.walk(folder) for name in names if ".new-" in name)
    assert left == ["abc.new-3-4"]
