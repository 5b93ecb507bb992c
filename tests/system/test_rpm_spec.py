"""What a spec says besides its packages holds for RPM roots, and the root's own rpm finds nothing wrong with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kit.cli import build, hosier
from kit.faults import complaints
from kit.ordinary import ordinary
from kit.rpms import CONFIG, DOC, NOREPLACE, Dir, File
from kit.rpmshop import Shop, programs
from kit.world import manifest

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="looks into roots as root; test_rpm_same_bits builds as others"),
    pytest.mark.skipif(shutil.which("rpmbuild") is None, reason="needs rpmbuild"),
]

PASSWD = "root:x:0:0:root:/root:/bin/sh\nmail:x:8:8::/:/bin/sh\n"
GROUP = "root:x:0:\nmail:x:8:\n"

MORE = """
[[group]]
name = "web"
gid = 3000
[[user]]
name = "site"
uid = 3001
group = "web"
groups = ["mail"]
home = "/srv/site"
shell = "/bin/sh"
gecos = "The site"
create-home = true
[[user]]
name = "other"
[[file]]
path = "/etc/motd"
content = "hello ${architecture}\\n"
[[file]]
path = "/srv/site/run"
content = "#!/bin/sh\\n"
mode = "4750"
owner = "site"
group = "3000"
[[file]]
path = "/etc/link"
target = "../srv/site"
[[file]]
path = "/var/lib/deep/er"
directory = true
mode = "1777"
[[device]]
path = "/dev/thing"
type = "c"
major = 10
minor = 200
mode = "0660"
group = "web"
"""
RUN = """
[[run]]
command = "id -u; echo $GREETING >>/srv/site/said; pwd >>/srv/site/said; test ! -e /dev/thing"
user = "site"
workdir = "/srv/site"
env = { GREETING = "hello" }
[[run]]
command = ["cp", "/etc/motd", "/etc/motd copy"]
"""


def row(root: str | Path, path: str) -> str:
    """A path as `ls -l` would tell it, without time."""
    st = os.lstat(f"{root}{path}")
    text = os.readlink(f"{root}{path}") if os.path.islink(f"{root}{path}") else ""
    if os.path.isfile(f"{root}{path}") and not text:
        text = Path(f"{root}{path}").read_text()
    return f"{st.st_mode:o} {st.st_uid}:{st.st_gid} {text}".rstrip(" ")


def accounts(shop: Shop, **files: str) -> None:
    """A package with account files."""
    found = {"/etc": Dir(), **{f"/etc/{name}": File(text, flags=CONFIG | NOREPLACE) for name, text in files.items()}}
    shop.put("accounts", files=found)


SITE = "site:x:3001:3000:The site:/srv/site:/bin/sh\nother:x:100:100::/nonexistent:/usr/sbin/nologin\n"
GROUPS = "web:x:3000:\nother:x:100:\n"
PLACED = {
    "/srv/site": "40750 3001:3000",
    "/etc/motd": "100644 0:0 hello amd64\n",
    "/srv/site/run": "104750 3001:3000 #!/bin/sh\n",
    "/etc/link": "120777 0:0 ../srv/site",
    "/var/lib/deep/er": "41777 0:0",
}


@dataclass(frozen=True)
class Accounts:
    name: str
    files: dict[str, str]
    expected: dict[str, str | None] = field(default_factory=dict)


DAY = 1_600_000_000 // 86400
ACCOUNTS = [
    Accounts(
        "without shadow",
        {"passwd": PASSWD, "group": GROUP},
        {
            "/etc/passwd": f"100644 0:0 {PASSWD}{SITE}",
            "/etc/group": f"100644 0:0 root:x:0:\nmail:x:8:site\n{GROUPS}",
            "/etc/shadow": None,
            "/etc/gshadow": None,
        },
    ),
    Accounts(
        "with shadow",
        {"passwd": PASSWD, "group": GROUP, "shadow": "root:*:1::::::\n", "gshadow": "root:*::\nmail:!::\n"},
        {
            "/etc/passwd": f"100644 0:0 {PASSWD}{SITE}",
            "/etc/group": f"100644 0:0 root:x:0:\nmail:x:8:site\n{GROUPS}",
            "/etc/shadow": f"100644 0:0 root:*:1::::::\nsite:!:{DAY}::::::\nother:!:{DAY}::::::\n",
            "/etc/gshadow": "100644 0:0 root:*::\nmail:!::site\nweb:!::\nother:!::\n",
        },
    ),
]


@pytest.mark.parametrize("case", ACCOUNTS, ids=lambda case: case.name)
def test_everything_that_a_spec_adds(case: Accounts, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    accounts(shop, **case.files)
    shop.publish()
    store = tmp_path / "store"
    root = str(build(shop.spec("accounts", more=MORE), store=store)["path"])
    found = {path: row(root, path) if os.path.lexists(root + path) else None for path in (*PLACED, *case.expected)}
    assert found == {**PLACED, **case.expected}
    device = manifest(store, root)["/dev/thing"]  # a store has no nodes
    assert [device[each] for each in ("kind", "mode", "uid", "gid", "rdev")] == ["c", 0o660, 0, 3000, (10, 200)]


def test_a_root_without_any_accounts_gets_them(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put("app")
    shop.publish()
    spec = shop.spec("app", more=MORE.replace('groups = ["mail"]', ""))
    root = str(build(spec, store=tmp_path / "store")["path"])
    assert row(root, "/etc/passwd") == f"100644 0:0 {SITE}"
    assert row(root, "/etc/group") == f"100644 0:0 {GROUPS}"


def test_steps_run_in_the_finished_root_with_its_own_programs(tmp_path: Path) -> None:
    """As root and as an ordinary user: the same image, in which rpm knows its packages."""
    shop = Shop(tmp_path)
    shop.publish()
    more = MORE + RUN + "[[run]]\ncommand = \"rpm -qa --qf '%{name}\\\\n' | sort >/srv/list\"\n"
    spec = shop.spec("bash", "coreutils", "rpm", repos=[programs()], more=more)
    found = build(spec, store=tmp_path / "store")
    root = str(found["path"])
    assert row(root, "/srv/site/said") == "100644 3001:3000 hello\n/srv/site\n"
    assert row(root, "/etc/motd copy") == "100644 0:0 hello amd64\n"
    listed = Path(root, "srv/list").read_text().split()
    lock = json.loads(hosier("lock", spec, "--json", store=tmp_path / "store").stdout)
    assert [each for each in listed if each != "gpg-pubkey"] == [each["name"] for each in lock["packages"]]
    # Nothing of what rpm and sqlite leave beside the database.
    assert os.listdir(f"{root}/usr/lib/sysimage/rpm") == ["rpmdb.sqlite"]
    subprocess.run(["chmod", "-R", "a+rX", str(tmp_path)], check=True)
    for above in tmp_path.parents:
        if above.stat().st_uid == 0 and str(above).startswith("/tmp/"):
            above.chmod(above.stat().st_mode | 0o055)
    with ordinary() as user:
        for name in ("small.toml", "small.lock"):
            shutil.copy(tmp_path / name, user.folder / name)
        assert user.hosier("build", user.folder / "small.toml").split()[1] == found["digest"]


# what is left out


def verified(image: str, store: Path) -> list[str]:
    """What the root's own rpm finds wrong, but for what a session itself mounts."""
    said = hosier("run", image, "--", "rpm", "-Va", store=store, check=False).stdout
    return [line for line in said.splitlines() if line.split()[-1] not in ("/proc", "/sys", "/dev", "/run", "/tmp")]


