"""How a tree is split into layers: everything once, and no change moves what it does not touch."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.errors import UsageError
from hosier.pack import layers, oci
from hosier.pack.layers import Layer
from hosier.spec.lock import Lock, LockedPackage
from hosier.store.manifest import Entry

EPOCH = 1000


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def tree(packages: dict[str, int], *, more: tuple[Entry, ...] = (), generation: int = 0) -> dict[str, Entry]:
    """A tree in which each package has a program, a page and what dpkg keeps; sizes are the programs'."""
    found = [Entry(path, "d", 0o755, 0, 0, EPOCH) for path in ("/", "/etc", "/usr", "/usr/bin", "/usr/share")]
    found += [
        Entry(path, "d", 0o755, 0, 0, EPOCH) for path in ("/var", "/var/lib", "/var/lib/dpkg", "/var/lib/dpkg/info")
    ]
    for name, size in packages.items():
        found += [
            Entry(f"/usr/bin/{name}", "f", 0o755, 0, 0, 5, size, sha(f"{name}{size}"), package=name),
            Entry(f"/usr/share/{name}", "d", 0o755, 0, 0, 5, package=name),
            Entry(f"/usr/share/{name}/page", "l", 0o777, 0, 0, 5, target="x", package=name),
            Entry(f"/var/lib/dpkg/info/{name}.md5sums", "f", 0o644, 0, 0, 5, 40, sha(name)),
            Entry(f"/var/lib/dpkg/info/{name}.list", "f", 0o644, 0, 0, EPOCH, 40, sha(name)),
        ]
    state = sha(f"{sorted(packages.items())}{generation}")
    found += [Entry("/var/lib/dpkg/status", "f", 0o644, 0, 0, EPOCH, 99, state), *more]
    return {each.path: each for each in sorted(found, key=lambda each: each.path)}


def keys(planned: list[Layer], epoch: int = EPOCH) -> list[str]:
    return [layers.key(each, epoch=epoch, compression="none") for each in planned]


def moved(old: dict[str, Entry], new: dict[str, Entry], budget: int = 24) -> list[str]:
    """The titles of the layers of `new` that `old` has not."""
    had = set(keys(layers.plan(old, sources={}, budget=budget)))
    planned = layers.plan(new, sources={}, budget=budget)
    return [each.title for each, key in zip(planned, keys(planned), strict=True) if key not in had]


PACKAGES = {f"p{n}": 100 * n * n for n in range(1, 80)}
names = st.text("abcdefgh0123456789.+-", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(names, st.integers(0, 10**6), max_size=40), st.integers(1, 30), st.data())
def test_every_path_is_there_and_every_file_once(packages: dict[str, int], budget: int, data: st.DataObject) -> None:
    links = [
        Entry(
            f"/etc/link{n}", "f", 0o755, 0, 0, 5, packages[name], sha(name), hardlink=f"/usr/bin/{name}", package=other
        )
        for n, (name, other) in enumerate(
            data.draw(st.lists(st.tuples(st.sampled_from(sorted(packages)), names), max_size=5)) if packages else ()
        )
    ]
    entries = tree(packages, more=tuple(links))
    planned = layers.plan(entries, sources={}, budget=budget)
    assert 1 <= len(planned) <= budget
    count = Counter(each.path for layer in planned for each in layer.entries if each.kind != "d")
    assert count == Counter(path for path, each in entries.items() if each.kind != "d")
    merged: dict[str, Entry] = {}
    for layer in planned:
        paths = [each.path for each in layer.entries]
        assert paths == sorted(set(paths))
        for each in layer.entries:
            above = each.path.rpartition("/")[0] or "/"
            assert above in paths, "a layer's files have their folders"
            if each.hardlink:
                assert each.hardlink in paths, "all names of a file are in one layer"
        merged |= {each.path: each for each in layer.entries}
    assert merged == entries


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, st.integers(0, 10**6), min_size=1, max_size=60), st.data())
def test_a_package_moves_at_most_three_layers_and_the_records(packages: dict[str, int], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(packages)))
    less = {each: size for each, size in packages.items() if each != name}
    grown = packages | {name: packages[name] + data.draw(st.integers(1, 10**5))}
    # Its own, and where it took or left a place among the large ones: the one that made room, from and to.
    for old, new in ((less, packages), (packages, less), (packages, grown)):
        assert len(moved(tree(old), tree(new))) <= 3 + 1


