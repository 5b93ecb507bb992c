"""Builds that are interrupted, killed, starved and lied to: the next one succeeds, and nothing is left."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kit import archive as archives
from kit import http
from kit.archive import Lies, make_archive
from kit.cli import build, hosier
from kit.faults import complaints, disk, gone, loops, moments, start, used
from kit.http import Fault
from kit.system import architecture, minimal_packages
from kit.world import World, left_behind, mounts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looks at the whole machine, and mounts small disks")

SEED = 20260101


def populate(world: World) -> tuple[str, ...]:
    """Packages that make each phase of a build long enough to be hit."""
    noise = random.Random(SEED)
    world.deb("slow", {"/usr/share/slow": "s\n"}, preinst="sleep 0.05\n", postinst="sleep 0.15\n")
    world.deb("many", {f"/usr/share/many/{n:04}": f"{n}\n" for n in range(1500)}, postinst="rm -r /usr/share/many/1*\n")
    world.deb("big", {"/usr/share/big": noise.randbytes(6 << 20)}, compression="xz", Depends="many")
    world.deb("last", {"/usr/share/last": "l\n"}, Pre_Depends="slow", preinst="sleep 0.05\n")
    return "slow", "many", "big", "last"


MORE = '[[run]]\ncommand = "sleep 0.1; echo run >/usr/share/run"\n'


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path, str, float]:
    """The world, its spec with a lock, the digest of a quiet build, and its seconds."""
    world = World(tmp_path_factory.mktemp("truth"))
    install = populate(world)
    spec = world.spec(*install, more=MORE)
    began = time.monotonic()
    digest = str(build(spec, store=world.store)["digest"])
    return world, spec, digest, time.monotonic() - began


def kill_at(truth: tuple[World, Path, str, float], store: Path, moment: float, *, group: bool) -> str:
    """Kill a build after `moment` seconds; says how far it was."""
    _, spec, digest, _ = truth
    before = mounts(store)
    process = start(spec, store)
    time.sleep(moment)
    if group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    _, said = process.communicate(timeout=10)
    where = said.strip().splitlines()[-1] if said.strip() else "(nothing said)"
    assert gone(store, tmp=False) == [], f"after {moment:.3f} s: {where}"
    assert mounts(store) == before
    again = build(spec, store=store)
    assert again["digest"] == digest, f"after {moment:.3f} s: {where}"
    assert complaints(store, "--deep") == [], f"after {moment:.3f} s: {where}"
    assert left_behind(store) == [], f"after {moment:.3f} s: {where}"
    return where


def test_after_a_kill_the_next_build_succeeds(truth: tuple[World, Path, str, float], tmp_path: Path) -> None:
    for number, (moment, group) in enumerate(moments(8, truth[3], SEED)):
        where = kill_at(truth, tmp_path / f"store-{number}", moment, group=group)
        print(f"{moment:.3f} s, {'group' if group else 'process'}: {where}")


@pytest.mark.prove
def test_after_any_kill_the_next_build_succeeds(truth: tuple[World, Path, str, float], tmp_path: Path) -> None:
    store = tmp_path / "store"
    for number, (moment, group) in enumerate(moments(50, truth[3], SEED)):
        where = kill_at(truth, store, moment, group=group)
        print(f"{moment:.3f} s, {'group' if group else 'process'}: {where}")
        if number % 3 == 2:
            shutil.rmtree(store)  # often enough also the phases that a full store skips
        else:
            hosier("gc", truth[2], store=store)
            hosier("gc", "--all", store=store)


def test_killed_twice_in_one_store_and_with_its_box_left_alone(
    truth: tuple[World, Path, str, float], tmp_path: Path
) -> None:
    """A killed fetch goes on where it was; a killed step is done again; nothing adds up."""
    store = tmp_path / "store"
    for share in (0.2, 0.5, 0.8):
        process = start(truth[1], store)
        time.sleep(truth[3] * share)
        process.kill()
        process.communicate()
        assert gone(store, tmp=False) == []
    assert build(truth[1], store=store)["digest"] == truth[2]
    assert complaints(store, "--deep") == []
    assert left_behind(store) == []


PHASES = [
    ("fetch", "fetch"),
    ("unpack", "unpack"),
    ("preinst", "began-preinst"),
    ("postinst", "began-postinst"),
    ("run step", "began-run"),
]


@pytest.mark.parametrize("phase", [name for name, _ in PHASES])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_an_interrupt_stops_at_once_and_leaves_nothing(phase: str, number: signal.Signals, tmp_path: Path) -> None:
    world = World(tmp_path)
    marker = f"began-{phase.split()[0]}"
    sleeper = f"echo {marker}; sleep 60 & sleep 60\n"
    big = {f"/usr/share/much/{n}": f"{n}" * 200 for n in range(20000)} if phase == "unpack" else {}
    world.deb(
        "sleeper",
        big,
        preinst=sleeper if phase == "preinst" else "",
        postinst=sleeper if phase == "postinst" else "",
    )
    world.publish()
    more = f"[[run]]\ncommand = '''{sleeper}'''\n" if phase == "run step" else ""
    with world.server() as server:
        spec = world.spec("sleeper", uris=[server.url("")], more=more)
        hosier("lock", spec, store=world.store)
        before = (mounts(tmp_path), loops())
        if phase == "fetch":
            deb = next(path for path in server.files if "sleeper" in path)
            server.faults[deb] = [http.stall(100)] * 9
        process = start(spec, world.store)
        deadline = time.monotonic() + 20

        def reached() -> bool:
            if phase == "fetch":
                return server.asked(deb) > 0
            if phase == "unpack":
                return any((world.store / "tmp").glob("unpack-*/package/99"))
            return marker in world.logs()

        while not reached():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        time.sleep(0 if phase == "unpack" else 0.1)
        began = time.monotonic()
        os.killpg(process.pid, number)
        out, said = process.communicate(timeout=20)
        took = time.monotonic() - began
        assert (out, "Traceback" in said) == ("", False), said
        assert process.returncode == 128 + number
        assert took < 10, f"{took:.2f} s"  # what it was at sleeps for a minute
        assert gone(world.store, tmp=True) == []
        assert (mounts(tmp_path), loops()) == before
        assert json.loads(hosier("images", "--json", store=world.store).stdout) == []
        assert complaints(world.store, "--deep") == []
    if phase in ("fetch", "unpack"):
        world.spec("sleeper")
        build(spec, "--update", store=world.store)
        assert complaints(world.store) == []


def test_four_builds_at_once_do_the_work_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    install = populate(world)
    world.publish()
    with world.server() as server:
        spec = world.spec(*install, uris=[server.url("")], more=MORE)
        hosier("lock", spec, store=world.store)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: build(spec, store=world.store), range(4)))
        fetched = [r.path for r in server.requests if r.path.endswith(".deb")]
    assert len({r["digest"] for r in results}) == 1
    assert sorted(r["reused"] for r in results) == ["image", "image", "image", "nothing"]
    assert len(fetched) == len(set(fetched)) == len(minimal_packages()) + 4
    assert world.logs().count("Setting up slow ") == 1
    assert complaints(world.store, "--deep") == []
    assert left_behind(world.store) == []


def test_different_builds_at_once_share_what_they_have_in_common(tmp_path: Path) -> None:
    world = World(tmp_path)
    populate(world)
    world.publish()
    with world.server() as server:
        specs = [
            world.spec(each, name=f"own-{each}", uris=[server.url("")]) for each in ("slow", "many", "big", "last")
        ]
        for spec in specs:
            hosier("lock", spec, store=world.store)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda spec: build(spec, store=world.store), specs))
        fetched = [r.path for r in server.requests if r.path.endswith(".deb")]
    assert len({r["digest"] for r in results}) == 4
    assert len(fetched) == len(set(fetched)), "a package was fetched twice"
    assert world.logs().count("Setting up libc6:") == 1, "the common base was configured more than once"
    assert complaints(world.store, "--deep") == []
    assert left_behind(world.store) == []


def test_collection_takes_nothing_from_a_build_at_work(truth: tuple[World, Path, str, float], tmp_path: Path) -> None:
    store = tmp_path / "store"
    process = start(truth[1], store)
    while process.poll() is None:
        if (store / "version").exists():
            hosier("gc", "--all", store=store)
    out, said = process.communicate()
    assert process.returncode == 0, said
    assert json.loads(out)["digest"] == truth[2]
    assert complaints(store, "--deep") == []


# Mirrors

MIRRORS: list[tuple[str, list[Fault], int]] = [
    ("truncates", [http.short(100)] * 9, 7),
    ("cuts the connection", [http.cut(300)] * 9, 6),
    ("corrupts", [http.corrupt] * 9, 7),
    ("serves more than there is", [http.longer] * 9, 7),
    ("answers 404", [http.status(404)] * 9, 6),
    ("answers 503", [http.status(503)] * 30, 6),
    ("drops the connection", [http.drop] * 30, 6),
    ("speaks no HTTP", [http.garbage] * 30, 6),
]


@pytest.mark.parametrize(("name", "faults", "status"), MIRRORS, ids=[name for name, _, _ in MIRRORS])
def test_a_mirror_that_misbehaves_is_survived_or_named(
    name: str, faults: list[Fault], status: int, tmp_path: Path
) -> None:
    world = World(tmp_path)
    world.deb("wanted", {"/usr/share/wanted": random.Random(SEED).randbytes(2000)}, compression="none")
    world.publish()
    with world.server() as bad, world.server() as good:
        deb = next(path for path in bad.files if "wanted" in path)
        alone = world.spec("wanted", name="alone", uris=[bad.url("")])
        hosier("lock", alone, store=world.store)
        bad.faults[deb] = list(faults)
        failed = hosier("build", alone, store=world.store, check=False, timeout=120)
        assert failed.returncode in (6, 7), failed.stderr
        error = failed.stderr[failed.stderr.index("error: ") :]
        assert error.startswith("error: cannot fetch wanted 1.0") and bad.url(deb) in error, error
        assert json.loads(hosier("images", "--json", store=world.store).stdout) == []
        assert complaints(world.store, "--deep") == []
        assert left_behind(world.store) == []
        # Another origin serves it.
        bad.faults[deb] = list(faults)
        both = world.spec("wanted", name="both", uris=[bad.url(""), good.url("")])
        survived = build(both, store=world.store)
        assert good.asked(deb) == 1
        # The first one, mended, gives the same image.
        bad.faults[deb] = []
        assert build(alone, store=world.store)["packages"] == survived["packages"]
    assert complaints(world.store, "--deep") == []


def test_a_mirror_that_stalls_is_left_for_another(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("wanted", {"/usr/share/wanted": "w\n"})
    world.publish()
    with world.server() as bad, world.server() as good:
        deb = next(path for path in bad.files if "wanted" in path)
        spec = world.spec("wanted", uris=[bad.url(""), good.url("")])
        hosier("lock", spec, store=world.store)
        bad.faults[deb] = [http.stall(50)] * 9
        began = time.monotonic()
        build(spec, store=world.store)
        assert time.monotonic() - began < 45
        assert good.asked(deb) == 1


def test_last_months_index_is_refused_by_name(tmp_path: Path) -> None:
    world = World(tmp_path)
    packages = list(minimal_packages())
    now = datetime.now(UTC)
    make_archive(
        tmp_path / "a",
        packages,
        architecture=architecture(),
        date=now - timedelta(days=37),
        valid_until=now - timedelta(days=30),
    )
    world.archive = make_archive(tmp_path / "b", packages, architecture=architecture())
    expired = world.spec(name="old", uris=[f"file:{tmp_path}/a"])
    done = hosier("build", expired, store=world.store, check=False)
    assert done.returncode == 7
    assert "cannot trust the Release of stable of own: it was valid until" in done.stderr
    assert "allow-expired" in done.stderr
    assert not expired.with_suffix(".lock").exists()
    build(world.spec(name="new"), store=world.store)


LIES = [
    ("a package's size", Lies(package_size=1), (6, 7), r"cannot fetch \S+ 1\.0\S*: .*expected"),
    ("a package's digest", Lies(package_digest=True), (7,), r"cannot fetch \S+ 1\.0\S*: "),
    ("an index's size", Lies(index_size=5), (6, 7), "Packages"),
    ("an index's digest", Lies(index_digest=True), (6, 7), "Packages"),
    ("that it is signed", Lies(broken_signature=True), (7,), "cannot trust the Release of stable of own"),
    ("that a package is there", Lies(omit_package=True), (6,), r"cannot fetch \S+ 1\.0\S*: "),
]


@pytest.mark.parametrize(("name", "lies", "statuses", "told"), LIES, ids=[name for name, *_ in LIES])
def test_an_archive_that_lies_is_refused(
    name: str, lies: Lies, statuses: tuple[int, ...], told: str, tmp_path: Path
) -> None:
    world = World(tmp_path)
    world.deb("wanted", {"/usr/share/wanted": "w\n"})
    world.publish(lies=lies)
    done = hosier("build", world.spec("wanted"), store=world.store, check=False)
    assert done.returncode in statuses, done.stderr
    error = done.stderr[done.stderr.index("error: ") :]
    assert re.search(told, error), error
    assert json.loads(hosier("images", "--json", store=world.store).stdout) == []
    assert complaints(world.store, "--deep") == []
    assert left_behind(world.store) == []


@pytest.mark.parametrize(
    ("field", "said", "found"),
    [("Package", "wanted", "impostor"), ("Version", "1.0", "0.9"), ("Architecture", "all", architecture())],
)
def test_a_package_that_is_not_the_one_of_its_index_is_refused(
    field: str, said: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name, version and architecture inside have to be those that were locked, though size and digest are right."""
    world = World(tmp_path)
    inside = {"Package": "wanted", "Version": "1.0", "Architecture": "all", field: found}
    path = world.deb(inside["Package"], {"/w": "w\n"}, version=inside["Version"], arch=inside["Architecture"])
    honest = archives._stanza

    def stanza(*words: object) -> str:
        text = honest(*words)  # type: ignore[arg-type]
        return text.replace(f"{field}: {found}\n", f"{field}: {said}\n") if words[2] == path else text

    monkeypatch.setattr(archives, "_stanza", stanza)
    world.publish()
    done = hosier("build", world.spec("wanted"), store=world.store, check=False)
    assert done.returncode in (7, 8), done.stderr
    error = done.stderr[done.stderr.index("error: ") :]
    assert "wanted 1.0" in error and found in error, error
    assert json.loads(hosier("images", "--json", store=world.store).stdout) == []
    assert left_behind(world.store) == []


