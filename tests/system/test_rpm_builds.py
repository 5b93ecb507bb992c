"""Builds of RPM roots: what is reused, and that neither interruptions nor want leave anything but one image behind."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kit import http, rpms
from kit.cli import PYTHON, build, environment, hosier
from kit.faults import complaints, disk, gone, moments, start, used
from kit.http import Server
from kit.rpms import File
from kit.rpmshop import Shop, programs
from kit.rpmworld import World, served, world
from kit.world import left_behind, mounts

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="looks at the whole machine, and mounts small disks"),
    pytest.mark.skipif(shutil.which("rpmbuild") is None, reason="needs rpmbuild"),
]

SEED = 20260202
BASE = ("bash", "coreutils")
"""What scriptlets need."""


@pytest.fixture(scope="module")
def here() -> World:
    return world()


NEEDS = [rpms.Relation(name, 1 << 9) for name in ("bash", "coreutils")]
"""What each package with a scriptlet of the shell needs before it."""


def populate(shop: Shop) -> tuple[str, ...]:
    """Packages that make each phase of a build long enough to be hit."""
    noise = random.Random(SEED)
    shop.put(
        "slow", scripts={"pre": "sleep 0.05\n", "post": "sleep 0.15\n", "posttrans": "sleep 0.05\n"}, requires=NEEDS
    )
    shop.put("many", files={f"/usr/share/many/{n:04}": File(f"{n}\n") for n in range(1500)})
    shop.put(
        "big",
        files={"/usr/share/big": File(noise.randbytes(6 << 20))},
        compression="xz",
        scripts={"post": "rm -r /usr/share/many/1*\n"},
        requires=["many", *NEEDS],
    )
    shop.put(
        "last", scripts={"pre": "sleep 0.05\n", "pretrans": rpms.Script("x = 1", rpms.LUA)}, requires=["slow", *NEEDS]
    )
    shop.publish()
    return "slow", "many", "big", "last"


MORE = '[[run]]\ncommand = "sleep 0.1; echo run >/usr/share/run"\n'


def contents(shop: Shop) -> dict[str, bytes]:
    """The repository, for a server."""
    return {f"/{each.relative_to(shop.repo)}": each.read_bytes() for each in shop.repo.rglob("*") if each.is_file()}


# what is reused


def test_a_package_more_rebuilds_only_the_last_stage(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    ran = "echo {name} >>/usr/share/ran\n"
    for name in ("one", "two"):
        shop.put(name, scripts={"post": ran.format(name=name)}, requires=NEEDS)
    shop.publish()
    store, base = tmp_path / "store", programs()
    spec = shop.spec(*BASE, "one", repos=[base])
    first = build(spec, store=store)
    assert build(spec, store=store)["reused"] == "image"
    logs = set((store / "logs").iterdir())
    shop.spec(*BASE, "one", "two", repos=[base])
    planned = json.loads(hosier("build", spec, "--update", "--dry-run", "--json", store=store).stdout)
    assert [(each["packages"], each["reused"]) for each in planned["stages"]] == [(17, True), (1, False)]
    assert (planned["fetch_packages"], planned["unpack_packages"], planned["image"]) == (1, 1, False)
    second = build(spec, store=store)
    assert (second["reused"], second["fetched"]["packages"]) == ("stages 1 of 2", 1)  # type: ignore[index]
    assert Path(str(second["path"]), "usr/share/ran").read_text() == "one\ntwo\n"
    assert Path(str(first["path"]), "usr/share/ran").read_text() == "one\n"
    (log,) = set((store / "logs").iterdir()) - logs
    assert "one" not in re.findall(r"^== (\S+)", log.read_text(), re.MULTILINE)
    # The same lock gives the same image where nothing is there yet.
    assert build(spec, store=tmp_path / "fresh")["digest"] == second["digest"]


def test_each_version_of_a_kernel_is_known_by_it(tmp_path: Path) -> None:
    """By commands that only need the names of packages; that roots are those of dnf is another test's."""
    shop = Shop(tmp_path)
    for version in ("1", "2", "3"):
        files = {f"/usr/lib/modules/{version}": File(f"{version}\n"), "/usr/share/kernel": File("of all\n")}
        shop.put("kernel", version, files=files, provides=[rpms.Relation("kernel", rpms.EQUAL, f"{version}-1")])
    shop.put("module", requires=[rpms.Relation("kernel", rpms.EQUAL, "1-1")])
    shop.publish()
    store = tmp_path / "store"
    one = build(shop.spec("kernel-1-1", "kernel-2-1"), store=store)
    spec = shop.spec("kernel-2-1", "kernel = 3", "module")
    said = hosier("lock", spec, store=store).stdout.splitlines()
    assert said[:2] == ["+ kernel 3-1", "+ module 1-1"]
    hosier("lock", spec, "--update", "kernel-3-1", store=store)  # is a name there
    two = build(spec, store=store)
    old, new = str(one["digest"]), str(two["digest"])
    assert hosier("why", new, "/usr/lib/modules/1", store=store).stdout.splitlines() == [
        "/usr/lib/modules/1 is of kernel-1-1", "module 1-1  (requested)", "  depends kernel-1-1 1-1",
    ]  # fmt: skip
    changes = json.loads(hosier("diff", old, new, "--json", store=store).stdout)
    found = [(each["name"], each["change"]) for each in changes["packages"]]
    assert found == [("kernel-3-1", "added"), ("module", "added")]
    bill = json.loads(hosier("sbom", new, "--format", "spdx", store=store).stdout)
    needs = [each for each in bill["relationships"] if each["relationshipType"] == "DEPENDS_ON"]
    assert [(each["spdxElementId"], each["relatedSpdxElement"]) for each in needs] == [
        ("SPDXRef-package-module", "SPDXRef-package-kernel-1-1")
    ]
    assert len({each["SPDXID"] for each in bill["packages"]}) == 5
    changes = json.loads(hosier("diff", spec.with_suffix(".lock"), str(one["path"]), "--json", store=store).stdout)
    found = [(each["name"], each["change"]) for each in changes["packages"]]
    assert found == [("kernel-3-1", "removed"), ("module", "removed")]