def test_a_small_package_moves_its_own_layer_and_the_records() -> None:
    for changed in (PACKAGES | {"p3": 901}, {k: v for k, v in PACKAGES.items() if k != "p3"}, PACKAGES | {"new": 7}):
        said = moved(tree(PACKAGES), tree(changed))
        assert len(said) == 2
        assert said[0].startswith("packages ")
        assert said[1] == "records"


def test_a_large_package_has_a_layer_of_its_own() -> None:
    assert moved(tree(PACKAGES), tree(PACKAGES | {"p79": 640_000})) == ["p79", "records"]
    planned = {each.title: each.packages for each in layers.plan(tree(PACKAGES), sources={})}
    assert planned["p79"] == ("p79",)


def test_a_later_epoch_alone_moves_only_what_has_its_time() -> None:
    planned = layers.plan(tree(PACKAGES), sources={})
    now, later = keys(planned), keys(planned, EPOCH + 5)
    assert now == later, "no path is newer than the epoch"
    newer = {p: replace(e, mtime=EPOCH + 9) if p == "/var/lib/dpkg/status" else e for p, e in tree(PACKAGES).items()}
    planned = layers.plan(newer, sources={})
    changed = [n != m for n, m in zip(keys(planned), keys(planned, EPOCH + 5), strict=True)]
    assert changed == [False] * (len(planned) - 1) + [True]


def test_a_folder_whose_time_or_attributes_change_moves_what_it_has_to() -> None:
    entries = tree(PACKAGES)
    touched = entries | {"/usr/bin": replace(entries["/usr/bin"], mtime=7, package="other")}
    assert moved(entries, touched) == ["records"]
    closed = entries | {"/usr/bin": replace(entries["/usr/bin"], mode=0o700)}
    assert len(moved(entries, closed)) == len(layers.plan(entries, sources={}))


def test_packages_of_one_source_lie_together() -> None:
    packages = {"libbig1": 10, "big": 10**6, "big-doc": 10, "small": 5}
    planned = layers.plan(tree(packages), sources={"big": "big", "libbig1": "big", "big-doc": "big"}, budget=4)
    assert [(each.title, each.packages) for each in planned] == [
        ("big", ("big", "big-doc", "libbig1")),
        ("packages 1 of 1", ("small",)),
        ("records", ()),
    ]


def test_what_no_package_owns_lies_apart() -> None:
    own = Entry("/srv", "d", 0o755, 0, 0, 5), Entry("/srv/app", "f", 0o755, 0, 0, 5, 10**6, sha("app"))
    planned = layers.plan(tree({"a": 1}, more=own), sources={}, budget=5)
    assert [each.title for each in planned] == ["a", "files of no package", "records"]
    assert {each.path for each in planned[1].entries} == {"/", "/srv", "/srv/app"}
    assert [e.path for e in planned[2].entries if e.kind != "d"] == [
        "/var/lib/dpkg/info/a.list",
        "/var/lib/dpkg/status",
    ]


def test_the_source_is_the_folder_of_the_pool() -> None:
    def package(name: str, repo: str, path: str) -> LockedPackage:
        return LockedPackage(name, "1", "amd64", 1, "0" * 64, repo, path, "requested", 0)

    lock = Lock(
        spec="sha256:" + "1" * 64,
        architecture="amd64",
        epoch=1,
        requests=(),
        repos=(),
        indices=(),
        keys=(),
        packages=(
            package("git-man", "debian", "pool/main/g/git/git-man_1_all.deb"),
            package("flat", "own", "./flat_1_amd64.deb"),
            package("mine", "", "/home/pool/mine/mine.deb"),
        ),
    )
    assert oci.sources(lock) == {
        "git-man": "git",
        "git-man:amd64": "git",
        "flat": "",
        "flat:amd64": "",
        "mine": "",
        "mine:amd64": "",
    }
    assert oci.sources(None) == {}


@pytest.mark.parametrize("budget", [0, -1, 128])
def test_a_number_of_layers_that_cannot_be(budget: int) -> None:
    with pytest.raises(UsageError, match=f"cannot split the image into {budget} layers: expected 1 to 127"):
        layers.plan(tree({}), sources={}, budget=budget)


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        ((), ""),
        (("a", "b:arm64", "b"), "a, b"),
        (tuple("abcdefgh"), "a, b, c, d, e, f and 2 more"),
    ],
)
def test_what_is_said_of_a_layer_is_short(packages: tuple[str, ...], said: str) -> None:
    assert layers.contents(packages) == said
