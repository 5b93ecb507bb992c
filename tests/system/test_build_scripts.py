"""Maintainer scripts: what they see, how their failure is told, and that hostile ones reach nothing outside."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.cli import build, hosier
from kit.debs import File, Link
from kit.world import World, left_behind, manifest, mounts, probe

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="compares with what the real root could do")

ESC = "\x1b"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.probe_deb()
    return made


def between(text: str, begin: str, end: str) -> list[str]:
    return text.split(begin + "\n", 1)[1].split(end + "\n", 1)[0].splitlines()


def test_what_a_script_sees(world: World) -> None:
    world.deb(
        "look",
        postinst="echo BEGIN env; env | sort; echo END env\n"
        "echo BEGIN fds; probe descriptors; stat -Lc %t:%T /proc/self/fd/0; wc -c <&0; echo END fds\n"
        "echo BEGIN self; id; umask; cat /proc/sys/kernel/hostname; ls -d /proc/[0-9]* | wc -l; echo END self\n"
        "echo BEGIN status; grep -E '^(Cap|Seccomp:|NoNewPrivs|SigIgn|SigBlk)' /proc/self/status; echo END status\n"
        "echo BEGIN ids; cat /proc/self/uid_map; echo END ids\n"
        "echo BEGIN mounts; cut -d' ' -f5,6 /proc/self/mountinfo; echo END mounts\n"
        "echo BEGIN dev; ls /dev; echo END dev\necho BEGIN sys; ls -A /sys; echo END sys\n",
        Depends="probe",
    )
    spec = world.spec("look")
    noisy = {
        "SECRET": "token",
        "LD_PRELOAD": "",
        "LANG": "de_DE.UTF-8",
        "TMPDIR": "/nowhere",
        "DEBIAN_FRONTEND": "gnome",
    }
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    result = subprocess.run(  # a caller with open descriptors, a strange umask and ignored signals
        ["sh", "-c", 'trap "" HUP USR1; umask 077; exec "$@"', "sh", *_words(world, spec)],
        env={**_environment(world), **noisy},
        pass_fds=[writer],
        check=True,
        capture_output=True,
        text=True,
    )
    os.close(reader)
    os.close(writer)
    log = world.logs()
    assert between(log, "BEGIN env", "END env") == [
        "DEBCONF_NONINTERACTIVE_SEEN=true",
        "DEBCONF_NOWARNINGS=yes",
        "DEBIAN_FRONTEND=noninteractive",
        "DPKG_ADMINDIR=/var/lib/dpkg",
        *(line for line in log.splitlines() if line.startswith("DPKG_FORCE=")),
        "DPKG_MAINTSCRIPT_ARCH=all",
        "DPKG_MAINTSCRIPT_DEBUG=0",
        "DPKG_MAINTSCRIPT_NAME=postinst",
        "DPKG_MAINTSCRIPT_PACKAGE=look",
        "DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1",
        "DPKG_ROOT=",
        *(line for line in log.splitlines() if line.startswith("DPKG_RUNNING_VERSION=")),
        "HOME=/root",
        "LC_ALL=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD=/",
        "PYTHONHASHSEED=0",
        *(line for line in log.splitlines() if line.startswith("SOURCE_DATE_EPOCH=")),
        "TERM=dumb",
        "UCF_FORCE_CONFFOLD=1",
    ]
    assert between(log, "BEGIN fds", "END fds") == ["fd 0", "fd 1", "fd 2", "descriptors: done", "1:3", "0"]
    assert between(log, "BEGIN self", "END self")[:3] == ["uid=0(root) gid=0(root) groups=0(root)", "0022", "hosier"]
    assert int(between(log, "BEGIN self", "END self")[3]) < 10  # its own processes alone
    status = dict(line.split(":\t") for line in between(log, "BEGIN status", "END status"))
    assert status["Seccomp"] == "2"
    assert int(status["SigBlk"], 16) == 0
    forbidden = (
        ("sys_admin", 21),
        ("sys_module", 16),
        ("sys_rawio", 17),
        ("mknod", 27),
        ("sys_ptrace", 19),
        ("net_admin", 12),
    )
    for kind in ("CapEff", "CapPrm", "CapBnd"):
        assert [name for name, bit in forbidden if int(status[kind], 16) >> bit & 1] == []
    assert (int(status["CapInh"], 16), int(status["CapAmb"], 16)) == (0, 0)
    inside, outside, count = between(log, "BEGIN ids", "END ids")[0].split()
    assert inside == "0" and int(outside) > 65535 and int(count) >= 65536
    points = dict(line.split(" ", 1) for line in between(log, "BEGIN mounts", "END mounts"))
    assert {"/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/run", "/tmp"} <= points.keys()
    assert {point for point in points if not point.startswith(("/proc", "/dev", "/sys", "/run", "/tmp"))} == {
        "/",
        "/usr/sbin/policy-rc.d",
        "/usr/sbin/start-stop-daemon",
        "/var/lib/dpkg/info",
    } | {point for point in points if point.startswith(("/usr/bin/ischroot",))}
    for point in ("/proc/sys", "/sys", "/usr/sbin/policy-rc.d", "/var/lib/dpkg/info"):
        assert "ro" in points[point].split(","), point
    assert "nodev" in points["/"].split(",")
    assert between(log, "BEGIN dev", "END dev") == sorted(
        ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"]
    )
    assert between(log, "BEGIN sys", "END sys") == []
    assert "token" not in log and json.loads(result.stdout)["reused"] == "nothing"


def _words(world: World, spec: Path) -> list[str]:
    import sys

    return [sys.executable, "-m", "hosier", "build", str(spec), "--json"]


def _environment(world: World) -> dict[str, str]:
    from kit.cli import environment

    return environment(world.store)


def test_fsync_is_answered_and_not_done(world: World) -> None:
    world.deb("syncer", postinst="probe fsync >/usr/share/fsync\n", Depends="probe")
    root = str(build(world.spec("syncer"), store=world.store)["path"])
    assert Path(f"{root}/usr/share/fsync").read_text() == "fsync: done\n"
    assert subprocess.run([_host_probe(world), "fsync"], capture_output=True, text=True).stdout == "fsync: EBADF\n"


def _host_probe(world: World) -> str:
    path = world.path / "probe"
    if not path.exists():
        path.write_bytes(probe())
        path.chmod(0o755)
    return str(path)


FAILURES = [
    (
        "a postinst",
        {"postinst": f"echo one; echo '{ESC}[31mtwo'; echo three >&2; exit 7\n"},
        "its postinst failed: installed bad package post-installation script subprocess returned error exit status 7"
        "\n  | Setting up bad (1.0) ...\n  | one\n  | \\x1b[31mtwo\n  | three",
    ),
    (
        "a preinst",
        {"preinst": "echo before; false\n"},
        "its preinst failed: exited with status 1\n  | before",
    ),
    (
        "a signal",
        {"postinst": "echo last words; kill -9 $$\n"},
        "its postinst failed: installed bad package post-installation script subprocess was killed by signal (Killed)"
        "\n  | Setting up bad (1.0) ...\n  | last words",
    ),
    (
        "only the last lines",
        {"postinst": "seq 1 1000; exit 1\n"},
        "its postinst failed: installed bad package post-installation script subprocess returned error exit status 1"
        + "".join(f"\n  | {n}" for n in range(989, 1001)),
    ),
    (
        "a script that is no program",
        {"scripts": {"postinst": "#!/usr/bin/no-such-interpreter\n"}},
        "its postinst failed: installed bad package post-installation script subprocess returned error exit status 2",
    ),
]


@pytest.mark.parametrize(("name", "scripts", "told"), FAILURES, ids=[name for name, _, _ in FAILURES])
def test_a_failing_script_is_told_and_leaves_no_image(
    name: str, scripts: dict[str, str], told: str, world: World
) -> None:
    world.deb("good", postinst="echo fine\n")
    world.deb("bad", Depends="good", **scripts)  # type: ignore[arg-type]
    spec = world.spec("bad")
    failed = hosier("build", spec, store=world.store, check=False)
    assert failed.returncode == 9
    (log,) = (world.store / "logs").glob("*")
    error = failed.stderr[failed.stderr.index("error: ") :]
    if name == "a script that is no program":
        assert error.startswith(f"error: cannot configure bad: {told}") and error.endswith(
            f"hint: the full log is {log}\n"
        )
    else:
        assert error == f"error: cannot configure bad: {told}\nhint: the full log is {log}\n"
    assert failed.stdout == ""
    assert json.loads(hosier("images", "--json", store=world.store).stdout) == []
    assert left_behind(world.store) == []
    # The mend: the archive's next version of the package.
    world.packages = [p for p in world.packages if "/bad_" not in p]
    world.deb("bad", version="1.1", Depends="good", postinst="exit 0\n")
    world.publish()
    hosier("lock", spec, "--update", store=world.store)
    again = build(spec, store=world.store)
    assert (again["reused"], again["unpacked"], again["fetched"]) == (
        "stages 1 of 2",
        1,
        {"packages": 1, "bytes": os.path.getsize(world.packages[-1])},
    )


@contextlib.contextmanager
def guarded(world: World) -> Iterator[Path]:
    """Whatever happens inside, the host's name, settings, time and files, and the store's objects, are as before."""
    outside = world.path / "outside"
    outside.mkdir()
    (outside / "sentinel").write_text("untouched\n")
    bystander = subprocess.Popen(["sleep", "600"])
    settings = [
        Path("/proc/sys/kernel") / name
        for name in ("hostname", "core_pattern", "domainname", "panic", "randomize_va_space")
    ]
    before = [p.read_bytes() for p in settings]
    mounted = mounts(world.path)
    drift = time.time() - time.monotonic()
    objects = _objects(world.store)
    try:
        yield outside
        assert bystander.poll() is None, "a process of the host was ended"
    finally:
        bystander.kill()
        bystander.wait()
    assert [p.read_bytes() for p in settings] == before
    assert mounts(world.path) == mounted
    assert abs(time.time() - time.monotonic() - drift) < 30
    assert sorted(os.listdir(outside)) == ["sentinel"]
    assert (outside / "sentinel").read_text() == "untouched\n"
    after = _objects(world.store)
    assert {path: after.get(path) for path in objects} == objects
    assert left_behind(world.store) == []


def _objects(store: Path) -> dict[str, str]:
    """The digests of all that is in the store's unpacked packages and trees."""
    found = {}
    folders = [str(store / kind) for kind in ("unpacked", "trees", "debs") if (store / kind).exists()]
    while folders:  # not by recursion: a script may have nested folders by the thousand
        for entry in os.scandir(folders.pop()):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                st = entry.stat(follow_symlinks=False)
                digest = hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()
                found[entry.path] = f"{st.st_mode:o} {st.st_uid}:{st.st_gid} {digest}"
    return found


