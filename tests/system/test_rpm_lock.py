"""`hosier lock` over RPM repositories: what is held, what moves, what is said, and what a lock of several is."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit import rpms
from kit.archive import new_key
from kit.cli import build, hosier
from kit.http import Server
from kit.rpmrepo import make, signature
from kit.rpmshop import Shop
from kit.rpmworld import createrepo

pytestmark = pytest.mark.skipif(shutil.which("createrepo_c") is None, reason="needs createrepo_c")

KEY = rpms.key()
OTHER = rpms.key("other <other@example.org>")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """`app` needs `a` and `b`; `c` stands alone."""
    shop = Shop(tmp_path, key=KEY)
    for name in ("a", "b", "c"):
        shop.put(name)
    shop.put("app", requires=["a", "b"])
    shop.publish()
    return shop


def newer(shop: Shop) -> None:
    """The second version of all but `c`."""
    for name in ("a", "b"):
        shop.put(name, "2")
    shop.put("app", "2", requires=["a", "b"])
    shop.publish()


def said(shop: Shop, *words: str, status: int = 0) -> list[str]:
    """What `hosier lock` of the spec prints on either stream, without the folder."""
    done = hosier("lock", shop.folder / "small.toml", *words, store=shop.folder / "store", check=False)
    assert done.returncode == status, done.stderr
    return [line.replace(f"{shop.folder}/", "") for line in (done.stdout + done.stderr).splitlines()]


def locked(shop: Shop) -> dict[str, str]:
    found = json.loads(hosier("lock", shop.folder / "small.toml", "--json", store=shop.folder / "store").stdout)
    return {each["name"]: each["version"] for each in found["packages"]}


def test_what_is_locked_is_held_until_it_is_named(shop: Shop) -> None:
    shop.spec("app")
    assert said(shop) == ["small.lock: 3 packages, 6.2 kB"]
    text = (shop.folder / "small.lock").read_text()
    newer(shop)
    said(shop)
    assert (locked(shop), said(shop, "--check")) == ({"a": "1-1", "app": "1-1", "b": "1-1"}, [])
    assert said(shop, "--update", "a")[0] == "~ a 1-1 -> 2-1"
    assert locked(shop) == {"a": "2-1", "app": "1-1", "b": "1-1"}
    assert said(shop, "--update")[:2] == ["~ app 1-1 -> 2-1", "~ b 1-1 -> 2-1"]
    assert (shop.folder / "small.lock").read_text() != text


def test_what_has_to_move_with_it_is_told(shop: Shop) -> None:
    shop.spec("app")
    said(shop)
    shop.put("app", "2", requires=["a = 2-1", "b"])
    shop.put("a", "2", requires=["b >= 2"])
    shop.put("b", "2")
    shop.put("b", "3")
    shop.publish()
    assert said(shop, "--update", "app")[:3] == ["~ a 1-1 -> 2-1", "~ app 1-1 -> 2-1", "~ b 1-1 -> 3-1"]


def test_names_that_are_not_locked_are_told(shop: Shop) -> None:
    shop.spec("app")
    said(shop)
    assert said(shop, "--update", "a", "ap", "zzz", status=2) == [
        "error: cannot update ap, zzz: not in small.lock",
        "hint: did you mean app?",
    ]


def test_a_package_that_left_the_repository_moves(shop: Shop) -> None:
    shop.spec("app")
    said(shop)
    newer(shop)
    (shop.repo / "a-1-1.noarch.rpm").unlink()
    shop.publish()
    assert said(shop)[:2] == ["~ a 1-1 -> 2-1", "small.lock: 3 packages, 6.2 kB"]


ELSE = "something else in the spec, or a file that it names, changed"


@dataclass(frozen=True)
class Stale:
    name: str
    lines: list[str]
    install: tuple[str, ...] = ("app",)
    packages: str = ""
    gpgcheck: bool | None = None
    repo: str = ""
    image: str = ""
    place: str = ""
    other: bool = False


STALE = [
    Stale("another request", ["c is asked for now"], ("app", "c")),
    Stale("a request less", ["c is asked for now", "app is not asked for any more"], ("c",)),
    Stale("a version", ["app (>= 1) is asked for now", "app is not asked for any more"], ("app >= 1",)),
    Stale("excluded", ["b is excluded now"], packages='exclude = ["b"]'),
    Stale("a repository", ["the repo other is new"], other=True),
    Stale("no signatures", ["the gpgcheck of the repo shop changed"], gpgcheck=False),
    Stale("documentation", [ELSE], packages="docs = false"),
    Stale("priority", [ELSE], repo="priority = 5"),
    Stale("a place", ["the baseurl of the repo shop changed"], place="https://packages.example.org/shop"),
    Stale("a place with variables", [ELSE], place="https://packages.example.org/$basearch"),
    Stale("architectures", ["arm64 is asked for now", ELSE], image='architectures = ["amd64", "arm64"]'),
]


@pytest.mark.parametrize("case", STALE, ids=lambda case: case.name)
def test_what_made_a_lock_stale_is_said(case: Stale, shop: Shop) -> None:
    spec = shop.spec("app")
    said(shop)
    others = []
    if case.other:
        others.append(Shop(shop.folder, name="other"))
    shop.spec(
        *case.install, packages=case.packages, gpgcheck=case.gpgcheck, repo=case.repo, image=case.image, repos=others
    )
    if case.place:
        spec.write_text(spec.read_text().replace(shop.repo.as_uri(), case.place))
    done = hosier("build", spec, store=shop.folder / "store", check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert [line for line in done.stderr.splitlines() if not line.startswith("note: ")] == [
        f"error: cannot use {shop.folder}/small.lock: it is stale:",
        *(f"  - {line}" for line in case.lines),
        f"hint: hosier lock {spec} brings it up to date; hosier build --update does, and builds",
    ]


@dataclass(frozen=True)
class Refused:
    name: str
    install: tuple[str, ...]
    error: str
    hint: str


REFUSED = [
    Refused(
        "no such package",
        ("nothing",),
        "error: cannot lock small: no package nothing is in shop",
        "hint: add a repository that has nothing to [[repo]]",
    ),
    Refused(
        "no such version",
        ("c >= 9",),
        "error: cannot lock small: c (>= 9) is asked for, and the newest c in shop is 1-1",
        "hint: add a repo that has c (>= 9) to [[repo]], or ask for another version",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_cannot_be_chosen_leaves_the_lock_as_it_was(case: Refused, shop: Shop) -> None:
    shop.spec("app")
    said(shop)
    text = (shop.folder / "small.lock").read_text()
    shop.spec(*case.install)
    assert said(shop, status=5) == [case.error, case.hint]
    assert (shop.folder / "small.lock").read_text() == text


# several architectures


@pytest.fixture
def both(tmp_path: Path) -> Shop:
    """Packages for two architectures: of both, of one, of neither, and of versions that disagree."""
    shop = Shop(tmp_path, key=KEY)
    for arch in ("x86_64", "aarch64"):
        shop.put("native", arch=arch, requires=["data"])
        shop.put("apart", "1" if arch == "aarch64" else "2", arch=arch)
        shop.put("late", "1", arch=arch)
    shop.put("late", "2", arch="x86_64")
    shop.put("data")
    shop.put("data", "2")
    shop.put("one-sided", arch="aarch64")
    shop.publish()
    return shop


TWO = 'architectures = ["amd64", "arm64"]'


def test_several_architectures_are_solved_together(both: Shop) -> None:
    spec = both.spec("native", "late", image=TWO)
    assert said(both) == ["small.lock: amd64: 3 packages, 6.3 kB", "small.lock: arm64: 3 packages, 6.3 kB"]
    file = json.loads(hosier("lock", spec, "--json", store=both.folder / "store").stdout)
    assert (file["format"], [lock["architecture"] for lock in file["locks"]]) == (2, ["amd64", "arm64"])
    assert [
        [(each["name"], each["version"], each["architecture"]) for each in lock["packages"]] for lock in file["locks"]
    ] == [[("data", "2-1", "noarch"), ("late", "1-1", arch), ("native", "1-1", arch)] for arch in ("x86_64", "aarch64")]
    text = (both.folder / "small.lock").read_text()
    assert text.count('name = "data"') == 1  # what is the same for all stands once
    assert text.count("[[keys]]") == 1


def test_versions_that_disagree_are_named(both: Shop) -> None:
    both.spec("native", "apart", image=TWO)
    assert said(both, status=5)[:2] == [
        "error: cannot lock small for all together: no version of it is there for all:",
        "  - apart: 2-1 (amd64), 1-1 (arm64)",
    ]
    both.spec("native", "one-sided", image=TWO)
    assert said(both, status=5)[0] == "error: cannot lock small: amd64: one-sided in shop is only for aarch64"


def test_what_one_architecture_lacks_may_be_asked_of_the_others(both: Shop) -> None:
    more = '[[packages.when]]\narchitecture = "arm64"\ninstall = ["one-sided"]\n'
    spec = both.spec("native", image=TWO, more=more)
    assert said(both) == ["small.lock: amd64: 2 packages, 4.2 kB", "small.lock: arm64: 3 packages, 6.3 kB"]
    done = hosier("build", spec, "--architecture", "arm64", store=both.folder / "store", check=False)
    assert done.returncode == 11 and "qemu-aarch64" in done.stderr
    # None of them has a scriptlet, and a spec that says so is built for any architecture on any machine.
    both.spec("native", image=TWO, more=more, packages='scripts = "declared"')
    built = build(spec, "--update", "--architecture", "arm64", store=both.folder / "store")
    assert Path(str(built["path"]), "usr/share/native").read_text() == "native 1-1 aarch64\n"
    assert Path(str(built["path"]), "usr/share/one-sided").exists()


# packages of no repository


def test_files_and_addresses_are_locked_by_their_digest(shop: Shop) -> None:
    store = shop.folder / "store"
    rpms.write(shop.folder, "mine", "1", "1", requires=["a"])
    with Server({"/net-1-1.noarch.rpm": rpms.build("net", "1", "1", requires=["b"])}) as server:
        spec = shop.spec("./mine-1-1.noarch.rpm", server.url("/net-1-1.noarch.rpm"))
        said(shop)
        assert locked(shop) == {"a": "1-1", "b": "1-1", "mine": "1-1", "net": "1-1"}
        rows = {
            each["name"]: each for each in json.loads(hosier("lock", spec, "--json", store=store).stdout)["packages"]
        }
        assert [(rows[name]["repo"], rows[name]["path"]) for name in ("mine", "net")] == [
            ("", "./mine-1-1.noarch.rpm"),
            ("", server.url("/net-1-1.noarch.rpm")),
        ]
        first = build(spec, store=store)
        # Another store asks the network again, and takes nothing else than what was locked.
        assert build(spec, store=shop.folder / "fresh")["digest"] == first["digest"]
        server.files["/net-1-1.noarch.rpm"] = rpms.build("net", "1", "1", requires=["b"], summary="another")
        done = hosier("build", spec, store=shop.folder / "later", check=False)
        assert done.returncode == 7 and "net" in done.stderr
    # What lies beside the spec and is not what was locked makes it stale.
    rpms.write(shop.folder, "mine", "1", "1", requires=["a"], summary="another")
    done = hosier("build", spec, store=store, check=False)
    assert done.returncode == 4 and "a file that it names, changed" in done.stderr


def test_a_lock_knows_how_new_its_repository_was(shop: Shop) -> None:
    """In a store that has seen nothing."""
    signer = new_key()
    for time in (1_700_000_000, 1_600_000_000):
        made = make(time=time)
        shutil.rmtree(shop.repo)
        for path, content in made.files.items():
            (shop.repo / path).parent.mkdir(parents=True, exist_ok=True)
            (shop.repo / path).write_bytes(content)
        (shop.repo / "repodata/repomd.xml.asc").write_bytes(signature(made.repomd, signer))
        if time == 1_700_000_000:
            shop.certificate.write_text(signer.public)
            spec = shop.spec("one", repo="repo_gpgcheck = true")
            said(shop)
    done = hosier("lock", spec, store=shop.folder / "fresh", check=False)
    assert (done.returncode, done.stderr.splitlines()[-2:]) == (
        7,
        [
            "error: cannot trust repodata/repomd.xml of shop: it is of 2020-09-13 12:26:40 UTC, and one of "
            "2023-11-14 22:13:20 UTC was seen before",
            "hint: the mirror serves an older state; allow-expired = true in the [[repo]] takes it nevertheless",
        ],
    )
    spec.write_text(spec.read_text().replace("repo_gpgcheck", "allow-expired = true\nrepo_gpgcheck"))
    assert hosier("lock", spec, store=shop.folder / "fresh").returncode == 0


def test_an_address_is_asked_whether_it_changed(shop: Shop) -> None:
    path = "/net-1-1.noarch.rpm"
    with Server({path: rpms.build("net", "1")}) as server:
        shop.spec(server.url(path))
        said(shop)
        said(shop)
        server.files[path] = rpms.build("net", "2")
        assert locked(shop) == {"net": "2-1"}
        assert [bool(each.headers.get("if-none-match")) for each in server.requests] == [False, True, True, False]


def test_packages_with_another_strong_digest(shop: Shop) -> None:
    """They are fetched to be locked, checked by it, and not fetched again."""
    shutil.rmtree(shop.repo / "repodata")
    createrepo(shop.repo, "--no-database", "--checksum=sha512", "--repomd-checksum=sha384")
    files = {f"/{each.relative_to(shop.repo)}": each.read_bytes() for each in shop.repo.rglob("*") if each.is_file()}
    with Server(files) as server:
        spec = shop.spec("app")
        spec.write_text(spec.read_text().replace(shop.repo.as_uri(), server.url("")))
        said(shop)
        found = json.loads(hosier("lock", spec, "--json", store=shop.folder / "store").stdout)["packages"]
        digests = {each["path"]: each["sha256"] for each in found}
        assert digests == {each: hashlib.sha256(files[f"/{each}"]).hexdigest() for each in digests}
        assert sorted(digests) == ["a-1-1.noarch.rpm", "app-1-1.noarch.rpm", "b-1-1.noarch.rpm"]
        build(spec, store=shop.folder / "store")
        assert [server.asked(f"/{each}") for each in digests] == [1, 1, 1]
        server.files["/b-1-1.noarch.rpm"] = b"x" + files["/b-1-1.noarch.rpm"][1:]
        done = hosier("lock", spec, store=shop.folder / "other", check=False)
        assert done.returncode == 7 and f"b-1-1.noarch: {server.url('/b-1-1.noarch.rpm')}: sha512 is " in done.stderr


def test_a_file_that_is_none_is_named(shop: Shop) -> None:
    (shop.folder / "mine-1-1.noarch.rpm").write_bytes(b"junk")
    shop.spec("./mine-1-1.noarch.rpm")
    assert said(shop, status=8) == ["error: cannot read mine-1-1.noarch.rpm: it is cut off in its lead"]
    with Server({}) as server:
        shop.spec(server.url("/net-1-1.noarch.rpm"))
        assert said(shop, status=6)[0].startswith("error: cannot fetch net-1-1.noarch.rpm: ")
    assert not (shop.folder / "small.lock").exists()


def test_what_is_dated_in_the_future_is_named(shop: Shop) -> None:
    shop.put("late", files={"/usr/share/late": rpms.File("late", mtime=0xFFFFFFFF)})
    shop.publish()
    done = hosier("build", shop.spec("a", "late"), store=shop.folder / "store", check=False)
    assert done.stderr.splitlines()[-2:] == [
        "error: cannot build: this machine's clock is before 2106-02-07, the date of a file in late",
        "hint: set the clock; or ask for another version of it, if that date is wrong",
    ]


def test_folders_of_any_name_are_repositories(shop: Shop) -> None:
    """What a URL would read otherwise is written so that it means itself."""
    for number, name in enumerate(("100%20", "a b", "q?x=1#y", "ü%zz")):
        folder = shop.folder / name
        shutil.copytree(shop.repo, folder)
        if number % 2:
            shutil.rmtree(folder / "repodata")
        spec = shop.spec("c")
        spec.write_text(spec.read_text().replace(shop.repo.as_uri(), f"./{name}"))
        assert build(spec, "--update", store=shop.folder / "store")["digest"]


def test_what_is_of_another_architecture_moves_by_its_own_name(tmp_path: Path) -> None:
    shop = Shop(tmp_path, key=KEY)
    for arch in ("x86_64", "i686"):
        shop.put("lib", arch=arch, files={f"/usr/{arch}/lib": rpms.File(arch)})
    shop.publish()
    shop.spec("lib.x86_64", "lib.i686")
    said(shop)
    for arch in ("x86_64", "i686"):
        shop.put("lib", "2", arch=arch, files={f"/usr/{arch}/lib": rpms.File(arch)})
    shop.publish()
    assert said(shop, "--update", "lib:i686")[0] == "~ lib 1-1 -> 2-1"
    rows = json.loads(hosier("lock", tmp_path / "small.toml", "--json", store=tmp_path / "store").stdout)["packages"]
    assert [(each["architecture"], each["version"]) for each in rows] == [("i686", "2-1"), ("x86_64", "1-1")]
    assert said(shop, "--update", "lib.i686") == ["small.lock: 2 packages, 4.2 kB"]
    assert said(shop, "--update", "lib")[0] == "~ lib 1-1 -> 2-1"
    assert said(shop, "--update", "lib:arm", status=2)[0] == "error: cannot update lib:arm: not in small.lock"


DEBIAN = f"""format = 1
spec = "sha256:{"0" * 64}"
architecture = "amd64"
epoch = 1
requests = ["a"]
repos = [ {{ name = "d", type = "deb", uris = ["file:/x"], suites = ["s"], components = ["m"] }} ]
indices = []
[[packages]]
name = "a"
version = "1"
architecture = "all"
size = 1
sha256 = "{"0" * 64}"
repo = "d"
path = "p"
why = "essential"
stage = 3
"""


def test_a_lock_of_the_other_family_holds_nothing(shop: Shop) -> None:
    spec = shop.spec("app")
    (shop.folder / "small.lock").write_text(DEBIAN)
    done = hosier("build", spec, store=shop.folder / "store", check=False)
    assert (done.returncode, done.stderr.splitlines()[1]) == (4, "  - its packages are of the rpm family now")
    assert said(shop) == ["- a 1", "+ a 1-1", "+ app 1-1", "+ b 1-1", "small.lock: 3 packages, 6.2 kB"]
    assert "stage = 3" not in (shop.folder / "small.lock").read_text()


@pytest.mark.parametrize("version", ["99999999999:1-1", "", "a b", "../x"])
def test_an_edited_version_that_is_none_is_refused(version: str, shop: Shop) -> None:
    spec = shop.spec("a")
    said(shop)
    lock = shop.folder / "small.lock"
    shutil.copy(lock, shop.folder / "before.lock")
    lock.write_text(lock.read_text().replace('version = "1-1"', f'version = "{version}"'))
    for words in (("build", spec), ("diff", shop.folder / "before.lock", lock)):
        done = hosier(*words, store=shop.folder / "store", check=False)
        assert done.returncode == 4
        assert f"version of an entry of packages is not well formed: {version!r}" in done.stderr
