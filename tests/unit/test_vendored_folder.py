"""What a vendored folder holds, and how it is kept: the same bytes for the same locks, nothing else's objects lost."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.build import inputs
from hosier.build.layouts import Layout
from hosier.build.vendor import Vendored, vendor
from hosier.errors import SpecInvalid, StoreFailed
from hosier.fetch.progress import Reporter, reporter
from hosier.pack import layout
from hosier.pack.layout import Blob
from hosier.spec.lock import Lock, LockedPackage, LockedRepo, LockFile
from hosier.spec.model import File, Spec
from hosier.store import Store

QUIET: Reporter = reporter(quiet=True, verbose=False)


def package(folder: Path, name: str, architecture: str, content: bytes) -> LockedPackage:
    """A package file below the archive `folder`."""
    path = f"pool/{name}_1_{architecture}.deb"
    (folder / "pool").mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return LockedPackage(name, "1", architecture, len(content), digest, "own", path, "requested", 0)


def lock(folder: Path, architecture: str, *packages: LockedPackage, epoch: int = 10**9) -> Lock:
    repo = LockedRepo("own", "deb", (f"file://{folder}",), ("stable",), ("main",))
    return Lock("sha256:" + "0" * 64, architecture, epoch, (), (repo,), (), (), packages)


def spec(folder: Path, *files: File) -> Spec:
    folder.mkdir(exist_ok=True)
    path = folder / "web.toml"
    path.write_text("[image]\n")
    return Spec("web", files=files, sources=(str(path),))


def vendored(tmp_path: Path, file: LockFile, *, out: str = "v", store: str = "store", only: str = "") -> Vendored:
    chosen = [each for each in file.locks if only in ("", each.architecture)]
    specs = [spec(tmp_path / "spec")] * len(chosen)
    done, _ = vendor(
        Store.open(str(tmp_path / store)),
        file,
        chosen,
        specs,
        str(tmp_path / out),
        origins=(),
        proxies=None,
        reporter=QUIET,
    )
    return done


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def named(folder: Path, digest: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes())
    return found


def test_several_architectures_share_what_they_have_in_common(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    shared = package(archive, "data", "all", b"data")
    here = lock(archive, "amd64", package(archive, "app", "amd64", b"app for amd64"), shared)
    there = lock(archive, "arm64", package(archive, "app", "arm64", b"app for arm64"), shared)
    file = LockFile((here, there))
    done = vendored(tmp_path, file)
    assert [(each.architecture, each.packages) for each in done.artifacts] == [("amd64", 2), ("arm64", 2)]
    assert done.fetched == 3
    top = json.loads((tmp_path / "v/index.json").read_bytes())["manifests"]
    assert [row["mediaType"] for row in top] == [layout.INDEX]
    rows = named(tmp_path / "v", top[0]["digest"])["manifests"]
    assert [row["platform"]["architecture"] for row in rows] == ["amd64", "arm64"]  # type: ignore[attr-defined,index]
    titles = {
        each.architecture: [
            layer["annotations"][layout.TITLE]
            for layer in named(tmp_path / "v", each.digest)["layers"]  # type: ignore[attr-defined]
        ]
        for each in done.artifacts
    }
    assert titles == {
        "amd64": ["web.lock", "web.tar", "pool/app_1_amd64.deb", "pool/data_1_all.deb"],
        "arm64": ["web.lock", "web.tar", "pool/app_1_arm64.deb", "pool/data_1_all.deb"],
    }
    one = vendored(tmp_path, file, only="arm64")
    assert one.added == ()
    assert "pool/app_1_amd64.deb" in one.dropped
    assert {p.name for p in (tmp_path / "v/blobs/sha256").iterdir()} == {
        *(each.sha256 for each in there.packages),
        *(named(tmp_path / "v", one.digest)[key]["digest"].removeprefix("sha256:") for key in ("config",)),  # type: ignore[index]
        one.digest.removeprefix("sha256:"),
        *(each["digest"].removeprefix("sha256:") for each in named(tmp_path / "v", one.digest)["layers"]),  # type: ignore[attr-defined]
    }


def test_the_same_locks_give_the_same_bytes(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    file = LockFile((lock(archive, "amd64", package(archive, "app", "amd64", b"app")),))
    vendored(tmp_path, file)
    vendored(tmp_path, file, out="w", store="other")
    (tmp_path / "empty").mkdir()
    vendored(tmp_path, file, out="empty", store="other")
    assert contents(tmp_path / "v") == contents(tmp_path / "w") == contents(tmp_path / "empty")
    again = vendored(tmp_path, file)
    assert (again.added, again.dropped, again.kept, again.fetched) == ((), (), again.objects, 0)


def test_an_empty_folder_that_could_not_be_filled_is_empty_again(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    file = LockFile((lock(archive, "amd64", package(archive, "app", "amd64", b"app")),))
    (archive / "pool/app_1_amd64.deb").write_bytes(b"lie")
    (tmp_path / "v").mkdir()
    with pytest.raises(Exception, match=r"^cannot fetch app 1: "):
        vendored(tmp_path, file)
    assert list((tmp_path / "v").iterdir()) == []


def test_an_empty_folder_that_is_swapped_costs_no_other_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns the folder above puts a link in its place, and sees to it that the run fails."""
    archive = tmp_path / "archive"
    file = LockFile((lock(archive, "amd64", package(archive, "app", "amd64", b"app")),))
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"x")
    (tmp_path / "v").mkdir()

    def swap(self: Layout, *_: object, **__: object) -> None:
        (tmp_path / "v").rename(tmp_path / "moved")
        (tmp_path / "v").symlink_to(precious)
        raise OSError(5, "it fails")

    monkeypatch.setattr(Layout, "fill", swap)
    with pytest.raises(StoreFailed, match="it fails"):
        vendored(tmp_path, file)
    assert (precious / "file").read_bytes() == b"x"
    assert list((tmp_path / "moved").iterdir()) == []


