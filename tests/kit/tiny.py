"""A root of one program (busybox), and ways to run a script in it: boxed as root or as an ordinary user, or bare."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from hosier.linux.box import Box, run

SRC = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../src"))
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
MODES = ("mapped", "host-root", "ordinary")
HOST_USR = (("/usr", "/usr", True),)
"""For scripts that need more than busybox: the host's programs, read-only; /bin stays busybox."""

NEEDS = {"busybox": "busybox-static", "newuidmap": "uidmap", "setcap": "libcap2-bin", "setfacl": "acl"}


def require(*programs: str) -> None:
    import pytest

    if os.geteuid() != 0:
        pytest.skip("these tests begin as root")
    for program in programs:
        assert shutil.which(program), f"apt-get install {NEEDS.get(program, program)}"


def make(path: str) -> str:
    """A root at `path`: busybox under all its names, an empty /etc, and links for a bound /usr."""
    busybox = shutil.which("busybox")
    assert busybox, "apt-get install busybox-static"
    for folder in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "root", "usr"):
        os.makedirs(f"{path}/{folder}")
    os.chmod(f"{path}/tmp", 0o1777)
    shutil.copy(busybox, f"{path}/bin/busybox")
    for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            os.symlink("busybox", f"{path}/bin/{name}")
    for name in ("lib", "lib64"):
        if os.path.islink(f"/{name}"):
            os.symlink(f"usr/{name}", f"{path}/{name}")
    with open(f"{path}/etc/passwd", "w") as file:
        file.write("root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    with open(f"{path}/etc/group", "w") as file:
        file.write("root:x:0:\nwww:x:33:\nextra:x:44:www\nnogroup:x:65534:\n")
    return path


class Result:
    def __init__(self, status: int, output: str) -> None:
        self.status = status
        self.output = output

    def __eq__(self, other: object) -> bool:
        return (self.status, self.output) == other

    def __repr__(self) -> str:
        return repr((self.status, self.output))


def boxed(mode: str, base: str, script: str, **more: object) -> Result:
    """Run `script` by sh in a box over base/root, with base/upper and base/work; its exit status and its output."""
    for name in ("upper", "work"):
        os.makedirs(f"{base}/{name}", exist_ok=True)
    if mode == "ordinary":
        return _ordinary(base, script, more)
    return gathered(base, script, more, userns=mode == "mapped")


def gathered(base: str, script: str, more: dict[str, object], *, userns: bool) -> Result:
    """Run it with a pipe for its output, which must be short."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            status = run(_box(base, script, more, writer, userns=userns))
        finally:
            os.close(writer)
        with open(reader, "rb", closefd=False) as file:
            return Result(os.waitstatus_to_exitcode(status), file.read().decode(errors="replace"))
    finally:
        os.close(reader)


def _box(base: str, script: str, more: dict[str, object], out: int, *, userns: bool) -> Box:
    given: dict[str, object] = {"env": ENV, "confined": True, "no_fsync": True, **more}
    if "argv" not in given:
        given["argv"] = ("/bin/sh", "-c", script)
    return Box(
        lower=(f"{base}/root",),
        upper=f"{base}/upper",
        work=f"{base}/work",
        stdout=out,
        stderr=out,
        userns=userns,
        **given,  # type: ignore[arg-type]
    )


def interpreter() -> str:
    """A Python that every user may run."""
    for path in (sys.executable, "/usr/bin/python3"):
        real = os.path.realpath(path)
        parts = real.split("/")
        folders = ["/".join(parts[:n]) or "/" for n in range(1, len(parts))]
        if os.path.exists(real) and all(os.stat(folder).st_mode & 0o001 for folder in folders):
            return real
    raise AssertionError("no Python that an ordinary user may run")


@contextmanager
def sources() -> Iterator[str]:
    """The package where every user may read it, with the byte code that no such user could keep."""
    with tempfile.TemporaryDirectory(prefix="hosier-src-") as folder:
        shutil.copytree(f"{SRC}/hosier", f"{folder}/hosier")
        os.chmod(folder, 0o755)
        yield folder


def ordinary_argv(folder: str, argv: list[str], *, ranges: bool = True) -> list[str]:
    """`argv` as an ordinary user with subordinate ids, without a change to this machine's /etc; `folder` is scratch."""
    user = pwd.getpwnam("nobody")
    with open(f"{folder}/subid", "w") as file:
        file.write(f"{user.pw_name}:2000000000:65536\n" if ranges else "")
    script = (
        'touch /etc/subuid /etc/subgid; mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift && '
        f'exec setpriv --reuid {user.pw_uid} --regid {user.pw_gid} --clear-groups -- "$@"'
    )
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", f"{folder}/subid", *argv]


_DRIVER = """
import json, os, sys, time
sys.path[:0] = json.loads(sys.argv[2])
from hosier.linux.userns import become_root
become_root()
given = json.loads(sys.argv[1])
from kit import tiny
base = given.pop("base")
def tuples(value):
    return tuple(map(tuples, value)) if isinstance(value, list) else value
more = {key: tuples(value) for key, value in given["more"].items()}
result = tiny.gathered(base, given["script"], more, userns=True)
sys.stdout.write(result.output)
sys.stdout.flush()
os._exit(result.status & 255)
"""


def _ordinary(base: str, script: str, more: dict[str, object]) -> Result:
    user = pwd.getpwnam("nobody")
    more = {key: value for key, value in more.items() if value is not None}
    with tempfile.TemporaryDirectory(prefix="hosier-ordinary-") as folder, sources() as src:
        os.chmod(folder, 0o755)
        mine = f"{folder}/base"
        subprocess.run(["cp", "-a", base, mine], check=True)
        subprocess.run(["chown", "-Rh", f"{user.pw_uid}:{user.pw_gid}", mine], check=True)
        shutil.copytree(os.path.dirname(__file__), f"{src}/kit", ignore=shutil.ignore_patterns("__pycache__"))
        order = json.dumps({"base": mine, "script": script, "more": more})
        argv = [interpreter(), "-c", _DRIVER, order, json.dumps([src])]
        done = subprocess.run(
            ordinary_argv(folder, argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return Result(done.returncode, done.stdout.decode(errors="replace"))


def bare(base: str, script: str) -> Result:
    """The same script by chroot(8) with the host's /proc, /sys, /dev and no box: what the defences are held against.

    Only mounts and the host name are kept apart, so that nothing has to be put back.
    """
    inner = (
        'mount --bind "$1" "$1" && cd "$1" && mount --rbind /proc proc && mount --rbind /sys sys && '
        'mount --rbind /dev dev && mount --bind /usr usr && exec chroot . /bin/sh -c "$2"'
    )
    done = subprocess.run(
        ["unshare", "-m", "-u", "--propagation", "private", "sh", "-c", inner, "sh", f"{base}/root", script],
        env=ENV,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return Result(done.returncode, done.stdout.decode(errors="replace"))


def processes(marker: str) -> list[int]:
    """The processes of this machine whose command line has `marker` in it, but for this one."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if marker.encode() in file.read():
                        found.append(int(name))
            except OSError:
                continue
    return found


def is_mounted(base: str) -> bool:
    """Whether an overlay over base/upper exists in any mount namespace (with index=on the kernel refuses a second)."""
    os.makedirs(f"{base}/upper", exist_ok=True)
    os.makedirs(f"{base}/probe", exist_ok=True)
    options = f"index=on,lowerdir={base}/root,upperdir={base}/upper,workdir={base}/probe"
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "mount", "-t", "overlay", "overlay", "-o", options, "/mnt"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 or "busy" in done.stderr, done.stderr
    return done.returncode != 0


def mounts_of(text: str) -> list[str]:
    """The lines of any process's mountinfo that have `text` in them."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/mountinfo") as file:
                    found |= {line for line in file if text in line}
            except OSError:
                continue
    return sorted(found)
