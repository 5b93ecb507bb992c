"""Portable services and system extensions, as systemd's own programs see them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hosier.errors import StoreFailed
from hosier.pack import directory, portable, squashfs, sysext
from hosier.pack.content import Contents
from hosier.store.manifest import Entry
from kit.mounted import place, scan

EPOCH = 1_700_000_000
OS_RELEASE = b'PRETTY_NAME="A test"\nID=debian\nVERSION_ID="12"\n'
SERVICE: dict[str, object] = {
    "command": ["served", "-g", 'daemon off; 100% $HOME "q" \\', "", "a\nb", "ö", "\udcff"],
    "user": "www",
    "group": None,
    "log": "/var/log/web 50%.log",
    "env": [["A", "b c\nd"], ["P", "50% $x"]],
    "labels": [],
}
UNIT = """\
[Unit]
Description=Web 1.4 100%%

[Service]
ExecStart=/usr/bin/served -g "daemon off; 100%% $$HOME \\"q\\" \\\\" "" "a\\x0ab" "\\xc3\\xb6" "\\xff"
Environment="A=b c\\x0ad"
Environment="P=50%% $x"
User=33
Group=34
StandardOutput=append:/var/log/web 50%%.log

[Install]
WantedBy=multi-user.target
"""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="systemd's programs mount images")


def folder(path: str) -> Entry:
    return Entry(path, "d", 0o755, 0, 0, 5)


def file(path: str, content: bytes, mode: int = 0o644) -> Entry:
    return Entry(path, "f", mode, 0, 0, 7, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def image() -> tuple[dict[str, Entry], dict[str, bytes]]:
    """A root with a merged /usr and a program."""
    contents = {
        "/etc/passwd": b"root:x:0:0::/root:/bin/sh\nwww:x:33:34::/:/bin/false\n",
        "/etc/group": b"root:x:0:\nwww:x:34:\nlog:x:77:\n",
        "/usr/bin/served": b"\x7fELF",
        "/usr/lib/os-release": OS_RELEASE,
    }
    entries = [folder(path) for path in ("/", "/etc", "/usr", "/usr/bin", "/usr/lib", "/var")]
    entries += [file(path, content, 0o755 if "bin" in path else 0o644) for path, content in contents.items()]
    entries.append(Entry("/bin", "l", 0o777, 0, 0, 5, target="usr/bin"))
    entries.append(Entry("/lib", "l", 0o777, 0, 0, 5, target="usr/lib"))
    entries.append(Entry("/etc/os-release", "l", 0o777, 0, 0, 5, target="../usr/lib/os-release"))
    entries.append(Entry("/etc/resolv.conf", "l", 0o777, 0, 0, 5, target="/run/systemd/resolve/stub-resolv.conf"))
    return {entry.path: entry for entry in sorted(entries, key=lambda each: each.path)}, contents


def planned(
    root: Path, entries: dict[str, Entry], config: dict[str, object], prefix: str = "web"
) -> tuple[dict[str, Entry], dict[str, bytes]]:
    with Contents(str(root), {}, name="web") as contents:
        return portable.plan(
            entries, config, prefix=prefix, title="Web  1.4\n100%", epoch=EPOCH, read=contents.whole, name="web"
        )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    entries, contents = image()
    place(str(tmp_path / "root"), entries.values(), contents)
    return tmp_path / "root"


def test_a_portable_service_is_the_image_and_what_systemd_needs(root: Path) -> None:
    entries, _ = image()
    made, contents = planned(root, entries, {"service": SERVICE})
    assert contents == {
        "/usr/lib/systemd/system/web.service": UNIT.encode(),
        "/usr/lib/os-release": OS_RELEASE + b"PORTABLE_PREFIXES=web\n",
        "/etc/machine-id": b"",
        "/etc/resolv.conf": b"",
    }
    added = sorted(made.keys() - entries.keys())
    folders = ["/dev", "/proc", "/run", "/sys", "/tmp", "/usr/lib/systemd", "/usr/lib/systemd/system", "/var/tmp"]
    assert added == sorted([*folders, "/etc/machine-id", "/usr/lib/systemd/system/web.service"])
    assert [oct(made[path].mode) for path in ("/tmp", "/var/tmp", "/proc")] == ["0o1777", "0o1777", "0o555"]
    same = entries.keys() - contents.keys()
    assert {path: made[path] for path in same} == {path: entries[path] for path in same}


def test_units_of_the_image_are_taken_as_they_are(root: Path) -> None:
    entries, _ = image()
    for path in ("/usr/lib/systemd", "/usr/lib/systemd/system"):
        entries[path] = folder(path)
    for unit in ("web-a.service", "web@.service", "webb.service", "web.mount", "web.socket"):
        entries[f"/usr/lib/systemd/system/{unit}"] = file(f"/usr/lib/systemd/system/{unit}", b"")
    _, contents = planned(root, entries, {})
    assert not any("system/" in path for path in contents)
    found = [path.rpartition("/")[2] for path in portable.matching(entries, "web")]
    assert found == ["web-a.service", "web@.service", "web.socket"]


@pytest.mark.parametrize(
    ("change", "config", "prefix", "reason"),
    [
        ("/usr/lib/os-release", {"service": SERVICE}, "web", "no /etc/os-release"),
        ("", {}, "web", r"no unit of web and no \[service\]"),
        ("/usr/bin/served", {"service": SERVICE}, "web", "no program served"),
        ("", {"service": SERVICE}, "we b", "no unit can be named"),
        ("", {"service": SERVICE}, "", "no unit can be named"),
    ],
)
def test_what_is_no_portable_service_is_refused(
    change: str, config: dict[str, object], prefix: str, reason: str, root: Path
) -> None:
    entries, _ = image()
    entries.pop(change, None)
    with pytest.raises(StoreFailed, match=reason):
        planned(root, entries, config, prefix)


BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
"""
# systemd-portabled on a bus of its own, in a mount namespace with a /run of its own; nothing of the host is seen.
INSPECT = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system
dbus-daemon --config-file="$1" --nofork 2>/dev/null & bus=$!
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus
for _ in $(seq 100); do [ -S /run/bus ] && break; sleep 0.05; done
/lib/systemd/systemd-portabled & portabled=$!
for _ in $(seq 100); do portablectl list >/dev/null 2>&1 && break; sleep 0.05; done
portablectl inspect --no-pager --cat "$2"; result=$?
kill $portabled $bus; wait
exit $result
"""


@root_only
def test_systemd_takes_the_portable_service(root: Path, tmp_path: Path) -> None:
    entries, _ = image()
    entries, contents = planned(root, entries, {"service": SERVICE})
    # what verify wants to find beside the unit, which the host gives to a portable service
    targets = tmp_path / "targets"
    targets.mkdir()
    for name in ("sysinit", "basic", "shutdown", "multi-user"):
        shutil.copy(f"/lib/systemd/system/{name}.target", targets)
    raw = tmp_path / "web_1.4.raw"
    with open(raw, "w+b") as out:
        squashfs.write(out.fileno(), str(root), entries.values(), epoch=EPOCH, contents=contents)
    said = subprocess.run(["systemd-dissect", raw], check=True, capture_output=True, text=True).stdout
    assert "✓ portable service" in said or "+ portable service" in said
    bus = tmp_path / "bus.conf"
    bus.write_text(BUS)
    words = ["unshare", "-m", "--propagation", "private", "bash", "-c", INSPECT, "bash", bus, raw]
    done = subprocess.run(words, capture_output=True, timeout=60)
    assert done.returncode == 0, done
    assert UNIT.encode() in done.stdout
    assert b"PORTABLE_PREFIXES=web\n" in done.stdout
    tree = tmp_path / "folder"
    directory.write(str(tree), str(root), entries.values(), epoch=EPOCH, contents=contents)
    assert verified(tree, targets).returncode == 0
    path = tree / "usr/lib/systemd/system/web.service"
    path.write_text(UNIT.replace("ExecStart=/usr/bin/served", "ExecStart=/usr/bin/absent"))
    assert verified(tree, targets).returncode != 0


def verified(tree: Path, targets: Path) -> subprocess.CompletedProcess[bytes]:
    """What systemd-analyze verify says of web.service in `tree`, with the host's own targets beside it."""
    system = tree / "usr/lib/systemd/system"
    for target in targets.iterdir():
        shutil.copy(target, system)
    return subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", f"--root={tree}", "web.service"], capture_output=True
    )


