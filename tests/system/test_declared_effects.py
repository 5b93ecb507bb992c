"""Each effect that a declared build knows, against the real program: one package a case, built in both ways.

The trees have to be equal to the last path, time and owner; and each case keeps what the programs printed, with their
status, in the tree. The programs are those of the host's own distribution.
"""

# ruff: noqa: E501  (scripts)

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hosier.distro.deb.declared.effects import TABLE
from kit.cli import build, hosier
from kit.debs import Dir, File, Link, Node
from kit.trees_built import entries
from kit.world import World


@dataclass(frozen=True)
class Case:
    """A package's postinst, in which `programs` are called, what the package ships, and its other control files."""

    programs: str
    script: str
    files: dict[str, Node | bytes | str] = field(default_factory=dict)
    control: dict[str, str] = field(default_factory=dict)


UNIT = "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
INIT = (
    "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: case-init\n# Required-Start: $remote_fs\n# Required-Stop:\n"
    "# Default-Start: 2 3 4 5\n# Default-Stop: 0 1 6\n### END INIT INFO\n"
)
TEMPLATES = (
    "Template: case-debconf/name\nType: string\nDefault: first\nDescription: A name\n Longer text\n of it.\n\n"
    "Template: case-debconf/pick\nType: select\nChoices: one, two\nDefault: two\nDescription: Pick\n\n"
    "Template: case-debconf/secret\nType: password\nDescription: Secret\n\n"
    "Template: case-debconf/sure\nType: boolean\nDefault: true\nDescription: Sure?\n"
)
PAM = "Name: Case\nDefault: yes\nPriority: 128\nAuth-Type: Additional\nAuth:\n\toptional\tpam_permit.so\nSession-Type: Additional\nSession:\n\toptional\tpam_permit.so case\n"  # fmt: skip
BROKEN = "a b\nc  d\n\n# x=1\nkey = value\n"

