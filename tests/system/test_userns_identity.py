"""What a script does to files in a mapped box is, on the disk, exactly what plain root would have done."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kit import tiny

SCRIPT = r"""
set -e
cd /w
umask 022
echo a > plain; echo b > owned; chown 5:6 owned; chown -h 7:8 plain
echo c > suid; chown 33:44 suid; chmod 6755 suid
mkdir sticky setgid; chmod 1777 sticky; chown 0:44 setgid; chmod 2775 setgid; echo d > setgid/inherits
ln -s /nowhere link; chown -h 9:10 link
echo e > one; ln one two; mkdir sub; ln one sub/three; chmod 600 two
mkfifo -m 620 pipe
cp /usr/bin/true capable; setcap cap_net_raw,cap_net_bind_service=ep capable
cp /usr/bin/true root-capable; chown 11:12 root-capable; setcap cap_sys_admin=eip root-capable
echo f > acl; setfacl -m u:33:rw,g:44:r,m::rwx acl
mkdir acl-folder; setfacl -d -m u:33:rwx acl-folder; echo g > acl-folder/inherits
setfattr -n user.note -v hello plain 2>/dev/null || python3 -c 'import os; os.setxattr("plain", "user.note", b"hello")'
python3 -c 'import os; os.setxattr("owned", "trusted.note", b"x")' 2>/dev/null || true
touch -d @1000000000 owned
echo h > nobody; chown 65534:65534 nobody
chmod 000 nobody
mkdir -p deep/er; chown -R 20:21 deep
mv /l/moved moved
echo more >> /l/suid; chmod 4755 /l/suid
echo more >> /l/acl; chown 13:14 /l/owned; chmod 640 /l/owned
chown 15:16 /l/fifo
mv /l/renamed /l/new-name
ln /l/linked /l/linked-again
chmod 700 /l/folder; echo i > /l/folder/new
chown -h 17:18 /l/symlink
touch -d @1000000000 /l/capable
"""

Seen = dict[str, tuple[object, ...]]


def _fill(tree: str) -> None:
    """What lies below already, made by plain root."""
    os.makedirs(f"{tree}/w")
    base = f"{tree}/l"
    os.makedirs(f"{base}/folder")
    for name in ("moved", "suid", "acl", "owned", "renamed", "linked", "folder/old"):
        with open(f"{base}/{name}", "w") as file:
            file.write(name)
    os.chown(f"{base}/suid", 33, 44)
    os.chmod(f"{base}/suid", 0o4755)
    subprocess.run(["setfacl", "-m", "u:33:rw", f"{base}/acl"], check=True)
    os.mkfifo(f"{base}/fifo")
    os.symlink("x", f"{base}/symlink")
    shutil.copy("/usr/bin/true", f"{base}/capable")
    os.chown(f"{base}/capable", 1, 2)
    subprocess.run(["setcap", "cap_chown=ep", f"{base}/capable"], check=True)
    os.mknod(f"{base}/null", 0o020640, os.makedev(1, 3))
    os.chown(f"{base}/null", 0, 44)


def _look(tree: str) -> Seen:
    """Everything below /w and /l, as this machine's root reads it: whiteouts and the overlay's own marks left out."""
    seen: Seen = {}
    links: dict[int, str] = {}
    for folder, folders, files in os.walk(tree):
        for name in sorted([*folders, *files]):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFCHR and status.st_rdev == 0:
                continue
            xattrs = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if not key.startswith("trusted.")
            }
            content: object = None
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    content = hash(file.read())
            elif kind == stat.S_IFLNK:
                content = os.readlink(path)
            elif kind == stat.S_IFCHR:
                content = status.st_rdev
            first = links.setdefault(status.st_ino, os.path.relpath(path, tree)) if kind == stat.S_IFREG else ""
            mtime = int(status.st_mtime) if status.st_mtime < 1_500_000_000 else "now"
            facts = (oct(status.st_mode), status.st_uid, status.st_gid, content, tuple(sorted(xattrs.items())), mtime)
            seen[os.path.relpath(path, tree)] = (*facts, first)
    return seen


def _only(seen: Seen, names: Seen) -> Seen:
    return {path: facts for path, facts in seen.items() if path in names}


@pytest.fixture
def base(tmp_path: os.PathLike[str]) -> Iterator[str]:
    tiny.require("busybox", "setcap", "setfacl", "getcap")
    path = os.fspath(tmp_path)
    tiny.make(f"{path}/root")
    _fill(f"{path}/root")
    yield path


@pytest.mark.parametrize("mode", ["mapped", "host-root"])
@pytest.mark.parametrize("confined", [True, False])
def test_files_come_out_as_plain_root_makes_them(base: str, mode: str, confined: bool) -> None:
    tiny.make(f"{base}/bare/root")
    _fill(f"{base}/bare/root")
    plain = tiny.bare(f"{base}/bare", SCRIPT)
    assert plain == (0, "")
    boxed = tiny.boxed(mode, base, SCRIPT, binds=tiny.HOST_USR, confined=confined)
    assert boxed == (0, "")
    expected = {"w": _look(f"{base}/bare/root/w"), "l": _look(f"{base}/bare/root/l")}
    found = {"w": _look(f"{base}/upper/w"), "l": _look(f"{base}/upper/l")}
    assert found["w"] == expected["w"]
    # of what was there before, the upper has what was touched; the rest stayed below
    assert found["l"] == _only(expected["l"], found["l"])
    assert set(found["l"]) == {
        *("suid", "acl", "owned", "fifo", "new-name", "linked", "linked-again", "folder", "folder/new", "symlink"),
        "capable",
    }
    getcap = subprocess.run(["getcap", "-r", "."], cwd=f"{base}/upper", capture_output=True, text=True, check=True)
    assert sorted(getcap.stdout.splitlines()) == [
        "./l/capable cap_chown=ep",
        "./w/capable cap_net_bind_service,cap_net_raw=ep",
        "./w/root-capable cap_sys_admin=eip",
    ]


def test_file_capabilities_work_inside(base: str) -> None:
    shutil.copy("/usr/bin/cat", f"{base}/root/l/reader")
    subprocess.run(["setcap", "cap_dac_override=ep", f"{base}/root/l/reader"], check=True)
    with open(f"{base}/root/l/secret", "w") as file:
        file.write("read\n")
    os.chmod(f"{base}/root/l/secret", 0o600)
    script = "/l/reader /l/secret; cat /l/secret 2>&-; cp /l/reader /tmp/c 2>&-; /tmp/c /l/secret 2>&-"
    found = tiny.boxed("mapped", base, script, binds=tiny.HOST_USR, uid=33, gid=33)
    assert found.output == "read\n"


def test_setuid_programs_work_inside_and_give_no_id_of_the_host(base: str) -> None:
    shutil.copy("/usr/bin/id", f"{base}/root/l/id")
    os.chmod(f"{base}/root/l/id", 0o4755)
    shutil.copy("/usr/bin/sleep", f"{base}/root/l/sleep")
    os.chmod(f"{base}/root/l/sleep", 0o4755)
    found = tiny.boxed("mapped", base, "/l/id -u; cat /proc/self/uid_map", binds=tiny.HOST_USR, uid=33, gid=33)
    assert found.output.split() == ["0", "0", "1879048192", "65536"]


@pytest.mark.parametrize("mode", tiny.MODES)
def test_no_device_node_is_made_and_those_in_the_tree_do_not_work(base: str, mode: str) -> None:
    if mode == "ordinary":
        os.remove(f"{base}/root/l/null")
    script = (
        "mknod /w/n c 1 3 2>/dev/null && echo made; mkfifo /w/p && echo fifo; cat /l/null 2>/dev/null && echo works"
    )
    assert tiny.boxed(mode, base, script).output == "fifo\n"
    # the control: bare root makes them, and the one in the tree works
    if mode == "mapped":
        assert tiny.bare(base, script + "; rm -f /w/n /w/p").output == "made\nfifo\nworks\n"


def test_a_file_system_without_id_maps_is_used_without_a_user_namespace(base: str) -> None:
    """Overlayfs itself has no id-mapped mounts: a tree on one runs as the host's root, cut down."""
    script = (
        'cd "$1" && mkdir -p o ou ow && mount -t overlay overlay -o lowerdir=root,upperdir=ou,workdir=ow '
        'o && PYTHONPATH="$3" exec "$2" -c "$4" "$1"'
    )
    program = (
        "import sys; from hosier.linux.box import Box, run; "
        "sys.exit(run(Box(lower=(sys.argv[1] + '/o',), scratch=True, env={'PATH': '/bin'}, "
        "argv=('sh', '-c', 'cat /proc/self/uid_map; id -u; touch /proc/sys/kernel/x || ls /proc/acpi'))))"
    )
    argv = [
        "unshare",
        "-m",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
        base,
        sys.executable,
        tiny.SRC,
        program,
    ]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["0", "0", "4294967295", "0"]), done.stderr