@dataclass(frozen=True)
class Left:
    name: str
    packages: str
    absent: list[str]
    present: list[str]


FILES = {
    "/usr/share/doc/app": Dir(flags=DOC),
    "/usr/share/doc/app/README": File("r\n", flags=DOC),
    "/usr/share/app/data": File("d\n"),
    "/usr/share/app/more": File("m\n"),
    "/usr/share/locale/de/app.mo": File("de\n", lang="de"),
    "/usr/share/locale/fr/app.mo": File("fr\n", lang="fr"),
}
LEFT = [
    Left("nothing", "", [], list(FILES)),
    Left(
        "paths",
        'paths-exclude = ["/usr/share/app/*", "/usr/share/doc/*"]\npaths-include = ["/usr/share/app/data"]',
        ["/usr/share/app/more", "/usr/share/doc/app/README"],
        ["/usr/share/app/data", "/usr/share/locale/de/app.mo"],
    ),
    Left(
        "documentation",
        "docs = false",
        ["/usr/share/doc/app/README"],
        ["/usr/share/app/data", "/usr/share/locale/fr/app.mo"],
    ),
    Left(
        "languages",
        'languages = ["de"]',
        ["/usr/share/locale/fr/app.mo"],
        ["/usr/share/locale/de/app.mo", "/usr/share/doc/app/README"],
    ),
    Left(
        "all languages",
        "languages = []",
        ["/usr/share/locale/fr/app.mo", "/usr/share/locale/de/app.mo"],
        ["/usr/share/doc/app/README"],
    ),
]