CASES = {
    "users": Case(
        "adduser addgroup getent id",
        """
        adduser --system --quiet --home /var/lib/case-u1 --no-create-home --shell /bin/bash --group --gecos "A B" case-u1
        adduser --quiet --system --group --home /var/lib/case-u2 case-u2
        addgroup --quiet --system case-g1
        adduser --quiet case-u2 case-g1
        adduser --system --quiet --ingroup case-g1 --no-create-home case-u3
        adduser --system --quiet --gecos "a,b" --no-create-home --home /nonexistent case-u4
        adduser --system --quiet case-u1; echo $?
        addgroup --system --quiet case-g1; echo $?
        getent passwd case-u1 case-u2 case-u3 case-u4; getent group case-g1; getent passwd nobody-there; echo $?
        id -u case-u1; id -g case-u2; id -un case-u3; id -Gn case-u2; id -u nobody-there; echo $?
        """,
    ),
    "shadow": Case(
        "groupadd useradd usermod grpck pwck grpconv pwconv",
        """
        groupadd --system case-g2; groupadd -f -g 777 case-g3; groupadd --system case-g2; echo $?
        useradd --system --gid case-g2 --home-dir /nonexistent --shell /usr/sbin/nologin --comment "c d" case-u5
        useradd -r -M -d /var/lib/case-u6 -s /bin/false -U case-u6
        useradd --system --gid nobody-there case-u7; echo $?
        usermod -a -G mail,case-g2 case-u5; usermod --shell /bin/sh --home /x case-u5; usermod -c gone nobody-there; echo $?
        grpck -r >/dev/null; pwconv; grpconv; pwck -r >/dev/null || :
        getent passwd case-u5 case-u6; getent group case-g2 case-g3 case-u6
        """,
    ),
    "su": Case(
        "su",
        """
        su -s /bin/sh nobody -c "test -O /etc"; echo $?
        su -s /bin/sh daemon -c 'test -G /etc || echo "not $0"'
        """,
    ),
    "dpkg": Case(
        "dpkg dpkg-query dpkg-maintscript-helper",
        """
        for r in lt le eq ne ge gt lt-nl gt-nl; do for v in "" 1.0-1 2:0 1.0~rc1; do
          dpkg --compare-versions "$v" $r 1.0-1 && echo "$v $r"; done; done
        dpkg-query -W -f='${Package} ${db:Status-Status} ${Multi-Arch}\\n' dash case-dpkg; dpkg-query -W nothing-there; echo $?
        dpkg -L case-dpkg; dpkg -S /usr/share/case-dpkg/x; dpkg-query -S /nowhere; echo $?
        dpkg --print-architecture; dpkg --validate-version 1.0; echo $?
        dpkg-maintscript-helper supports rm_conffile; echo $?
        dpkg-maintscript-helper rm_conffile /etc/case-old 1.0~ case-dpkg -- "$@"; echo $?
        dpkg-maintscript-helper mv_conffile /etc/case-old /etc/case-new 1.0~ case-dpkg -- "$@"; echo $?
        """,
        {"/usr/share/case-dpkg/x": "x\n"},
    ),
    "diversions": Case(
        "dpkg-divert dpkg-statoverride dpkg-trigger",
        """
        dpkg-divert --package case-diversions --add --rename --divert /usr/share/case-diversions/b.moved /usr/share/case-diversions/b
        dpkg-divert --quiet --local --no-rename --add /usr/share/case-diversions/later
        dpkg-divert --package other --add /usr/share/case-diversions/b; echo $?
        dpkg-divert --listpackage /usr/share/case-diversions/b; dpkg-divert --truename /usr/share/case-diversions/b
        dpkg-divert --list /usr/share/case-diversions/later
        dpkg-divert --quiet --package case-diversions --add --rename /usr/share/case-diversions/c
        dpkg-divert --quiet --package case-diversions --remove --rename /usr/share/case-diversions/c
        dpkg-statoverride --update --add root mail 2755 /usr/share/case-diversions/d
        dpkg-statoverride --add root root 0600 /usr/share/case-diversions/none; dpkg-statoverride --list /usr/share/case-diversions/d
        dpkg-statoverride --list /nowhere; echo $?; dpkg-statoverride --remove /usr/share/case-diversions/none
        dpkg-trigger --no-await case-trigger; echo $?
        """,
        {f"/usr/share/case-diversions/{name}": name for name in "bcd"},
    ),
    "triggered": Case(
        "",
        'echo "$1 $2" >>/var/lib/cases/called',
        control={"triggers": "interest-noawait case-trigger\ninterest-noawait /usr/share/case-diversions\n"},
    ),
    "alternatives": Case(
        "update-alternatives",
        """
        cd /usr/share/case-alternatives
        for p in a:10 b:20 c:15; do
          update-alternatives --quiet --install /usr/bin/case-x case-x $PWD/${p%:*} ${p#*:} \
            --slave /usr/share/man/case-x.1 case-x.1 $PWD/${p%:*}.1
        done
        update-alternatives --display case-x; update-alternatives --list case-x
        update-alternatives --quiet --set case-x $PWD/a; update-alternatives --display case-x
        update-alternatives --quiet --remove case-x $PWD/b; update-alternatives --display case-x
        update-alternatives --quiet --auto case-x; readlink /etc/alternatives/case-x
        update-alternatives --quiet --install /usr/bin/case-y case-y $PWD/a 1; update-alternatives --quiet --remove-all case-y
        update-alternatives --quiet --install /usr/bin/case-z case-z $PWD/a 1; update-alternatives --quiet --set case-z $PWD/a
        update-alternatives --quiet --install /usr/bin/case-z case-z $PWD/b 9; update-alternatives --quiet --remove case-z $PWD/a
        update-alternatives --display case-z; update-alternatives --display nothing-there; echo $?
        """,
        {f"/usr/share/case-alternatives/{n}": n for n in ("a", "b", "c", "a.1", "b.1")} | {"/usr/share/man": Dir()},
    ),
    "units": Case(
        "deb-systemd-helper deb-systemd-invoke",
        """
        deb-systemd-helper unmask case.service; deb-systemd-helper debian-installed case.service; echo $?
        deb-systemd-helper --quiet was-enabled case.service; echo $?
        deb-systemd-helper enable case.service; deb-systemd-helper update-state case.service
        deb-systemd-helper --quiet was-enabled case.service; echo $?; deb-systemd-helper is-enabled case.service; echo $?
        deb-systemd-helper enable case-all.service; deb-systemd-helper enable case@one.service
        deb-systemd-helper update-state case-state.service; deb-systemd-helper debian-installed case-state.service; echo $?
        deb-systemd-invoke start case.service; echo $?
        """,
        {
            "/lib/systemd/system/case.service": UNIT,
            "/lib/systemd/system/case-all.service": UNIT + "RequiredBy=a.target b.target\nAlso=case.socket\nAlias=case2.service\n",
            "/lib/systemd/system/case.socket": "[Install]\nWantedBy=sockets.target\n",
            "/lib/systemd/system/case@.service": "[Install]\nWantedBy=multi-user.target\nDefaultInstance=x\n",
            "/lib/systemd/system/case-state.service": UNIT,
        },
    ),
    "init": Case(
        "update-rc.d invoke-rc.d service",
        """
        update-rc.d case-init defaults; update-rc.d case-init defaults; update-rc.d case-off defaults-disabled
        update-rc.d nothing-there defaults; echo $?
        update-rc.d case-gone defaults; update-rc.d -f case-gone remove
        invoke-rc.d case-init start; echo $?; invoke-rc.d --skip-systemd-native case-init restart; echo $?
        """,
        {f"/etc/init.d/case-{n}": File(INIT.replace("case-init", f"case-{n}"), 0o755) for n in ("init", "off", "gone")},
    ),
    "ucf": Case(
        "ucf ucfr",
        """
        ucf --debconf-ok /usr/share/case-ucf/a /etc/case-ucf-a >/dev/null; ucfr case-ucf /etc/case-ucf-a
        ucf --three-way --debconf-ok /usr/share/case-ucf/b /etc/case-ucf-b >/dev/null; ucfr case-ucf /etc/case-ucf-b
        ucf --debconf-ok /usr/share/case-ucf/a /etc/case-ucf-a >/dev/null; ucfr case-ucf /etc/case-ucf-a
        ucf --purge /etc/case-ucf-b; ucfr --purge case-ucf /etc/case-ucf-b
        ucfr --purge case-ucf /etc/case-ucf-none; echo $?
        """,
        {"/usr/share/case-ucf/a": "a\n", "/usr/share/case-ucf/b": File("b\n", 0o600)},
    ),
    "debconf": Case(
        "debconf-set-selections",
        """
        . /usr/share/debconf/confmodule
        db_get case-debconf/name; echo "name $RET" >>/var/lib/cases/answers
        db_get case-debconf/pick; echo "pick $RET" >>/var/lib/cases/answers
        db_set case-debconf/name "a  b"; db_get case-debconf/name; echo "name $RET" >>/var/lib/cases/answers
        db_fset case-debconf/name seen true; db_fget case-debconf/name seen; echo "seen $RET" >>/var/lib/cases/answers
        db_get case-debconf/none || echo "none $?" >>/var/lib/cases/answers
        db_subst case-debconf/name who me; db_metaget case-debconf/pick choices; echo "$RET" >>/var/lib/cases/answers
        db_set case-debconf/secret ""; db_reset case-debconf/sure; db_input low case-debconf/sure || :; db_go || :
        db_register case-debconf/name case-debconf/other; db_unregister case-debconf/other
        db_stop
        """,
        control={
            "templates": TEMPLATES,
            "config": "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\ndb_input high case-debconf/name || :\n"
            "db_input medium case-debconf/pick || :\ndb_go || :\n",
        },
    ),
    "pam": Case(
        "pam-auth-update pam_getenv",
        "pam-auth-update --package; pam_getenv -l LANG; echo $?",
        {"/usr/share/pam-configs/case": PAM},
    ),
    "libraries": Case(
        "ldconfig",
        "ldconfig; ldconfig -X",
        {"/etc/ld.so.conf.d/case.conf": "/usr/lib/case\n"},
    ),
    "copies": Case(
        "cp mv ln rm mkdir rmdir install touch",
        """
        mkdir -p -m 0750 /var/lib/case-files/deep/er; cd /var/lib/case-files; mkdir -m u=rwx,g=rx,o= m; mkdir m; echo $?
        cp /usr/share/case-copies/a .; cp -p /usr/share/case-copies/a kept; cp -a /usr/share/case-copies tree; cp -r /usr/share/case-copies copy
        cp -dR /usr/share/case-copies/link .; cp a deep/; cp -n /usr/share/case-copies/b a; cp nothing x; echo $?
        ln -s a soft; ln a hard; ln -sf b soft; ln -sfn deep dir; ln -s a soft; echo $?; ln a deep/er/again
        mv hard moved; mv -f moved deep; mv deep/er up; mv nothing x; echo $?
        touch new; touch -r /usr/share/case-copies/a new; touch -c none; touch -d @1500000000 dated
        install -d -m 2775 -o root -g mail made/it; install -m 640 -o mail -g daemon /usr/share/case-copies/a made
        install -D /usr/share/case-copies/b made/of/b; rm -f none; rm none; echo $?; rm -rf copy up; rm tree; echo $?
        rmdir deep/er; echo $?; mkdir empty; rmdir empty; rmdir --ignore-fail-on-non-empty made
        umask 027; mkdir masked; echo x >masked/x; cp /usr/share/case-copies/exec masked
        """,
        {
            "/usr/share/case-copies/a": "a\n",
            "/usr/share/case-copies/b": File("b\n", 0o600),
            "/usr/share/case-copies/exec": File("x\n", 0o4755),
            "/usr/share/case-copies/link": Link("a"),
        },
    ),
    "modes": Case(
        "chmod chown chgrp stat",
        """
        mkdir -p /var/lib/case-modes/d/e; cd /var/lib/case-modes; for m in 600 4755 u+s,g-w a=r +x u=rwx,go=rX g+w,o-r 0 =; do
          echo x >f; chmod $m f; stat -c '%a %n' f; mkdir s; chmod 2755 s; chmod $m s; stat -c '%a' s; rmdir s; rm -f f; done
        touch a b d/e/f; ln -s a l; chown mail a; chown mail:daemon b; chown :mail d; chown -R nobody:nogroup d; chown -h bin l
        chgrp -h daemon l; chgrp mail a; chown 12:34 d/e/f; chmod 4755 b; chown root b; chmod --reference=b a; chmod -R g+rX d
        stat -c '%u %g %a %n' a b d d/e d/e/f l; stat -c %s a l; chown nobody-there a; echo $?; chmod 600 none; echo $?
        """,
    ),
    "paths": Case(
        "readlink realpath basename dirname ls mktemp which getcap true cmp find run-parts",
        """
        mkdir -p /var/lib/case-paths/a; cd /var/lib/case-paths; ln -s a l; ln -s none broken; echo 1 >a/x; cp a/x a/y; echo 2 >a/z
        readlink l; readlink a; echo $?; readlink -f l/x; readlink -f broken; readlink -e broken; echo $?; readlink -m no/such; realpath l/x
        for p in /a/b/ a / b.c ''; do basename "$p"; dirname "$p"; done; basename /x/y.conf .conf
        ls; ls -A a; ls none; echo $?; ls a/x; t=$(mktemp); echo x >$t; cat $t; rm $t; d=$(mktemp -d); rmdir $d; echo ${#t}
        which sh dash nothing-there; echo $?; getcap /usr/bin/env; /bin/true; find . | sort; find a -type f -name 'x*'; find /var/lib/case-paths -maxdepth 1 -type l ! -exec test -e {} \\; -print
        mkdir -p p/q; touch p/q/r p/s.t; chmod 755 p/q/r p/s.t; run-parts --test p/q; run-parts --test p; find p -mindepth 1 -not -name q -delete; find -L l -type f | sort; find none; echo $?
        cmp a/x a/y; cmp -s a/x a/z; echo $?
        """,
    ),
    "texts": Case(
        "cat head tail cut tr sort uniq wc grep egrep fgrep sed awk mawk expr seq md5sum sha1sum sha256sum sha512sum dash sh",
        r"""
        cd /usr/share/case-texts; cat t; cat t none; echo $?; head -n 2 t; tail -n 2 t; tail -n +3 t; head -1 t; cut -d' ' -f1 t; cut -c2-3 t
        tr a-z A-Z <t; tr -d '\n' <t; tr ' ' '\n' <t | sort -u; sort -r t; printf '10\n9\n1\n' | sort -n; printf 'a\na\nb\n' | uniq; cut -c1 t | uniq -c; printf a | sed -e '$a\'; wc -l <t; wc -c <t
        grep -c = t; grep -v '^#' t; grep -E '^(a|c) ' t; grep -F 'x=' t; grep -q z t; echo $?; grep -o '[a-z]=' t
        grep -x 'a b' t; grep -i KEY t; grep -w key t; grep -s x none; echo $?; egrep 'k(e|f)y' t 2>/dev/null; fgrep = t 2>/dev/null; grep -l a t
        sed 's/a/b/' t; sed -n '/key/p' t; sed -e '/^$/d' -e 's/ *= */=/' t; sed '/^#/,$d' t; sed -E 's/(k)(e)y/\2\1/' t; sed 's,/,_,g;$!d' t
        cp t /var/lib/cases/edited; sed -i 's/value/other/;/^$/d' /var/lib/cases/edited; sed '2q' t; sed '1!s/./&&/' t
        awk '{ print $1 }' t; awk -F= '{print $2}' t; awk '/key/ {print $NF}' t; mawk '{print}' t; expr abc : 'a\(.*\)'; expr 3 + 4; seq 3; seq 2 4
        md5sum t; sha1sum <t; sha256sum t; sha512sum t; sh /usr/share/case-texts/script one two; dash ./script; echo $?
        """,
        {"/usr/share/case-texts/t": BROKEN, "/usr/share/case-texts/script": 'echo "$0 $# $1"; exit 3\n'},
    ),
    "machine": Case(
        "ischroot mountpoint perl pidof service sleep start-stop-daemon sync telinit",
        """
        mountpoint -q /usr; echo $?; perl -e ""; echo $?; pidof nothing-there; echo $?; sync; sleep 0
        """,
    ),
}  # fmt: skip
UNTRIED = {
    "dbus-uuidgen": "what it writes is taken off",
    "date": "what it says is for people",
    "ischroot": "the box is one",
    "make-ssl-cert": "left out",
    "mandb": "left out",
    "openssl": "by installing ca-certificates here",
    "/usr/share/postgresql-common/pg_checksystem": "by building postgresql",
    "pg_conftool": "by building postgresql",
    "pg_createcluster": "left out",
    "pg_lsclusters": "by building postgresql",
    "pg_updatedicts": "by building postgresql",
    "pidof": "of a machine that runs",
    "py3clean": "left out",
    "py3compile": "left out",
    "python3.11": "left out",
    "python3.12": "left out",
    "python3.13": "left out",
    "runit-helper": "by building openssh-server",
    "service": "of a machine that runs",
    "ss": "of a machine that runs",
    "ssh-keygen": "left out",
    "start-stop-daemon": "of a machine that runs",
    "telinit": "of a machine that runs",
    "uname": "of a machine that runs",
    "update-locale": "by building locales",
}
"""Programs without a case, each with what holds it otherwise."""