ATTACKS = {
    # word and its arguments: what came of it in the box; OUTSIDE is a folder of the host, HOST a process of it
    "mount /mnt": "EPERM",
    "bind /proc /mnt": "EPERM",
    "remount /proc/sys": "EPERM",
    "umount /proc/sys": "EPERM",
    "umount /": "EPERM",
    "fsopen tmpfs": "EPERM",
    "open_tree": "EPERM",
    "unshare": "EPERM",
    "unshare-mount": "EPERM",
    "clone-user": "EPERM",
    "setns /proc/1/ns/mnt": "EACCES",
    "mknod /disk b 254 0": "EPERM",
    "mknod /mem c 1 1": "EPERM",
    "mknod /dev/mem c 1 1": "EPERM",
    "hostname": "EPERM",
    "clock": "EPERM",
    "ptrace 1": "EPERM",
    "vmread 1": "EPERM",
    "handle": "EPERM",
    "reboot": "EPERM",
    "module": "EPERM",
    "bpf": "EPERM",
    "keyring": "EPERM",
    "tiocsti": "EPERM",
    "kill 1": "EPERM",
    "kill HOST": "ESRCH",
    "escape OUTSIDE": "ENOENT",
    "read OUTSIDE/sentinel": "ENOENT",
    "read /proc/1/root/etc/passwd": "EACCES",
    "read /proc/1/environ": "EACCES",
    "append /proc/sys/kernel/core_pattern": "EACCES",
    "append /proc/sys/kernel/panic": "EACCES",
    "append /proc/sys/vm/drop_caches": "EACCES",
    "append /proc/1/oom_score_adj": "EACCES",
    "append /sys/kernel/uevent_helper": "ENOENT",
    "append /sys/power/state": "ENOENT",
    "write 3": "EBADF",
    "write 7": "EBADF",
    "connect 127.0.0.1 PORT": "ECONNREFUSED",
    "connect 192.0.2.1 80": "ENETUNREACH",
    "abstract NAME": "ECONNREFUSED",
}