@pytest.mark.parametrize("case", LEFT, ids=lambda case: case.name)
def test_what_is_left_out_is_missed_by_nobody(case: Left, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put("app", files=FILES)
    shop.publish()
    store = tmp_path / "store"
    spec = shop.spec("app", "rpm", repos=[programs()], packages=case.packages)
    root = str(build(spec, store=store)["path"])
    assert [path for path in (*case.absent, *case.present) if os.path.lexists(root + path)] == case.present
    assert verified("small", store) == []
    # And once all is there again, it is.
    shop.spec("app", "rpm", repos=[programs()])
    again = build(spec, "--update", store=store)
    assert all(os.path.lexists(f"{again['path']}{path}") for path in FILES)


def test_rpm_finds_what_was_changed(tmp_path: Path) -> None:
    """The control of the tests above."""
    shop = Shop(tmp_path)
    shop.put("app", files=FILES)
    shop.publish()
    store = tmp_path / "store"
    build(
        shop.spec(
            *("app", "rpm", "bash", "coreutils"),
            repos=[programs()],
            more='[[run]]\ncommand = "rm /usr/share/app/data; echo x >/usr/share/app/more"\n',
        ),
        store=store,
    )
    assert [line.split()[-1] for line in verified("small", store)] == ["/usr/share/app/data", "/usr/share/app/more"]


# a service, and files of the host


def test_a_service_and_files_of_the_host_are_kept_for_who_starts_it(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    accounts(shop, passwd=PASSWD, group=GROUP)
    shop.put("app", files={"/bin": Dir(), "/bin/app": File("#!/bin/sh\n", 0o755)})
    shop.publish()
    store = tmp_path / "store"
    more = '[sync]\nfiles = ["/etc/hosts", "/etc/resolv.conf"]\n[service]\ncommand = ["/bin/app"]\nuser = "mail"\n'
    build(shop.spec("accounts", "app", more=more), store=store)
    config = json.loads(hosier("inspect", "small", "--json", store=store).stdout)["config"]
    assert config["sync"] == ["/etc/hosts", "/etc/resolv.conf"]
    assert (config["service"]["command"], config["service"]["user"]) == (["/bin/app"], "mail")
    hosier("pack", "small", "--format", "rpm", "-o", tmp_path / "out.rpm", store=store)
    query = ["rpm", "-qp", "--nosignature", "-l", str(tmp_path / "out.rpm")]
    said = subprocess.run(query, check=True, capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)})
    assert "/usr/lib/systemd/system/small.service" in said.stdout.splitlines()


def test_a_scriptlet_that_fails_is_named_with_its_own_words(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put("bad", scripts={"pre": "echo its own words >&2\nexit 3\n"})
    shop.publish()
    store = tmp_path / "store"
    done = hosier("build", shop.spec("bad", "bash", repos=[programs()]), store=store, check=False)
    assert done.returncode == 9
    assert "bad" in done.stderr and "its own words" in done.stderr
    assert json.loads(hosier("images", "--json", store=store).stdout) == []


@dataclass(frozen=True)
class Refused:
    name: str
    install: tuple[str, ...]
    error: str
    hint: str = ""
    packages: str = ""
    more: str = ""


SAME = "hint: exclude one of the two, or ask for versions that do not share the file"
REFUSED = [
    Refused(
        "a scriptlet where none is to run",
        ("scripted",),
        "error: cannot install scripted 1-1: it has a %post, and scriptlets of RPM packages are run or not at all",
        'hint: say scripts = "run" in [packages]',
        packages='scripts = "declared"',
    ),
    Refused(
        "a file that two packages have",
        ("one", "two"),
        "error: cannot install one 1-1: its /usr/share/same is not the same as that of two 1-1",
        SAME,
    ),
    Refused(
        "a directory where another has a file",
        ("one", "three"),
        "error: cannot install one 1-1: its /usr/share/same is not the same as that of three 1-1",
        SAME,
    ),
    Refused(
        "a step without its program",
        ("one",),
        "error: cannot do run step 1 (/bin/sh -ec true): it is not in the root, or its interpreter is not",
        more='[[run]]\ncommand = "true"\n',
    ),
    Refused(
        "a group that there is not",
        ("one",),
        "error: cannot add user x: the root has no group team",
        "hint: declare it as a [[group]]",
        more='[[user]]\nname = "x"\ngroup = "team"\n',
    ),
    Refused(
        "no package at all",
        (),
        "error: cannot build a root: no package is listed",
        "hint: list one: install in [packages], or Rpm",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_cannot_be_built_is_named_and_leaves_nothing(case: Refused, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put("scripted", scripts={"post": "true\n"}, provides=["/bin/sh"])
    shop.put("one", files={"/usr/share/same": File("1\n")})
    shop.put("two", files={"/usr/share/same": File("2\n")})
    shop.put("three", files={"/usr/share/same": Dir()})
    shop.publish()
    store = tmp_path / "store"
    spec = shop.spec(*case.install, packages=case.packages, more=case.more)
    done = hosier("build", spec, store=store, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "hint: "))]
    assert (done.returncode, done.stdout) == (9, "")
    assert lines == [case.error, *([case.hint] if case.hint else [])]
    assert json.loads(hosier("images", "--json", store=store).stdout) == []
    assert complaints(store, "--deep") == []
