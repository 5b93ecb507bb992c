"""`hosier vendor`, and builds from what it made: without a network, and past origins that lie."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hosier.cli.images import human_size
from hosier.errors import FetchFailed, NotAuthentic, StoreFailed
from kit import tiny
from kit.cli import PYTHON, build, environment, hosier
from kit.http import Server, late
from kit.registry import docker_registry
from kit.world import World

ALONE = ("unshare", "-n", "--")


def made(path: Path) -> World:
    """A world with two packages, one of its own, and a file."""
    world = World(path)
    world.deb("app", {"/usr/bin/app": "a\n"}, postinst="echo made >/var/lib/made\n")
    world.deb("lib", {"/usr/lib/lib": "l\n"})
    world.deb("own", {"/usr/bin/own": "o\n"}, local=True)
    (path / "motd").write_text("hello\n")
    return world


MORE = '[[file]]\npath = "/etc/motd"\nsource = "motd"\n'


def spec_of(world: World, more: str = "", *, uris: tuple[str, ...] = (), name: str = "small") -> Path:
    return world.spec("app", "lib", "./local/own_1.0_all.deb", name=name, more=MORE + more, uris=uris)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if not p.is_dir()}


def vendor(spec: Path, out: Path, *words: str, store: Path) -> dict[str, object]:
    done: dict[str, object] = json.loads(hosier("vendor", spec, out, "--json", *words, store=store).stdout)
    return done


def cut_off(*words: str | Path, store: Path) -> subprocess.CompletedProcess[str]:
    """Run `hosier` in a network namespace of its own, where there is nothing but a loopback that is down."""
    argv = [*ALONE, str(PYTHON), "-m", "hosier", *map(str, words)]
    return subprocess.run(argv, env=environment(store), capture_output=True, text=True)


def test_a_build_from_a_vendored_folder_needs_no_network(tmp_path: Path) -> None:
    world = made(tmp_path)
    with world_server(world) as server:
        spec = spec_of(world, uris=(server.url(""),))
        digest = build(spec, store=tmp_path / "usual")["digest"]
        done = vendor(spec, tmp_path / "v", store=tmp_path / "another")
        assert done["kept"] == 0 and done["fetched"]["packages"] > 2  # type: ignore[index]
        again = vendor(spec, tmp_path / "v", store=tmp_path / "usual")
        assert (again["kept"], again["added"], again["dropped"]) == (done["objects"], [], [])
        assert again["fetched"] == {"packages": 0, "bytes": 0}
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "v", elsewhere / "inputs")
    for name in ("small.toml", "small.lock", "motd", "local"):
        source = tmp_path / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, elsewhere / name)
    without = cut_off("build", elsewhere / "small.toml", store=tmp_path / "empty")
    assert without.returncode == FetchFailed.status
    found = cut_off("build", elsewhere / "small.toml", "--origin", elsewhere / "inputs", store=tmp_path / "empty")
    assert found.returncode == 0, found.stderr
    assert found.stdout == f"small:1 {digest}\n"

    for deb in (tmp_path / "empty/debs").iterdir():
        deb.unlink()
    refused = cut_off("verify", "small", store=tmp_path / "empty")
    assert refused.returncode == FetchFailed.status
    verified = cut_off("verify", "small", "--origin", elsewhere / "inputs", store=tmp_path / "empty")
    assert verified.returncode == 0, verified.stderr


def world_server(world: World) -> Server:
    world.publish()
    return world.server()


def test_a_registry_that_skopeo_or_vendor_filled_is_an_origin(tmp_path: Path) -> None:
    world = made(tmp_path)
    spec = spec_of(world)
    digest = build(spec, store=tmp_path / "usual")["digest"]
    done = vendor(spec, tmp_path / "v", store=tmp_path / "usual")
    with docker_registry(tmp_path / "registry") as registry:
        copied, pushed = f"{registry.host}/team/copied", f"{registry.host}/team/pushed"
        subprocess.run(
            ["skopeo", "copy", "--dest-tls-verify=false", f"oci:{tmp_path}/v:small", f"docker://{copied}:small"],
            check=True,
            capture_output=True,
        )
        first = vendor(spec, tmp_path / "v", "--push", pushed, store=tmp_path / "usual")["pushed"]
        assert first == {"reference": f"{pushed}:small@{done['digest']}", "bytes": first["bytes"]}  # type: ignore[index]
        assert first["bytes"] > 100_000  # type: ignore[index]
        again = vendor(spec, tmp_path / "v", "--push", pushed, store=tmp_path / "usual")["pushed"]
        assert again["bytes"] == 0  # type: ignore[index]
        shutil.rmtree(tmp_path / "a/pool")
        given = build(spec, "--origin", copied, store=tmp_path / "one")
        assert given["digest"] == digest
        spec_of(world, f'[[origin]]\nname = "team"\nregistry = "{pushed}"\n')
        lock = (tmp_path / "small.lock").read_text()
        stale = hosier("build", spec, store=tmp_path / "two", check=False)
        assert "the origin team is new" in stale.stderr
        (tmp_path / "small.lock").write_text(lock)
    assert hosier("build", spec, "--origin", tmp_path / "v", store=tmp_path / "two", check=False).returncode == 4


def test_what_one_origin_lacks_another_has(tmp_path: Path) -> None:
    """The repo is dead, and each kind of origin has a part of the packages only."""
    world = made(tmp_path)
    served = world_server(world).files
    spec = spec_of(world)
    digest = build(spec, store=tmp_path / "usual")["digest"]
    vendor(spec, tmp_path / "v", store=tmp_path / "usual")
    pool = sorted(path for path in served if path.startswith("/pool"))
    with (
        Server({path: served[path] for path in pool[::4]}) as mirror,
        Server() as snapshot,
        Server(dict(served)) as repo,
        docker_registry(tmp_path / "open") as registry,
        docker_registry(tmp_path / "closed", users={"joe": "s3cret"}) as closed,
    ):
        more = (
            f'[[origin]]\nname = "closed"\nregistry = "{closed.host}/team/v"\nfirst = true\n'
            f'[[origin]]\nname = "mirror"\nuri = "{mirror.url("")}"\n'
            f'[[origin]]\nname = "snapshot"\nsnapshot = "{snapshot.url("/s")}"\nfirst = true\n'
            f'[[origin]]\nname = "folder"\nfolder = "v"\n'
            f'[[origin]]\nname = "team"\nregistry = "{registry.host}/team/v"\n'
        )
        vendor(spec, tmp_path / "v", "--push", f"{registry.host}/team/v", store=tmp_path / "usual")
        spec_of(world, more, uris=(repo.url(""),))
        hosier("lock", spec, "--update", store=tmp_path / "usual")
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(_epoch(tmp_path / "small.lock")))
        snapshot.files = {f"/s/{at}{path}": served[path] for path in pool[1::4]}
        for path in (*pool[3::4], *pool[::4]):
            (tmp_path / "v/blobs/sha256" / hashlib.sha256(served[path]).hexdigest()).unlink()
        repo.files.clear()
        done = hosier("build", spec, "--json", store=tmp_path / "past")
        assert json.loads(done.stdout)["digest"] == digest
        assert "warning" not in done.stderr
        assert mirror.requests and snapshot.requests and repo.requests


def test_two_at_once_make_one_folder(tmp_path: Path) -> None:
    world = made(tmp_path)
    specs = [spec_of(world), world.spec("lib", name="other")]
    for spec in specs:
        hosier("lock", spec, store=tmp_path / "usual")
    running = [
        subprocess.Popen(
            [str(PYTHON), "-m", "hosier", "vendor", str(spec), str(tmp_path / "v")],
            env=environment(tmp_path / f"store{number}"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for number, spec in enumerate(specs * 2)
    ]
    for each in running:
        _, told = each.communicate(timeout=60)
        assert each.returncode == 0, told
    for number, spec in enumerate(specs):
        vendor(spec, tmp_path / "w", store=tmp_path / f"store{number}")
    assert contents(tmp_path / "v") == contents(tmp_path / "w")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".v")] == []


LIES: dict[str, Callable[[bytes], bytes]] = {
    "mirror": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "snapshot": lambda content: content[: len(content) // 2] + content[len(content) // 2 + 1 :] + b"x",
    "folder": lambda content: b"\0" * len(content),
    "registry": lambda content: content[1:] + content[:1],
}


def test_origins_that_lie_are_named_and_the_next_one_is_asked(tmp_path: Path) -> None:
    world = made(tmp_path)
    served = world_server(world).files
    pool = {path: content for path, content in served.items() if path.startswith("/pool")}
    spec = spec_of(world)
    digest = build(spec, store=tmp_path / "usual")["digest"]
    vendor(spec, tmp_path / "v", store=tmp_path / "usual")
    lying = tmp_path / "lying"
    shutil.copytree(tmp_path / "v", lying)
    for blob in (lying / "blobs/sha256").iterdir():
        blob.write_bytes(LIES["folder"](blob.read_bytes()))
    with (
        Server({path: LIES["mirror"](content) for path, content in pool.items()}) as mirror,
        Server() as snapshot,
        Server(dict(served)) as repo,
        docker_registry(tmp_path / "registry") as registry,
    ):
        reference = f"{registry.host}/team/v"
        vendor(spec, tmp_path / "v", "--push", reference, store=tmp_path / "usual")
        for blob in (tmp_path / "registry").rglob("data"):
            if blob.is_file():
                blob.write_bytes(LIES["registry"](blob.read_bytes()))
        origins = {
            "mirror": f'uri = "{mirror.url("")}"',
            "snapshot": f'snapshot = "{snapshot.url("/archive")}"',
            "folder": 'folder = "lying"',
            "registry": f'registry = "{reference}"',
        }
        # Those that are put first are all asked before the repo is, the one that serves what it should.
        more = "".join(f'[[origin]]\nname = "{name}"\n{line}\nfirst = true\n' for name, line in origins.items())
        spec_of(world, more, uris=(repo.url(""),))
        hosier("lock", spec, "--update", store=tmp_path / "usual")
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(_epoch(tmp_path / "small.lock")))
        snapshot.files |= {f"/archive/{at}{path}": LIES["snapshot"](content) for path, content in pool.items()}
        done = hosier("build", spec, "--json", store=tmp_path / "past")
        assert json.loads(done.stdout)["digest"] == digest
        places = {
            "mirror": mirror.url(""),
            "snapshot": snapshot.url("/archive"),
            "folder": str(lying),
            "registry": reference,
        }
        warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
        assert sorted(line.partition(" served ")[0] for line in warnings) == sorted(
            f"warning: {name} ({place})" for name, place in places.items()
        )
        assert all("served other bytes than were asked for as " in line for line in warnings)
        assert all("the next origin is asked" in line for line in warnings)

        repo.files |= {path: LIES["mirror"](content) for path, content in pool.items()}
        refused = hosier("build", spec, store=tmp_path / "none", check=False)
        assert refused.returncode == NotAuthentic.status
        told = refused.stderr.partition("error: ")[2]
        assert "no origin served it" in told
        for name, place in places.items():
            assert f"\n  {name} ({place})" in told
        assert f"\n  {repo.url('/pool')}" in told
        # The package of the spec's own folder is the only one that was served as it should be.
        own = hashlib.sha256((tmp_path / "local/own_1.0_all.deb").read_bytes()).hexdigest()
        for folder in ("debs", "unpacked"):
            assert {p.name for p in (tmp_path / "none" / folder).glob("?" * 64)} <= {own}


def _epoch(lock: Path) -> int:
    return next(int(line.split()[2]) for line in lock.read_text().splitlines() if line.startswith("epoch = "))


def _link(blob: Path) -> None:
    blob.unlink()
    blob.symlink_to("/etc/passwd")


def _device(blob: Path) -> None:
    blob.unlink()
    os.mknod(blob, 0o666 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero


def _pipe(blob: Path) -> None:
    blob.unlink()
    os.mkfifo(blob)


def _folder(blob: Path) -> None:
    blob.unlink()
    blob.mkdir()


def _huge(blob: Path) -> None:
    with blob.open("r+b") as file:
        file.truncate(1 << 42)


HOSTILE: list[tuple[str, Callable[[Path], object], int, str]] = [
    ("absent", Path.unlink, FetchFailed.status, "no such file or directory"),
    ("a link", _link, NotAuthentic.status, "bytes, expected "),
    ("a device", _device, FetchFailed.status, "not a regular file"),
    ("a pipe", _pipe, FetchFailed.status, "not a regular file"),
    ("a folder", _folder, FetchFailed.status, "not a regular file"),
    ("empty", lambda blob: blob.write_bytes(b""), NotAuthentic.status, "0 bytes, expected "),
    ("huge", _huge, NotAuthentic.status, "4398046511104 bytes, expected "),
    (
        "other bytes",
        lambda blob: blob.write_bytes(b"\0" * blob.stat().st_size),
        NotAuthentic.status,
        "sha256 is ",
    ),
]


def test_nothing_unverified_comes_in_from_a_hostile_folder(tmp_path: Path) -> None:
    world = made(tmp_path)
    spec = spec_of(world)
    vendor(spec, tmp_path / "v", store=tmp_path / "usual")
    shutil.rmtree(tmp_path / "a/pool")
    lock = (tmp_path / "small.lock").read_text()
    digest = next(line for line in lock.splitlines() if 'name = "app"' in line).partition('sha256 = "')[2][:64]
    for name, damage, status, told in HOSTILE:
        folder = tmp_path / f"v {name}"
        shutil.copytree(tmp_path / "v", folder)
        damage(folder / "blobs/sha256" / digest)
        store = tmp_path / f"store {name}"
        refused = hosier("build", spec, "--origin", folder, store=store, check=False)
        assert refused.returncode == status, (name, refused.stderr)
        error = refused.stderr.partition("error: ")[2]
        assert error.startswith("cannot fetch app 1.0: no origin served it\n"), (name, error)
        assert told in error, (name, error)
        assert not (store / "debs" / digest).exists() and not (store / "unpacked" / digest).exists()
        shutil.rmtree(store)
        shutil.rmtree(folder)
    assert hosier("build", spec, "--origin", tmp_path / "v", store=tmp_path / "store").returncode == 0


def test_a_folder_that_is_no_origin_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    world = made(tmp_path)
    spec = spec_of(world)
    hosier("lock", spec, store=tmp_path / "usual")
    refused = hosier("build", spec, "--origin", tmp_path / "local", store=tmp_path / "store", check=False)
    assert refused.returncode == FetchFailed.status
    assert refused.stderr == (
        f"error: cannot use {tmp_path}/local as an origin: it has no oci-layout, so nothing was vendored there\n"
        "hint: hosier vendor SPEC DIR makes such a folder\n"
    )
    assert hosier("build", spec, "--origin", "nothing", store=tmp_path / "store", check=False).returncode == 2

    # One that the spec names may be missing on this machine, and one that is damaged is told of.
    spec_of(world, '[[origin]]\nname = "v"\nfolder = "v"\n[[origin]]\nname = "local"\nfolder = "local"\nfirst = true\n')
    done = hosier("build", spec, "--update", store=tmp_path / "store")
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        f"warning: the origin local is not asked: cannot use {tmp_path}/local as an origin: it has no oci-layout, so "
        "nothing was vendored there"
    ]


def test_a_folder_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    world = made(tmp_path)
    spec = spec_of(world)
    assert world.archive is not None
    shutil.copy(world.archive.keyring(), tmp_path / "key.asc")
    spec.write_text(spec.read_text().replace(str(world.archive.keyring()), "key.asc"))
    (tmp_path / "motd").chmod(0o640)
    vendor(spec, tmp_path / "v", store=tmp_path / "usual")
    first = contents(tmp_path / "v")
    mine = tmp_path / "theirs"
    mine.mkdir()
    for name in ("small.toml", "small.lock", "motd", "local", "key.asc"):
        source = tmp_path / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, mine / name)
    os.utime(mine / "motd", (1, 1))
    vendor(mine / "small.toml", tmp_path / "w", store=tmp_path / "another")
    assert contents(tmp_path / "w") == first

    tiny.require("newuidmap")
    with tempfile.TemporaryDirectory(prefix="hosier-ordinary-") as folder, tiny.sources() as src:
        os.chmod(folder, 0o777)
        shutil.copytree(mine, f"{folder}/spec")
        subprocess.run(["chmod", "-R", "a+rwX", folder], check=True)
        argv = [tiny.interpreter(), "-m", "hosier", "--root-store", f"{folder}/store"]
        argv += ["vendor", f"{folder}/spec/small.toml", f"{folder}/v", "--origin", f"{folder}/given"]
        shutil.copytree(tmp_path / "w", f"{folder}/given")
        subprocess.run(["chmod", "-R", "a+rX", f"{folder}/given"], check=True)
        done = subprocess.run(
            tiny.ordinary_argv(folder, argv),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": src, "PYTHONDONTWRITEBYTECODE": "1", "HOME": folder},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert contents(Path(folder, "v")) == first


def test_what_is_no_longer_locked_goes_and_what_is_new_comes(tmp_path: Path) -> None:
    world = made(tmp_path)
    spec = spec_of(world)
    store = tmp_path / "usual"
    out = tmp_path / "v"
    vendor(spec, out, store=store)
    other = world.spec("lib", name="other")
    hosier("vendor", other, out, store=store)
    both = json.loads((out / "index.json").read_text())["manifests"]
    assert [row["annotations"]["org.opencontainers.image.ref.name"] for row in both] == ["other", "small"]

    newer = world.deb("app", {"/usr/bin/app": "b\n"}, version="2.0")
    world.publish()
    hosier("lock", spec, "--update", "app", store=store)
    before = contents(out)
    planned = hosier("vendor", spec, out, "--dry-run", store=store)
    assert contents(out) == before
    done = hosier("vendor", spec, out, store=store)
    lines = [
        "+ pool/main/a/app/app_2.0_all.deb",
        "+ small.lock",
        "- pool/main/a/app/app_1.0_all.deb",
        "- small.lock",
    ]
    assert done.stdout.splitlines()[:-1] == lines
    assert planned.stdout.splitlines() == [*lines, f"fetch: 1 package, {human_size(os.path.getsize(newer))}"]
    assert hosier("build", spec, "--origin", out, store=tmp_path / "one").returncode == 0
    shutil.rmtree(tmp_path / "a/pool")
    assert hosier("build", other, "--origin", out, store=tmp_path / "two").returncode == 0

    blob = max((out / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    whole = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(b"\0" * len(whole))
    mended = json.loads(hosier("vendor", spec, out, "--json", store=store).stdout)
    assert (len(mended["added"]), mended["dropped"]) == (1, [])
    assert blob.read_bytes() == whole


def test_a_vendoring_that_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    world = made(tmp_path)
    with world_server(world) as server:
        spec = spec_of(world, uris=(server.url(""),))
        hosier("lock", spec, store=tmp_path / "usual")
        vendor(spec, tmp_path / "w", store=tmp_path / "clean")
        store, out = tmp_path / "store", tmp_path / "v"
        debs = [path for path in server.files if path.startswith("/pool")]
        server.faults = {path: [late(60)] for path in debs[3:]}
        argv = [str(PYTHON), "-m", "hosier", "vendor", str(spec), str(out)]
        child = subprocess.Popen(argv, env=environment(store), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            for _ in range(400):
                if (store / "debs").exists() and len(list((store / "debs").glob("?" * 64))) >= 2:
                    break
                assert child.poll() is None
                time.sleep(0.05)
            child.send_signal(signal.SIGKILL)
        finally:
            child.kill()
            child.wait()
        assert not out.exists()
        server.faults = {}
        before = len(list((store / "debs").glob("?" * 64)))
        done = vendor(spec, out, store=store)
        assert before >= 2
        assert done["fetched"]["packages"] == len(debs) + 1 - before  # type: ignore[index]
        assert contents(out) == contents(tmp_path / "w")
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".v")] == []


def _elsewhere(out: Path) -> None:
    shutil.move(out / "blobs/sha256", out.parent / "victim")
    (out / "blobs/sha256").symlink_to(out.parent / "victim")


def _piped_index(out: Path) -> None:
    (out / "index.json").unlink()
    os.mkfifo(out / "index.json")


def _linked_index(out: Path) -> None:
    (out / "index.json").unlink()
    (out / "index.json").symlink_to("/etc/passwd")


def _large_index(out: Path) -> None:
    with (out / "index.json").open("r+b") as file:
        file.truncate(1 << 40)


def _other_row(out: Path) -> None:
    index = json.loads((out / "index.json").read_text())
    row = {**index["manifests"][0], "digest": f"sha256:{'0' * 64}", "annotations": {}}
    index["manifests"].append(row)
    (out / "index.json").write_text(json.dumps(index))


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (_elsewhere, "it is damaged: its folder blobs/sha256: not a directory"),
    (_piped_index, "it is damaged: its index.json: it is not a regular file"),
    (_linked_index, "it is damaged: its index.json: it is not a regular file"),
    (_large_index, "it is damaged: its index.json: it is too large"),
    (lambda out: (out / "index.json").write_text("[" * 100_000), "it is damaged: its index.json lists no manifests"),
    (lambda out: (out / "index.json").write_text('{"manifests":[[]]}'), "it is damaged: its index.json lists no manif"),
    (_other_row, f"it is damaged: it lacks sha256:{'0' * 64}, which its index names"),
    (lambda out: (out / "oci-layout").unlink(), "it has files, and is no OCI layout"),
]


def test_a_folder_that_is_damaged_is_not_written_to(tmp_path: Path) -> None:
    world = made(tmp_path)
    spec = spec_of(world)
    store = tmp_path / "usual"
    vendor(spec, tmp_path / "v", store=store)
    for number, (damage, told) in enumerate(BROKEN):
        out = tmp_path / f"case {number}" / "v"
        shutil.copytree(tmp_path / "v", out)
        next((out / "blobs/sha256").iterdir()).unlink()  # so that there is something to do
        damage(out)
        before = sorted(str(p) for p in out.parent.rglob("*"))
        refused = hosier("vendor", spec, out, store=store, check=False)
        assert refused.returncode == StoreFailed.status, refused.stderr
        assert refused.stderr.startswith(f"error: cannot vendor small to {out}: {told}"), refused.stderr
        assert sorted(str(p) for p in out.parent.rglob("*")) == before
    (tmp_path / "file").write_text("x")
    refused = hosier("vendor", spec, tmp_path / "file", store=store, check=False)
    assert refused.stderr.startswith(f"error: cannot vendor small to {tmp_path}/file: there is a file of that name")


def test_nothing_comes_of_a_vendoring_that_fails(tmp_path: Path) -> None:
    world = made(tmp_path)
    spec = spec_of(world)
    hosier("lock", spec, store=tmp_path / "usual")
    shutil.rmtree(tmp_path / "a/pool")
    refused = hosier("vendor", spec, tmp_path / "v", store=tmp_path / "store", check=False)
    assert refused.returncode == FetchFailed.status
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith((".", "v"))) == []


@pytest.mark.prove
def test_a_real_root_is_built_from_its_folder_without_a_network(tmp_path: Path) -> None:
    spec = tmp_path / "real.toml"
    spec.write_text(
        '[image]\nname = "real"\n[[repo]]\nname = "debian"\nsource = "host"\n[packages]\ninstall = ["nginx", "apt"]\n'
    )
    digest = build(spec, store=tmp_path / "usual")["digest"]
    hosier("vendor", spec, tmp_path / "v", store=tmp_path / "another")
    found = cut_off("build", spec, "--origin", tmp_path / "v", store=tmp_path / "empty")
    assert found.returncode == 0, found.stderr
    assert found.stdout.split()[1] == digest