POSSIBLE = {
    # what the host's root can do in namespaces of its own: the attack is one
    "mount /mnt": "done",
    "bind /proc /mnt": "done",
    "umount /mnt": "done",
    "fsopen tmpfs": "done",
    "open_tree": "done",
    "unshare": "done",
    "unshare-mount": "done",
    "clone-user": "done",
    "setns /proc/HOST/ns/mnt": "done",
    "mknod OUTSIDE/disk b 254 0": "done",
    "hostname": "done",
    "clock": "EINVAL",
    "ptrace HOST": "done",
    "bpf": "EINVAL",
    "escape OUTSIDE": "done",
    "read OUTSIDE/sentinel": "done",
    "read /proc/HOST/root/etc/passwd": "done",
    "read /proc/HOST/environ": "done",
    "write 7": "done",
    "connect 127.0.0.1 PORT": "done",
    "abstract NAME": "done",
    "kill HOST": "done",
}


@contextlib.contextmanager
def listening(name: str) -> Iterator[int]:
    """A TCP and an abstract socket of the host; gives the port."""
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as local:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        local.bind("\0" + name)
        local.listen()
        yield tcp.getsockname()[1]


def test_attacks_by_system_call_get_nowhere(world: World) -> None:
    name = f"hosier-{os.getpid()}"
    hosted = subprocess.Popen(["sleep", "600"])
    try:
        with listening(name) as port:
            known = {"OUTSIDE": str(world.path / "outside"), "HOST": str(hosted.pid), "PORT": str(port), "NAME": name}

            def filled(line: str) -> str:
                return re.sub("|".join(known), lambda m: known[m[0]], line)

            tries = "".join(f"probe {filled(line)} </dev/null || true\n" for line in ATTACKS)
            world.deb("hostile", postinst=f"{{ {tries} }} >/usr/share/tried 2>&1\n", Depends="probe")
            spec = world.spec("hostile", "probe")
            with guarded(world):
                root = str(build(spec, store=world.store)["path"])
            got = Path(f"{root}/usr/share/tried").read_text().splitlines()
            assert dict(zip(ATTACKS, [line.partition(": ")[2] for line in got], strict=True)) == ATTACKS

            # Positive control: without the box each of them works, or fails for want of sense and not of power.
            outside = world.path / "outside"
            run = [f"{_host_probe(world)} {filled(line)} 7>/dev/null || true\n" for line in POSSIBLE]
            done = subprocess.run(
                [
                    "unshare",
                    "--mount",
                    "--uts",
                    "--ipc",
                    "sh",
                    "-c",
                    "mount -t tmpfs none /mnt; umount /mnt\n" + "".join(run),
                ],
                capture_output=True,
                text=True,
                check=True,
            )
            assert (
                dict(zip(POSSIBLE, [line.partition(": ")[2] for line in done.stdout.splitlines()], strict=True))
                == POSSIBLE
            )
            shutil.rmtree(outside)
    finally:
        hosted.kill()
        hosted.wait()