def extended(root: Path, entries: dict[str, Entry], base: dict[str, Entry] | None = None) -> sysext.Extension:
    with Contents(str(root), {}, name="web") as contents:
        return sysext.plan(
            entries, base, extension="tools", architecture="amd64", epoch=EPOCH, read=contents.whole, name="web"
        )


RELEASE = "/usr/lib/extension-release.d/extension-release.tools"


def test_an_extension_is_what_the_base_has_not(root: Path, tmp_path: Path) -> None:
    base, _ = image()
    entries, _ = image()
    (root / "opt").mkdir()
    new = {"/usr/bin/new": b"new", "/opt/x": b"x", "/etc/new.conf": b"c"}
    entries["/opt"] = folder("/opt")
    for path, content in new.items():
        entries[path] = file(path, content)
        (root / path[1:]).write_bytes(content)
    # of three names of one inode the base has the first
    entries["/usr/bin/one"] = base["/usr/bin/one"] = file("/usr/bin/one", b"same")
    for path in ("/usr/bin/three", "/usr/bin/two"):
        entries[path] = replace(entries["/usr/bin/one"], path=path, hardlink="/usr/bin/one")
        (root / path[1:]).write_bytes(b"same")
    entries["/usr/bin/served"] = replace(entries["/usr/bin/served"], mode=0o4755)
    made = extended(root, dict(sorted(entries.items())), base)
    assert list(made.entries) == [
        "/",
        "/opt",
        "/opt/x",
        "/usr",
        "/usr/bin",
        "/usr/bin/new",
        "/usr/bin/served",
        "/usr/bin/three",
        "/usr/bin/two",
        "/usr/lib",
        "/usr/lib/extension-release.d",
        RELEASE,
    ]
    assert made.contents == {RELEASE: b"ID=debian\nVERSION_ID=12\nARCHITECTURE=x86-64\n"}
    assert made.notes == ("1 paths outside /usr and /opt are left out: /etc/new.conf",)
    assert made.entries["/usr/bin/two"].hardlink == "/usr/bin/three"
    out = tmp_path / "tools"
    directory.write(str(out), str(root), made.entries.values(), epoch=EPOCH, contents=made.contents)
    assert set(scan(str(out))) == set(made.entries)
    assert (out / RELEASE[1:]).read_bytes() == made.contents[RELEASE]