def test_the_spec_s_own_files_are_in_the_archive(tmp_path: Path) -> None:
    folder = tmp_path / "spec"
    (folder / "tree/empty").mkdir(parents=True)
    (folder / "tree/run").write_text("#!/bin/sh\n")
    (folder / "tree/run").chmod(0o744)
    (folder / "tree/link").symlink_to("/etc/passwd")
    (folder / "motd").write_text("m\n")
    (tmp_path / "outside").write_text("o\n")
    (folder / "alias").symlink_to("motd")
    files = tuple(
        File(f"/{n}", source=str(path))
        for n, path in enumerate((folder / "tree", folder / "motd", tmp_path / "outside", folder / "alias"))
    )
    blob = inputs.archive([spec(folder, *files)] * 2, str(tmp_path / "files.tar"), name="web")
    assert blob.annotations == {layout.TITLE: "web.tar"}
    with tarfile.open(tmp_path / "files.tar") as made:
        found = {m.name: (m.type, m.mode, m.linkname, m.uid, m.mtime) for m in made}
    plain, exec_, sub = (tarfile.REGTYPE, 0o644, ""), (tarfile.REGTYPE, 0o755, ""), (tarfile.DIRTYPE, 0o755, "")
    expected = {
        "web.toml": plain,
        "motd": plain,
        "alias": plain,
        "tree": sub,
        "tree/empty": sub,
        "tree/run": exec_,
        "tree/link": (tarfile.SYMTYPE, 0o777, "/etc/passwd"),
        f"host{tmp_path}/outside": plain,
    }
    assert found == {name: (*each, 0, inputs.TIME) for name, each in expected.items()}
    around = inputs.archive(
        [spec(folder, File("/x", source=str(folder)), File("/y", source=str(folder / "..")))],
        str(tmp_path / "2.tar"),
        name="web",
    )
    with tarfile.open(tmp_path / "2.tar") as made:
        names = made.getnames()
    assert {".", "web.toml", "tree/run", f"host{tmp_path}", f"host{tmp_path}/spec/tree/run"} <= set(names)
    assert around.size == os.path.getsize(tmp_path / "2.tar")
    os.mkfifo(folder / "tree/pipe")
    with pytest.raises(SpecInvalid, match=r"tree/pipe: it is neither a file nor a folder nor a link$"):
        inputs.archive([spec(folder, *files)], str(tmp_path / "again.tar"), name="web")