def library(folder: Path, name: str, soname: str) -> bytes:
    """A shared library."""
    options = [f"-Wl,-soname,{soname}"] if soname else []
    subprocess.run(
        ["gcc", "-shared", "-nostdlib", *options, "-o", folder / name, "-x", "c", "-"], input=b"int x;", check=True
    )
    return (folder / name).read_bytes()


def libraries(folder: Path) -> dict[str, Node | bytes | str]:
    """What ldconfig finds its way through: versions, links of all kinds, names without a number."""
    one, two, ten = (library(folder, f"libcase.so.1.{n}", "libcase.so.1") for n in (1, 2, 10))
    files: dict[str, Node | bytes | str] = {
        "libcase.so.1.1": one,
        "libcase.so.1.2": two,
        "libcase.so.1.10": ten,
        "libcase.so": Link("libcase.so.1.2"),
        "libold.so.3.0": library(folder, "o", "libold.so.3"),
        "libold.so.3": Link("libcase.so.1.1"),
        "libnone.so": library(folder, "n", ""),
        "libdev.so.7": library(folder, "d", "libdev.so.7"),
        "libdev.so": Link("libdev.so.7"),
        "libother.so": Link("libdev.so.7"),
        "libbroken.so.1": Link("nowhere"),
        "libtext.so": "INPUT(libdev.so.7)\n",
        "notalib": library(folder, "x", "libx.so"),
    }
    return {f"/usr/lib/case/{name}": node for name, node in files.items()}