def test_an_extension_without_a_base_is_all_of_usr_and_opt(root: Path) -> None:
    entries, _ = image()
    made = extended(root, entries)
    assert list(made.entries) == [
        "/",
        "/usr",
        "/usr/bin",
        "/usr/bin/served",
        "/usr/lib",
        "/usr/lib/extension-release.d",
        RELEASE,
    ]
    assert "6 paths outside" in made.notes[0]


def test_an_image_like_its_base_is_no_extension(root: Path) -> None:
    entries, _ = image()
    with pytest.raises(StoreFailed, match="differs from the base"):
        extended(root, entries, entries)


def test_an_image_of_no_release_extends_any(root: Path) -> None:
    entries, _ = image()
    del entries["/usr/lib/os-release"]
    assert extended(root, entries).contents[RELEASE].startswith(b"ID=_any\nARCH")


@root_only
def test_systemd_takes_the_extension(root: Path, tmp_path: Path) -> None:
    entries, _ = image()
    made = extended(root, entries)
    raw = tmp_path / "tools.raw"
    with open(raw, "w+b") as out:
        squashfs.write(out.fileno(), str(root), made.entries.values(), epoch=EPOCH, contents=made.contents)
    said = subprocess.run(["systemd-dissect", raw], check=True, capture_output=True, text=True).stdout
    assert "✓ extension for system" in said or "+ extension for system" in said