def opened(folder: Path) -> Layout:
    return Layout(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), "vendor web to DIR", make=True)


def blob(content: bytes) -> Blob:
    return Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), "x/y", content=content)


def put(folder: Path, name: str, *contents: bytes) -> None:
    """Fill the layout with an artifact of these layers under `name`, as one run does."""
    layers = [blob(each) for each in contents]
    manifest = layout.document(
        {"mediaType": layout.MANIFEST, "layers": [layout.descriptor(each) for each in layers]}, layout.MANIFEST
    )
    row = layout.tagged(manifest, name, platform=None, annotations={})
    with opened(folder) as there:
        blobs = [*layers, manifest]
        there.fill([each for each in blobs if not there.holds(each)], row, blobs, advance=lambda n: None)


def layers_of(folder: Path, name: str) -> set[bytes]:
    rows = json.loads((folder / "index.json").read_bytes())["manifests"]
    (row,) = [each for each in rows if each["annotations"][layout.REF_NAME] == name]
    return {
        (folder / "blobs/sha256" / each["digest"].removeprefix("sha256:")).read_bytes()
        for each in named(folder, row["digest"])["layers"]  # type: ignore[attr-defined]
    }


@settings(max_examples=40, deadline=None)
@given(runs=st.lists(st.tuples(st.sampled_from("abc"), st.sets(st.binary(max_size=3), max_size=4)), max_size=6))
def test_a_layout_has_what_the_last_run_of_each_name_put_and_nothing_else(
    runs: list[tuple[str, set[bytes]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("layout")
    last: dict[str, set[bytes]] = {}
    for name, wanted in runs:
        put(folder, name, *sorted(wanted))
        last[name] = wanted
        assert {each: layers_of(folder, each) for each in last} == last
        manifests = {row["digest"] for row in json.loads((folder / "index.json").read_bytes())["manifests"]}
        expected = {blob(each).digest for wanted in last.values() for each in wanted} | manifests
        assert {f"sha256:{p.name}" for p in (folder / "blobs/sha256").iterdir()} == expected


@settings(max_examples=150, deadline=None)
@given(
    text=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.just("sha256:" + "0" * 64),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(("manifests", "digest", "annotations", "mediaType", "layers", layout.REF_NAME)), inner
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_a_damaged_index_is_refused_and_nothing_goes(text: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("layout")
    put(folder, "other", b"one")
    (folder / "index.json").write_bytes(text)
    before = contents(folder)
    try:
        put(folder, "web", b"two")
    except StoreFailed as error:
        assert str(error).startswith("cannot vendor web to DIR: it is damaged: ")
        assert contents(folder) == before


def test_what_a_document_of_another_tool_names_is_kept(tmp_path: Path) -> None:
    """A row of a media type that is not the specification's own, as some tools write."""
    layer, other = blob(b"layer"), blob(b"rubbish")
    manifest = layout.document({"layers": [layout.descriptor(layer)]}, "application/vnd.docker.x")
    row = layout.tagged(manifest, "theirs", platform=None, annotations={})
    with opened(tmp_path) as there:
        there.fill([layer, other, manifest], row, [layer, other, manifest], advance=lambda n: None)
    put(tmp_path, "web", b"two")
    assert layers_of(tmp_path, "theirs") == {b"layer"}
    assert not (tmp_path / "blobs/sha256" / other.sha256).exists()


def test_a_file_that_changes_while_it_is_brought_in_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    folder.mkdir()
    put(folder, "web", b"one")
    before = contents(folder)
    (tmp_path / "file").write_bytes(b"changed")
    (tmp_path / "file").chmod(0o600)
    damaged = Blob(blob(b"promised").digest, 8, "x/y", path=str(tmp_path / "file"))
    fine = blob(b"fine")
    row = layout.tagged(fine, "web", platform=None, annotations={})
    with opened(folder) as there, pytest.raises(StoreFailed, match=r"file has changed$"):
        there.fill([fine, damaged], row, [fine, damaged], advance=lambda n: None)
    assert contents(folder) == before
