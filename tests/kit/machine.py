"""This host once more, running: own mounts, processes, network and devices, with systemd as first process or without.

What is changed lies in a folder of its own; settings of the kernel, which all share, cannot be changed there. Nothing
outlives the `with` block: the first process takes all along.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_MOUNTS = """
mkdir "$1/upper" "$1/work" "$1/merged"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/merged"
m=$1/merged
mount --bind "$1/share" "$m/mnt"
mount -t proc proc "$m/proc"
mount --bind "$m/proc/sys" "$m/proc/sys"
mount -o remount,bind,ro "$m/proc/sys"
mount -t sysfs -o ro sysfs "$m/sys"
[ -z "$2" ] || mount -t cgroup2 cgroup2 "$m/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$m/dev"
for name in null zero full random urandom tty; do : >"$m/dev/$name"; mount --bind "/dev/$name" "$m/dev/$name"; done
mkdir "$m/dev/pts" "$m/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$m/run"
mount -t tmpfs -o mode=1777 tmpfs "$m/tmp"
busybox ip link set lo up
cd "$m"
exec chroot "$m" env -i container=tests PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C sh -c "$3"
"""
_IDLE = "trap exit TERM; touch /run/up; while :; do sleep 100 & wait; done"
_SYSTEMD = "exec /lib/systemd/systemd --system --unit=tests.target --show-status=no --log-level=warning"
_TARGET = "[Unit]\nRequires=basic.target\nAfter=basic.target\nWants=rsyslog.service\n"
RSYSLOG = """\
module(load="imuxsock")
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="514")
*.* action(type="omfile" file="/var/log/heard" template="RSYSLOG_FileFormat")
"""
NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup")
KEPT = ("/etc/rsyslog.conf", "/var/lib/dpkg", "/var/lib/rpm-test", "/var/log", "/var/lib/systemd", "/var/cache")
"""Where a machine that runs writes, and package managers."""


class Machine:
    """A machine that runs; `share` is the folder of ours that it has as /mnt."""

    def __init__(self, folder: Path, first: int) -> None:
        self.folder = folder
        self.share = folder / "share"
        self._first = first

    def run(self, *words: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command there, as root."""
        enter = ["nsenter", "--target", str(self._first), *NAMESPACES, "--root"]
        base = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", **env}
        command = [*enter, "env", "-i", "--chdir=/", *(f"{key}={value}" for key, value in base.items()), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def heard(self) -> list[str]:
        """The lines in rsyslog's file, without the time and the host."""
        path = Path(f"{self.folder}/upper/var/log/heard")
        return [line.split(" ", 2)[2] for line in path.read_text().splitlines()] if path.exists() else []

    def wait(self, what: Callable[[], object], seconds: float = 30) -> None:
        """Until it is so."""
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                raise AssertionError("it did not come to be; what was heard:\n" + "\n".join(self.heard()))
            time.sleep(0.1)

    def changed(self) -> set[str]:
        """Paths that this host does not have, that are gone, or whose content is another."""
        upper, found = f"{self.folder}/upper", set()
        for above, folders, files in os.walk(upper):
            for name in [*folders, *files]:
                path = os.path.join(above, name)
                place = path.removeprefix(upper)
                if place.startswith(KEPT) or (
                    os.path.isdir(path) and not os.path.islink(path) and os.path.isdir(place)
                ):
                    continue
                same = os.path.isfile(path) and os.path.isfile(place) and not os.path.islink(path)
                if not same or Path(path).read_bytes() != Path(place).read_bytes():
                    found.add(place)
        return found


@contextlib.contextmanager
def machine(folder: Path, *, systemd: bool) -> Iterator[Machine]:
    """Have one, with rsyslog listening on /dev/log and on UDP port 514 of the loopback."""
    (folder / "share").mkdir(parents=True)
    control = _control() if systemd else None
    flags = [*NAMESPACES, "--propagation", "private", "--fork", "--kill-child"]
    command = ["unshare", *flags, "sh", "-ec", _MOUNTS, "sh", str(folder), "cgroup" if systemd else ""]
    with open(folder / "said", "wb") as said:
        process = subprocess.Popen(
            [*command, _BEGIN.format(_SYSTEMD) if systemd else _IDLE],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            preexec_fn=(lambda: Path(f"{control}/cgroup.procs").write_text("0")) if control else None,
        )
    try:
        first = _child(process, folder)
        made = Machine(folder, first)
        if systemd:
            made.wait(lambda: made.run("systemctl", "is-active", "tests.target", check=False).returncode == 0)
        else:
            made.wait(lambda: made.run("test", "-e", "/run/up", check=False).returncode == 0)
            made.run("sh", "-c", 'printf %s "$1" >/etc/rsyslog.conf', "sh", RSYSLOG)
            made.run("rsyslogd")
        yield made
    finally:
        process.kill()
        process.wait()
        if control:
            _remove(control)


_BEGIN = f"""
printf %s '{RSYSLOG}' >/etc/rsyslog.conf
rm -f /usr/sbin/policy-rc.d
mkdir -p /run/systemd/system
for name in modprobe@ systemd-modules-load systemd-sysctl systemd-udevd systemd-udev-trigger; do
    ln -s /dev/null "/run/systemd/system/$name.service"
done
printf %s '{_TARGET}' >/run/systemd/system/tests.target
{{}}
"""


def cgroups() -> str | None:
    """Where the second kind of control groups is, if we may make one."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options = line.split()[:4]
        if kind == "cgroup2" and "rw" in options.split(","):
            return place
    return None


def _control() -> str:
    place = f"{cgroups()}/hosier-tests-{os.getpid()}"
    os.mkdir(place)
    return place


def _remove(control: str) -> None:
    """Once what was in it has ended."""
    for _ in range(100):
        for above, _, _ in os.walk(control, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(above)
        if not os.path.exists(control):
            return
        time.sleep(0.1)
    raise AssertionError(f"{control} is still there")


def _child(process: subprocess.Popen[bytes], folder: Path) -> int:
    """The first process of the machine, once it is in its root."""
    for _ in range(300):
        if process.poll() is not None:
            break
        found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        with contextlib.suppress(OSError):
            if found and os.readlink(f"/proc/{found[0]}/root") != "/":
                return int(found[0])
        time.sleep(0.05)
    raise AssertionError(f"the machine does not start: {(folder / 'said').read_text()}")