SABOTAGE = [
    (
        "writes by climbing, by links and by /proc",
        "for up in .. ../../../../../../../../.. /proc/1/root /proc/1/cwd /proc/self/root /dev/fd/3; do\n"
        '  mkdir -p "$up/OUTSIDE" 2>/dev/null || true; echo taken 2>/dev/null >"$up/OUTSIDE/taken" || true\ndone\n'
        "rm -rf OUTSIDE; ln -sf / /usr/share/out; echo taken >/usr/share/out/taken\n",
        0,
    ),
    (
        "leaves links where later packages and the merge would write",
        "rm -rf /usr/share/planted; ln -s OUTSIDE /usr/share/planted; ln -s OUTSIDE/made /etc/planted\n"
        "mv /var/lib/dpkg/triggers /var/lib/dpkg/t; ln -s OUTSIDE /var/lib/dpkg/triggers\n",
        None,
    ),
    ("kills everything that it can", "kill -9 -1\n", 9),
    ("kills its parents", "kill -9 $PPID; kill -9 1; kill -STOP $PPID; sleep 0.1\n", 9),
    ("stops its parents and waits", "kill -STOP $PPID || true\n(sleep 0.2; kill -CONT $PPID) & exit 0\n", 0),
    ("leaves processes behind", "probe fork 200\nprobe deaf /usr/share/deaf\n(while :; do sleep 1; done) &\n", 0),
    ("holds the log and the status open", "probe deaf /usr/share/deaf; exec 3>&1; (sleep 1000 <&3 3>&3) & exit 0\n", 0),
    ("removes everything", "rm -rf --no-preserve-root / 2>/dev/null || true\n", 9),
    (
        "makes folders that nobody may enter",
        "mkdir -p /usr/share/shut/in; touch /usr/share/shut/in/f; chmod 0 /usr/share/shut\n",
        0,
    ),
    ("nests deep", "cd /usr/share; for i in $(seq 300); do mkdir dddddddddddd; cd dddddddddddd; done\n", 0),
    ("makes its own records useless", "echo rubbish >/var/lib/dpkg/status\n", 0),
    ("turns records into folders", "rm -f /var/lib/dpkg/diversions; mkdir /var/lib/dpkg/diversions /etc/passwd.d\n", 9),
    (
        "turns records into links",
        "rm -f /var/lib/dpkg/diversions; ln -s OUTSIDE/sentinel /var/lib/dpkg/diversions\n",
        0,
    ),
    ("turns account files into endless ones", "rm -f /etc/passwd; ln -s /dev/zero /etc/passwd\n", 0),
    ("turns records into pipes", "rm -f /etc/group; mkfifo /etc/group\n", 9),
    (
        "nests by the thousand",
        "cd /usr/share; i=0; while [ $i -lt 1200 ]; do mkdir d; cd -P d; i=$((i + 1)); done\n",
        0,
    ),
    (
        "nests deeper than a path can name",
        f"cd /usr/share; for i in $(seq 40); do mkdir {'d' * 200}; cd -P {'d' * 200}; done\n",
        9,
    ),
    ("writes a terabyte of nothing", "truncate -s 1T /usr/share/hole\nrm /usr/share/hole\n", 0),
]