# A store that somebody damaged


DAMAGES = [
    ("cut short", lambda data: data[:-20]),
    ("changed", lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:]),
    ("emptied", lambda data: b""),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES, ids=[name for name, _ in DAMAGES])
def test_a_package_file_that_was_damaged_in_the_store_is_fetched_again(
    name: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    world = World(tmp_path)
    world.deb("wanted", {"/usr/share/wanted": "w" * 5000 + "\n"})
    spec = world.spec("wanted")
    first = build(spec, store=world.store)
    size = os.path.getsize(world.packages[0])
    (deb,) = [p for p in (world.store / "debs").iterdir() if p.stat().st_size == size]
    deb.write_bytes(damage(deb.read_bytes()))
    assert any(deb.name in each for each in complaints(world.store, "--deep"))
    shutil.rmtree(world.store / "unpacked" / deb.name)
    world.spec("wanted", packages='paths-include = ["/nothing"]')  # another tree, of the same packages
    hosier("lock", spec, store=world.store)
    again = build(spec, store=world.store)
    assert again["fetched"] == {"packages": 1, "bytes": size}
    assert again["digest"] == first["digest"]
    assert complaints(world.store, "--deep") == []
    assert left_behind(world.store) == []


def test_a_file_that_was_damaged_in_the_store_is_found_and_made_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("wanted", {"/usr/share/wanted": "w" * 5000 + "\n"})
    spec = world.spec("wanted")
    first = build(spec, store=world.store)
    with open(f"{first['path']}/usr/share/wanted", "r+b") as file:
        file.write(b"tampered")  # one inode, of the unpacked package and of the tree
    assert complaints(world.store) == []
    told = complaints(world.store, "--deep")
    assert any("unpacked/" in each for each in told) and any("trees/" in each for each in told), told
    hosier("doctor", "--deep", "--repair", store=world.store, check=False)
    assert complaints(world.store, "--deep") == []
    again = build(spec, store=world.store)
    assert again["digest"] == first["digest"]
    assert Path(f"{again['path']}/usr/share/wanted").read_text() == "w" * 5000 + "\n"
    assert complaints(world.store, "--deep") == []


# A full disk


def test_a_full_disk_is_said_and_room_mends_it(tmp_path: Path) -> None:
    """In each phase, from nothing to nearly enough: told, nothing broken, and done once there is room."""
    world = World(tmp_path)
    spec = world.spec(*populate(world), name="full", more=MORE)
    hosier("lock", spec, store=tmp_path / "other")
    with disk(tmp_path / "ample", "500m") as ample:
        digest = build(spec, store=ample.path / "store")["digest"]
        enough = used(ample.path)
    failed_in = set()
    for size in (200, enough // 6, enough // 2, *(enough - less for less in (1200, 500, 150))):
        with disk(tmp_path / f"disk-{size}", f"{size}k") as small:
            store = small.path / "store"
            done = hosier("build", spec, "--verbose", store=store, check=False)
            if done.returncode == 0:
                continue
            assert done.returncode in (9, 10), (size, done.stderr)
            error = done.stderr[done.stderr.index("error: ") :]
            assert "no space left" in error.lower(), (size, error)
            phases = re.findall(r"^(?:stage \d+: )?(\w+).*, stopped", done.stderr, re.MULTILINE)
            failed_in.add(phases[-1] if phases else "store")
            assert left_behind(store) == [], size
            small.resize("500m")
            assert complaints(store, "--deep") == [], size
            assert build(spec, store=store)["digest"] == digest
            assert complaints(store, "--deep") == []
            assert left_behind(store) == []
    print(f"the disk was full in: {', '.join(sorted(failed_in))}")
    assert {"fetch", "unpack"} < failed_in


def test_a_script_that_fills_the_disk_is_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("writer", postinst="head -c 60000000 /dev/zero >/usr/share/writer\n")
    spec = world.spec("writer")
    with disk(tmp_path / "disk", "50m") as small:
        store = small.path / "store"
        done = hosier("build", spec, store=store, check=False)
        assert done.returncode == 9 and "No space left on device" in done.stderr, done.stderr
        assert "error: cannot configure writer: its postinst failed" in done.stderr
        assert left_behind(store) == []
        small.resize("500m")
        build(spec, store=store)