def test_a_dry_run_writes_nothing_but_the_lock(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put("one")
    shop.publish()
    store = tmp_path / "store"
    spec = shop.spec("one")
    said = hosier("build", spec, "--dry-run", store=store).stdout
    assert "one" in spec.with_suffix(".lock").read_text()
    assert "1 package" in said
    assert not list((store / "trees").iterdir()) and not list((store / "unpacked").iterdir())


def test_another_store_takes_trees_from_a_cache_and_runs_nothing(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put("one", scripts={"post": "ln /usr/share/one /usr/share/other\n"}, requires=NEEDS)
    shop.put("two", scripts={"post": "rm /usr/share/other\n"}, requires=["one", *NEEDS])
    shop.publish()
    cache, base = f"oci:{tmp_path}/cache", programs()
    spec = shop.spec(*BASE, "one", repos=[base], more=MORE)
    first = build(spec, "--cache-to", cache, store=tmp_path / "first")
    store = tmp_path / "second"
    second = build(spec, "--cache-from", cache, store=store)
    assert (second["digest"], second["reused"], second["fetched"]) == (
        first["digest"],
        "tree",
        {"packages": 0, "bytes": 0},
    )
    assert not list((store / "logs").iterdir()) and not list((store / "unpacked").iterdir())
    assert complaints(store, "--deep") == []
    shop.spec(*BASE, "one", "two", repos=[base], more=MORE)
    third = build(spec, "--update", "--cache-from", cache, "--cache-to", cache, store=tmp_path / "third")
    assert third["reused"] == "stages 1 of 2"
    assert build(spec, store=tmp_path / "fourth")["digest"] == third["digest"]


def test_what_is_vendored_builds_without_a_network(here: World, tmp_path: Path) -> None:
    """In a network namespace with nothing in it, and an empty store: the same image."""
    shop = Shop(tmp_path, key=rpms.key())
    shop.put("one", scripts={"post": "echo one >/usr/share/ran\n"}, requires=NEEDS)
    shop.publish()
    rpms.write(tmp_path, "mine", "1", "1")
    store = tmp_path / "store"
    files = contents(shop) | {"/net-1-1.noarch.rpm": rpms.build("net", "1", "1")}
    with served(here) as (_, url), Server(files) as server:
        spec = shop.spec(*BASE, "one", "./mine-1-1.noarch.rpm", server.url("/net-1-1.noarch.rpm"), repos=[programs()])
        text = spec.read_text().replace(shop.repo.as_uri(), server.url(""))
        spec.write_text(text.replace(here.repos["base"].as_uri(), url("base")))
        first = build(spec, store=store)
        hosier("vendor", spec, tmp_path / "inputs", store=store)
    argv = ["unshare", "-n", "--", str(PYTHON), "-m", "hosier", "build", str(spec), "--json"]
    for origin, status in ((["--origin", f"{tmp_path}/inputs"], 0), ([], 6)):
        done = subprocess.run(
            [*argv, *origin],
            env=environment(tmp_path / f"empty{status}"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        if not status:
            assert json.loads(done.stdout)["digest"] == first["digest"]


# what the host lacks


def test_a_host_without_rpm_builds_what_has_no_lua(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    busybox = Path(shutil.which("busybox") or "").read_bytes()
    shop.put("shell", files={"/bin": rpms.Dir(), "/bin/sh": File(busybox, 0o755)}, provides=["/bin/sh"])
    shop.put("plain", scripts={"post": "echo plain >/usr/share/ran\n"})
    shop.put("lua", scripts={"post": rpms.Script("print('hi')", rpms.LUA)})
    shop.publish()
    store = tmp_path / "store"
    hide = " && ".join(
        f"mount --bind /dev/null {path}" for path in sorted(Path("/usr/lib").rglob("librpmio.so.*")) if path.is_file()
    )
    assert hide

    def without(*words: str | Path) -> subprocess.CompletedProcess[str]:
        argv = [
            "unshare",
            "-m",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            f'{hide} && PATH=/nowhere exec "$@"',
            "sh",
        ]
        argv += [str(PYTHON), "-m", "hosier", *map(str, words)]
        return subprocess.run(argv, env=environment(store), capture_output=True, text=True, check=False)

    done = without("build", shop.spec("lua", name="lua"))
    assert (done.returncode, done.stderr) == (
        11,
        "error: cannot install lua-1-1.noarch: it has a Lua scriptlet, and this host has no librpmio\n"
        "hint: install rpm (librpmio)\n",
    )
    assert json.loads(hosier("images", "--json", store=store).stdout) == []
    done = without("doctor")
    said = "Lua scriptlets: cannot be run without librpmio; for RPM packages with such: install rpm (librpmio)\n"
    assert f"ok    {said}" in done.stdout
    spec = shop.spec("plain", "shell", name="plain")
    done = without("build", spec)
    assert done.returncode == 0, done.stderr
    built = build(spec, store=tmp_path / "other")
    assert done.stdout.split()[1] == built["digest"]
    assert Path(str(built["path"]), "usr/share/ran").read_text() == "plain\n"


# interruptions


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Path, str, float]:
    """The shop, its spec with a lock, the digest of a quiet build, and its seconds."""
    shop = Shop(tmp_path_factory.mktemp("truth"))
    spec = shop.spec(*BASE, *populate(shop), repos=[programs()], more=MORE)
    began = time.monotonic()
    digest = str(build(spec, store=shop.folder / "store")["digest"])
    return shop, spec, digest, time.monotonic() - began


@pytest.mark.prove
def test_after_a_kill_the_next_build_succeeds(truth: tuple[Shop, Path, str, float], tmp_path: Path) -> None:
    _, spec, digest, length = truth
    for number, (moment, group) in enumerate(moments(6, length, SEED)):
        store = tmp_path / f"store-{number}"
        process = start(spec, store)
        time.sleep(moment)
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        _, said = process.communicate(timeout=10)
        where = f"after {moment:.3f} s: {said.strip().splitlines()[-1] if said.strip() else '(nothing said)'}"
        assert gone(store, tmp=False) == [], where
        assert [each for each in mounts(store) if str(tmp_path) in each] == []
        assert build(spec, store=store)["digest"] == digest, where
        assert complaints(store, "--deep") == [], where
        assert left_behind(store) == [], where
        print(where)


PHASES = [
    pytest.param(p, marks=[] if p in ("post", "lua", "writing") else pytest.mark.prove)
    for p in ("fetch", "pre", "post", "posttrans", "lua", "writing", "run")
]


@pytest.mark.parametrize("phase", PHASES)
def test_an_interrupt_stops_at_once_and_leaves_nothing(phase: str, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    sleeper = f"echo began-{phase}; sleep 60 & sleep 60\n"
    scripts: dict[str, str | rpms.Script] = {phase: sleeper} if phase in ("pre", "post", "posttrans") else {}
    if phase == "lua":
        scripts["post"] = rpms.Script("print('began-lua') while true do end", rpms.LUA)
    if phase == "writing":
        busy = "n=0; while :; do n=$((n+1)); mkdir -p /var/busy/$n; : >/var/busy/$n/x; done"
        scripts["post"] = f"echo began-writing; ({busy}) & {busy}\n"
    path = shop.put("sleeper", scripts=scripts)
    shop.publish()
    store = tmp_path / "store"
    more = f"[[run]]\ncommand = '''{sleeper}'''\n" if phase == "run" else ""
    with Server(contents(shop)) as server:
        spec = shop.spec(*BASE, "sleeper", repos=[programs()], more=more)
        spec.write_text(spec.read_text().replace(shop.repo.as_uri(), server.url("")))
        hosier("lock", spec, store=store)
        if phase == "fetch":
            server.faults[f"/{path.name}"] = [http.stall(100)] * 9
        process = start(spec, store)
        deadline = time.monotonic() + 30

        def reached() -> bool:
            if phase == "fetch":
                return server.asked(f"/{path.name}") > 0
            return any(f"began-{phase}" in log.read_text() for log in (store / "logs").glob("*"))

        while not reached():
            assert time.monotonic() < deadline and process.poll() is None, process.communicate()
            time.sleep(0.01)
        time.sleep(0.1)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        out, said = process.communicate(timeout=20)
        took = time.monotonic() - began
    assert (out, "Traceback" in said, process.returncode) == ("", False, 130), said
    assert took < 10, f"{took:.2f} s"  # what it was at sleeps for a minute
    assert gone(store, tmp=True) == []
    assert [each for each in mounts(store) if str(tmp_path) in each] == []
    assert json.loads(hosier("images", "--json", store=store).stdout) == []
    assert complaints(store, "--deep") == []


def test_who_begins_it_may_ignore_the_death_of_children(tmp_path: Path) -> None:
    """As after `trap '' CHLD`: where that is handed down, no process can be waited for."""
    shop = Shop(tmp_path)
    install = populate(shop)
    spec = shop.spec(*BASE, *install, repos=[programs()], more=MORE)
    process = start(spec, tmp_path / "store", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said


def test_four_builds_at_once_do_the_work_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    install = populate(shop)
    store = tmp_path / "store"
    with Server(contents(shop)) as server:
        spec = shop.spec(*BASE, *install, repos=[programs()], more=MORE)
        spec.write_text(spec.read_text().replace(shop.repo.as_uri(), server.url("")))
        hosier("lock", spec, store=store)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: build(spec, store=store), range(4)))
        fetched = [each.path for each in server.requests if each.path.endswith(".rpm")]
    assert len({each["digest"] for each in results}) == 1
    assert sorted(str(each["reused"]) for each in results) == ["image", "image", "image", "nothing"]
    assert len(fetched) == len(set(fetched)) == len(install)
    assert complaints(store, "--deep") == []
    assert left_behind(store) == []


@pytest.mark.prove
def test_a_full_disk_is_said_and_room_mends_it(truth: tuple[Shop, Path, str, float], tmp_path: Path) -> None:
    """In each phase, from nothing to nearly enough: told, nothing broken, and done once there is room."""
    _, spec, digest, _ = truth
    with disk(tmp_path / "ample", "500m") as ample:
        assert build(spec, store=ample.path / "store")["digest"] == digest
        enough = used(ample.path)
    failed = set()
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
            failed.add(phases[-1] if phases else "store")
            assert left_behind(store) == [], size
            small.resize("500m")
            assert complaints(store, "--deep") == [], size
            assert build(spec, store=store)["digest"] == digest
            assert complaints(store, "--deep") == []
            assert left_behind(store) == []
    print(f"the disk was full in: {', '.join(sorted(failed))}")
    assert {"fetch", "unpack"} < failed