@pytest.mark.parametrize(("name", "script", "status"), SABOTAGE, ids=[name for name, _, _ in SABOTAGE])
def test_sabotage_harms_nobody_but_its_own_build(name: str, script: str, status: int | None, world: World) -> None:
    base = world.spec(name="base")
    build(base, store=world.store)
    world.deb(
        "saboteur",
        {"/usr/share/planted/file": "p\n"},
        postinst=script.replace("OUTSIDE", str(world.path / "outside")),
        Depends="probe",
    )
    world.deb("later", {"/usr/share/planted/later": "l\n"}, Pre_Depends="saboteur", preinst=":\n")
    world.publish()
    spec = world.spec("later", name="sabotaged")
    with guarded(world):
        began = time.monotonic()
        done = hosier("build", spec, store=world.store, check=False, timeout=60)
        assert time.monotonic() - began < 20
        assert status is None or done.returncode == status, (done.returncode, done.stderr[-2000:])
        assert done.returncode in (0, 9), done.stderr
    assert hosier("run", "base", "--", "dpkg", "--audit", store=world.store).stdout == ""
    checks = json.loads(hosier("doctor", "--deep", "--json", store=world.store, check=False).stdout)
    assert [c for c in checks if c["status"] != "ok" and c["name"].startswith(("store", "leftovers", "mounts"))] == []
    hosier("gc", "--all", store=world.store)
    subprocess.run(["rm", "-rf", world.store], check=True)  # deeper than Python's own removal goes