def test_every_effect_has_a_case() -> None:
    tried = {name for case in CASES.values() for name in case.programs.split()}
    assert sorted(TABLE.effects.keys() - tried) == sorted(UNTRIED.keys() - tried)
    for case in CASES.values():
        for program in set(case.programs.split()) - UNTRIED.keys():
            assert re.search(rf"\b{re.escape(program)}\b", case.script + "db_get debconf-set-selections"), program


@pytest.mark.skipif(os.geteuid() != 0, reason="compares owners")
def test_effects_are_those_of_the_real_programs(tmp_path: Path) -> None:
    world = World(tmp_path)
    debs = []
    for name, case in CASES.items():
        files = dict(case.files) | (libraries(tmp_path) if name == "libraries" else {})
        control = {n: t for n, t in case.control.items() if n != "triggers"}
        body = case.script if name in ("debconf", "triggered") else _kept(name, case.script)
        control["postinst"] = f"#!/bin/sh\nset -e\nmkdir -p /var/lib/cases\n{body}\n"
        depends = "adduser, ucf, init-system-helpers, libpam-runtime, libcap2-bin, debconf, mawk"
        debs.append(
            world.deb(
                f"case-{name}",
                files,
                local=True,
                scripts=control,
                triggers=case.control.get("triggers", ""),
                Depends=depends,
            )
        )
    store = tmp_path / "store"
    found = []
    for scripts in ("run", "declared"):
        spec = tmp_path / f"{scripts}.toml"
        install = json.dumps(["apt", "ca-certificates", *(f"./local/{Path(deb).name}" for deb in debs)])
        spec.write_text(
            '[image]\nname = "cases"\n[[repo]]\nname = "debian"\nsource = "host"\n'
            f'[packages]\ninstall = {install}\nrecommends = false\nscripts = "{scripts}"\n'
        )
        found.append(build(spec, store=store))
    trees = [entries(each["path"]) for each in found]
    differing = [path for path in sorted(trees[0].keys() | trees[1].keys()) if trees[0].get(path) != trees[1].get(path)]
    assert not differing, "".join(_told(path, *found) for path in differing)
    for check in (["dpkg", "--audit"], ["apt-get", "check", "-qq"]):
        done = hosier("run", str(found[1]["digest"]), "--", *check, store=store, check=False)
        assert (done.returncode, done.stdout) == (0, ""), (check, done.stdout, done.stderr)
    shutil.rmtree(store)


def _kept(name: str, script: str) -> str:
    """The script with what it prints kept in the tree."""
    return f'set +e\n(\n{script}\n) >/var/lib/cases/{name} 2>/dev/null\necho "status $?" >>/var/lib/cases/{name}\n'


def _told(path: str, *found: dict[str, object]) -> str:
    """How a path differs, for people."""
    told, texts = [f"\n{path}"], []
    for each in found:
        entry = entries(each["path"]).get(path)
        told.append(f"  {entry}")
        if entry is not None and entry.kind == "f":
            texts.append(Path(f"{each['path']}{path}").read_text(errors="replace").splitlines())
    if len(texts) == 2:
        told += [f"    {line}" for line in difflib.unified_diff(*texts, "run", "declared", n=1, lineterm="")]
    return "\n".join(told) + "\n"