@pytest.mark.parametrize("name", ["../../../../../../../..OUTSIDE/evil", "a/b", "..", "File", "Unincorp"])
def test_a_trigger_that_is_no_name_is_refused(name: str, world: World) -> None:
    """dpkg keeps a file of each trigger's name."""
    named = name.replace("OUTSIDE", str(world.path / "outside"))
    world.deb("puller", {"/usr/share/p": "p\n"}, triggers=f"interest {named}\n")
    spec = world.spec("puller")
    with guarded(world):
        done = hosier("build", spec, store=world.store, check=False)
    assert done.returncode == 8
    assert done.stderr.endswith(f"error: cannot unpack puller: {named!r} is not the name of a trigger\n")


def test_nothing_that_comes_later_follows_a_planted_link(world: World) -> None:
    """Neither packages, nor dpkg's records, nor what the spec adds."""
    out = world.path / "outside"
    plant = "".join(
        f"rm -rf {p}; ln -s {out} {p}\n" for p in ("/home", "/usr/share/later", "/var/lib/dpkg/alternatives")
    )
    world.deb(
        "planter",
        {"/opt/sub": Link(str(out)), "/srv/up": Link("../../../../../../../../../.." + str(out))},
        postinst=plant + f"mv /etc /etc-real; ln -s {out} /etc; mv /var/lib/dpkg /var/lib/d; ln -s d /var/lib/dpkg\n",
    )
    world.deb(
        "after",
        {"/home/x": "x\n", "/usr/share/later/f": "f\n", "/etc/conf": "c\n"},
        Pre_Depends="planter",
        preinst=":\n",
        conffiles=["/etc/conf"],
    )
    (world.path / "tree" / "sub").mkdir(parents=True)
    (world.path / "tree" / "sub" / "file").write_text("x\n")
    spec = world.spec(
        "after",
        more='[[file]]\npath = "/opt"\nsource = "tree"\n[[file]]\npath = "/srv/up/file"\ncontent = "x"\n'
        '[[device]]\npath = "/srv/up/null"\ntype = "c"\nmajor = 1\nminor = 3\n'
        '[[user]]\nname = "user"\nhome = "/srv/up/home"\ncreate-home = true\n'
        '[[run]]\ncommand = "echo x >/srv/up/run"\n',
    )
    with guarded(world):
        done = hosier("build", spec, store=world.store, check=False)
    assert done.returncode in (0, 9), done.stderr


def test_a_run_step_has_no_network_unless_it_asks(world: World) -> None:
    with listening(f"hosier-run-{os.getpid()}") as port:
        steps = "".join(
            f'[[run]]\ncommand = "probe connect 127.0.0.1 {port} >>/usr/share/net || true"\nnetwork = {value}\n'
            for value in ("false", "true")
        )
        root = str(build(world.spec("probe", more=steps), store=world.store)["path"])
    assert Path(f"{root}/usr/share/net").read_text() == "connect: ECONNREFUSED\nconnect: done\n"
    assert sorted(p for p in manifest(world.store, root) if p in ("/etc/resolv.conf", "/etc/hosts")) == []


def test_a_setuid_program_of_a_package_is_nothing_on_the_host(world: World) -> None:
    """The store keeps trees where nobody but its owner gets to them by path."""
    world.deb("suid", {"/usr/bin/suid": File(probe(), 0o4755)})
    root = str(build(world.spec("suid"), store=world.store)["path"])
    assert os.stat(f"{root}/usr/bin/suid").st_mode & 0o4000
    done = (
        subprocess.run(
            [f"{root}/usr/bin/suid", "descriptors"],
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            check=False,
        )
        if os.access(world.store, os.X_OK) and os.stat(world.store).st_mode & 0o001
        else None
    )
    assert done is None and os.stat(world.store).st_mode & 0o777 == 0o700
