"""Packages of the tests' RPM distribution that are there for one thing each: scriptlets, triggers, relations, files.

Scriptlets write what they are and their argument into /var/log/world, so that two roots can be held beside each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kit.rpmdistro import head

SHELL = ("Requires(pre): /bin/sh", "Requires(post): /bin/sh coreutils")
LOG = "/var/log/world"


def note(what: str) -> str:
    """Shell that writes a line into the log."""
    return f'echo "{what}" >> {LOG}'


def lua(what: str) -> str:
    """Lua that does."""
    return f'local f = io.open("{LOG}", "a")\nf:write("{what}\\n")\nf:close()'


def one(
    name: str,
    version: str = "1.0",
    *tags: str,
    release: str = "1",
    files: Mapping[str, str] | None = None,
    sections: Iterable[str] = (),
    noarch: bool = True,
    epoch: int = 0,
    listed: Iterable[str] | None = None,
) -> tuple[str, str]:
    """A subpackage and the shell that makes its files: `files` has texts by path, `listed` replaces %files' lines."""
    files = {f"/usr/share/world/{name}": f"{name} {version}\n"} if files is None else files
    made = ""
    for path, text in files.items():
        quoted = text.replace("\\", "\\\\").replace("'", "'\\''").replace("%", "%%").replace("\n", "\\n")
        made += f'mkdir -p "%{{buildroot}}{path.rpartition("/")[0]}"\n'
        made += f"printf '%%b' '{quoted}' > \"%{{buildroot}}{path}\"\n"
    lines = [f"%package -n {name}", f"Version: {version}", f"Release: {release}", f"Summary: The package {name}"]
    lines += [f"Epoch: {epoch}"] * bool(epoch)
    lines += ["BuildArch: noarch"] * noarch
    lines += [*tags, f"%description -n {name}", f"For the tests: {name}."]
    for section in sections:
        word, _, rest = section.partition("\n")
        first, _, options = word.partition(" ")
        lines += [f"{first} -n {name} {options}".rstrip(), rest]
    lines += [f"%files -n {name}", "%defattr(-,root,root,-)"]
    lines += [f'"{path}"' for path in files] if listed is None else [*listed]
    return "\n".join(lines) + "\n", made


def spec(parts: Iterable[tuple[str, str]], *, name: str = "special", macros: str = "", install: str = "") -> str:
    """One spec file of many subpackages."""
    parts = list(parts)
    return "\n".join(
        [
            head() + macros,
            f"Name: {name}\nVersion: 1\nRelease: 1\nSummary: Special packages\nLicense: MIT\n%description\nNothing.\n",
            "%install\nmkdir -p %{buildroot}",
            *(made for _, made in parts),
            install + "find %{buildroot} -exec touch -h -d @1650000000 {} +",
            *(text for text, _ in parts),
        ]
    )


PRE_USER = """\
getent group svc >/dev/null || groupadd -r svc
getent passwd svc >/dev/null || useradd -r -g svc -d /var/lib/svc -s /sbin/nologin svc"""
USERADD = ("Requires(pre): shadow-utils glibc-common",)


def scriptlets() -> list[tuple[str, str]]:
    phases = ("pre", "post", "preun", "postun", "posttrans")
    return [
        one(
            "scripts-all",
            "1.0",
            *SHELL,
            sections=[
                "%pretrans -p <lua>\nposix.mkdir('/var/log/pretrans-was-here')",
                *(f"%{phase}\n{note(f'scripts-all {phase} $1')}" for phase in phases),
            ],
        ),
        one("pretrans-sh", "1.0", *SHELL, sections=[f"%pretrans\n{note('pretrans-sh $1')}"]),
        one(
            "lua-all",
            "1.0",
            "Requires(pre): filesystem",
            sections=[
                "%pretrans -p <lua>\nposix.mkdir('/var/log/lua-pretrans')",
                *(f"%{phase} -p <lua>\n{lua(f'lua-all {phase}')}" for phase in phases),
            ],
        ),
        one(
            "lua-posix",
            "1.0",
            "Requires(pre): filesystem",
            sections=[
                "%post -p <lua>\n"
                'posix.mkdir("/var/lib/lua-posix")\n'
                'posix.symlink("target", "/var/lib/lua-posix/link")\n'
                'posix.chmod("/var/lib/lua-posix", "rwxr-x---")\n'
                'local found = posix.stat("/etc/passwd")\n'
                'local f = io.open("/var/lib/lua-posix/seen", "w")\n'
                'f:write(found.type .. " " .. found.mode .. " " .. tostring(arg[2]) .. "\\n")\n'
                "f:close()\n"
                'if not posix.access("/usr/bin/absent") then posix.utime("/var/lib/lua-posix/seen", 1, 1) end'
            ],
        ),
        one(
            "user-owner",
            "1.0",
            *USERADD,
            files={"/var/lib/svc/data": "owned\n", "/etc/svc.conf": "a = 1\n"},
            sections=[f"%pre\n{PRE_USER}"],
            listed=[
                "%dir %attr(2750, svc, svc) /var/lib/svc",
                "%attr(0640, svc, svc) /var/lib/svc/data",
                "%config(noreplace) %attr(0640, root, svc) /etc/svc.conf",
            ],
        ),
        one(
            "user-needed",
            "1.0",
            "Requires(pre): user-owner",
            files={"/var/lib/svc/more": "more\n"},
            sections=[f"%post\n{note('$(id -u svc >/dev/null && echo svc is there)')}"],
            listed=["%attr(0600, svc, svc) /var/lib/svc/more"],
        ),
        one(
            "post-python",
            "1.0",
            "Requires(post): /usr/bin/python3",
            sections=[
                f"%post -p /usr/bin/python3\nimport sys\n"
                f"with open('{LOG}', 'a') as f: print('python', sys.argv[1], file=f)"
            ],
        ),
        one("post-expands", "1.0", *SHELL, sections=[f"%post -e\n{note('expanded: %{_dbpath}')}"]),
        one("post-fails", "1.0", *SHELL, sections=[f"%post\n{note('post-fails')}\nexit 3"]),
        one("pre-fails", "1.0", *SHELL, sections=["%pre\nexit 3"]),
        one("ghost-maker", "1.0", *SHELL, sections=["%post\nprintf made > /var/lib/ghost-made"],
            listed=["%ghost /var/lib/ghost-made", "/usr/share/world/ghost-maker"]),
        one("loop-a", "1.0", "Requires: loop-b", *SHELL, sections=[f"%post\n{note('loop-a')}"]),
        one("loop-b", "1.0", "Requires(post): loop-a", *SHELL, sections=[f"%post\n{note('loop-b')}"]),
        one("order-first", "1.0", *SHELL, sections=[f"%post\n{note('order-first')}"]),
        one("order-a-last", "1.0", "OrderWithRequires(post): order-first", *SHELL,
            sections=[f"%post\n{note('order-a-last')}"]),
    ]  # fmt: skip


def triggers() -> list[tuple[str, str]]:
    read = 'while read path; do echo "WHO $path"; done | sort >> ' + LOG
    return [
        one(
            "trigger-owner",
            "1.0",
            *SHELL,
            sections=[
                f"%triggerprein -- triggered\n{note('triggerprein $1 $2')}",
                f"%triggerin -- triggered, many < 2\n{note('triggerin $1 $2')}",
                f"%triggerin -p <lua> -- triggered\n{lua('triggerin lua')}",
                f"%triggerun -- triggered\n{note('triggerun $1 $2')}",
                f"%triggerpostun -- triggered < 2\n{note('triggerpostun $1 $2')}",
            ],
        ),
        one("triggered", "1.0", *SHELL, sections=[f"%post\n{note('triggered post')}"]),
        one(
            "filetrigger-owner",
            "1.0",
            *SHELL,
            "Requires(post): sed",
            sections=[
                f"%filetriggerin -P 100 -- /usr/share/marks\n{read.replace('WHO', 'filetriggerin 100')}",
                f"%filetriggerin -P 2000000 -- /usr/share/marks\n{read.replace('WHO', 'filetriggerin 2000000')}",
                f"%filetriggerin -p <lua> -P 300 -- /usr/share/marks\nlocal f = io.open('{LOG}', 'a')\n"
                "local path = rpm.next_file()\nwhile path do f:write('filetriggerin lua ' .. path .. '\\n')\n"
                "path = rpm.next_file() end\nf:close()",
                f"%transfiletriggerin -P 50 -- /usr/share/marks /usr/share/other\n{read.replace('WHO', 'trans 50')}",
                f"%transfiletriggerin -p <lua> -P 70 -- /usr/share/marks\n{lua('trans lua 70')}",
                f"%filetriggerun -- /usr/share/marks\n{note('filetriggerun')}",
                f"%transfiletriggerpostun -- /usr/share/marks\n{note('transfiletriggerpostun')}",
            ],
        ),
        one("marks-a", files={"/usr/share/marks/a1": "1\n", "/usr/share/marks/a2": "2\n"}),
        one("marks-b", files={"/usr/share/marks/b/deep": "1\n", "/usr/share/marks-not/b": "beside\n"}),
    ]


def relations() -> list[tuple[str, str]]:
    return [
        one("plain", "2.0"),
        one("weak-app", "1.0", "Requires: plain", "Recommends: weak-nice", "Recommends: absent-thing",
            "Suggests: weak-maybe"),
        one("weak-nice", "1.0", "Recommends: weak-nicer"),
        one("weak-nicer"),
        one("weak-maybe"),
        one("weak-supplement", "1.0", "Supplements: weak-app"),
        one("weak-supplement-rich", "1.0", "Supplements: (weak-app and plain)"),
        one("weak-supplement-not", "1.0", "Supplements: (weak-app and weak-maybe)"),
        one("weak-enhance", "1.0", "Enhances: weak-app"),
        one("weak-conflicting", "1.0", "Recommends: conflict-b", "Requires: conflict-a"),
        one("alt-a", "1.0", "Provides: alternative"),
        one("alt-b", "1.0", "Provides: alternative"),
        one("rich-or", "1.0", "Requires: (alt-b or alt-z)"),
        one("rich-or-both", "1.0", "Requires: (alt-a or alt-b)"),
        one("rich-if", "1.0", "Requires: (alt-a if plain)"),
        one("rich-if-else", "1.0", "Requires: (alt-a if absent else alt-b)"),
        one("rich-and", "1.0", "Requires: (alt-a and alt-b)"),
        one("cap-one", "1.0", "Provides: cap-x = 2", "Provides: cap-y"),
        one("cap-two", "1.0", "Provides: cap-x = 2"),
        one("cap-old", "1.0", "Provides: cap-x = 1", "Provides: cap-y"),
        one("rich-with", "1.0", "Requires: (cap-x >= 2 with cap-y)"),
        one("rich-without", "1.0", "Requires: (cap-x without cap-y)"),
        one("rich-unless", "1.0", "Conflicts: (conflict-b unless plain)"),
        one("rich-nested", "1.0", "Requires: ((alt-a and plain) or absent)"),
        one("virtual-user", "1.0", "Requires: alternative"),
        one("app", "1.0"),
        one("newapp", "2.0", "Obsoletes: app < 2", "Provides: app = 2"),
        one("splitold", "1.0"),
        one("split-a", "2.0", "Obsoletes: splitold < 2"),
        one("split-b", "2.0", "Obsoletes: splitold < 2"),
        one("renamed-old"),
        one("conflict-a", "1.0", "Conflicts: conflict-b"),
        one("conflict-b"),
        one("file-dep", "1.0", "Requires: /usr/bin/filedep-tool"),
        one("filedep-owner", files={"/usr/bin/filedep-tool": "#!/bin/sh\n"},
            listed=["%attr(0755,root,root) /usr/bin/filedep-tool"]),
        one("file-dep-deep", "1.0", "Requires: /opt/deep/only-in-filelists"),
        one("deep-owner", files={"/opt/deep/only-in-filelists": "deep\n"}),
        one("file-dep-absent", "1.0", "Requires: /opt/deep/nobody-has-it"),
        one("broken-dep", "1.0", "Requires: nothing-provides-this >= 3"),
        one("perl-like", "1.0", "Provides: perl(Foo::Bar) = 1.02", "Provides: bundled(zlib) = 1.2"),
        one("perl-user", "1.0", "Requires: perl(Foo::Bar) >= 1.01"),
        one("self-provider", "1.0", "Provides: self-thing", "Requires: self-thing"),
        one("epoch-app", "1.0", epoch=1),
        one("epoch-user", "1.0", "Requires: epoch-app >= 1:0.9"),
        one("tilde", "1.0~rc1"),
        one("caret", "1.0^git1"),
        one("many", "10.0"),
        one("many-old-user", "1.0", "Requires: many < 2"),
        one("many-exact-user", "1.0", "Requires: many = 2.0-1"),
        one("modapp", "1.0"),
        one("a_name.with+odd-letters1", "0.0.0.1.a^b~c"),
    ]  # fmt: skip


KERNELS = ("6.1.1", "6.1.2", "6.1.10")
"""The versions of `kernel`, of which dnf keeps several (dnf.conf(5), installonlypkgs)."""


def kernel(version: str) -> list[tuple[str, str]]:
    """One version of what a root may have several versions of, with a module of it, and one that keeps others out."""
    module = f"1.{version.rpartition('.')[2]}"
    return [
        one(
            "kernel",
            version,
            *SHELL,
            files={f"/usr/lib/modules/{version}/list": f"of {version}\n", "/usr/share/world/kernel": "of all\n"},
            sections=[f"%{phase}\n{note(f'kernel {version} {phase} $1')}" for phase in ("pre", "post", "posttrans")],
        ),
        one("kernel-mod", module, "Provides: installonlypkg(kernel-module)", f"Requires: kernel = {version}",
            files={f"/usr/lib/modules/{version}/extra/mod": f"for {version}\n"}),
        one("kernel-clash", module, "Provides: installonlypkg(vm)", files={"/usr/share/world/clash": f"{version}\n"}),
    ]  # fmt: skip


def kernel_users() -> list[tuple[str, str]]:
    return [
        one("kernel-user", "1.0", "Requires: kernel", *SHELL, sections=[f"%post\n{note('kernel-user post')}"]),
        one("kernel-watch", "1.0", *SHELL, sections=[f"%triggerin -- kernel\n{note('kernel-watch $1 $2')}"]),
        one("kernel-other", "1.0", "Obsoletes: kernel < 6.1.2"),
    ]


def contents() -> list[tuple[str, str]]:
    return [
        one(
            "kinds",
            "1.0",
            "Requires(pre): setup",  # which has the groups
            files={
                "/etc/kinds/plain.conf": "plain\n",
                "/etc/kinds/config.conf": "config\n",
                "/etc/kinds/noreplace.conf": "noreplace\n",
                "/etc/kinds/missing.conf": "missing ok\n",
                "/usr/share/doc/kinds/README": "read me\n",
                "/usr/share/licenses/kinds/COPYING": "a licence\n",
                "/usr/share/man/man1/kinds.1": ".TH KINDS 1\n",
                "/usr/share/locale/de/LC_MESSAGES/kinds.mo": "de\n",
                "/usr/share/locale/fr/LC_MESSAGES/kinds.mo": "fr\n",
                "/usr/share/locale/pt_BR/LC_MESSAGES/kinds.mo": "pt_BR\n",
                "/usr/share/kinds/a file with spaces": "spaces\n",
                "/usr/share/kinds/gr\u00fc\u00df": "letters\n",
                "/usr/share/kinds/100%": "per cent\n",
                "/usr/share/kinds/no-digest": "may change\n",
                "/usr/share/kinds/empty": "",
                "/usr/bin/kinds-setuid": "#!/bin/sh\n",
            },
            listed=[
                "%dir /etc/kinds",
                "/etc/kinds/plain.conf",
                "%config /etc/kinds/config.conf",
                "%config(noreplace) %attr(0600,root,root) /etc/kinds/noreplace.conf",
                "%config(missingok) /etc/kinds/missing.conf",
                "%ghost %config(noreplace) %attr(0640,root,adm) /etc/kinds/ghost.conf",
                "%ghost %dir %attr(0700,root,root) /var/lib/kinds-ghost",
                "%doc /usr/share/doc/kinds",
                "%license /usr/share/licenses/kinds",
                "/usr/share/man/man1/kinds.1",
                "%lang(de) /usr/share/locale/de/LC_MESSAGES/kinds.mo",
                "%lang(fr) /usr/share/locale/fr/LC_MESSAGES/kinds.mo",
                "%lang(pt_BR) /usr/share/locale/pt_BR/LC_MESSAGES/kinds.mo",
                "%dir /usr/share/kinds",
                '"/usr/share/kinds/a file with spaces"',
                "/usr/share/kinds/gr\u00fc\u00df",
                "/usr/share/kinds/100%%",
                "%verify(not md5 size mtime) /usr/share/kinds/no-digest",
                "/usr/share/kinds/empty",
                "/usr/share/kinds/link",
                "/usr/share/kinds/dangling",
                "%attr(4755,root,root) /usr/bin/kinds-setuid",
                "%dir %attr(1777,root,root) /var/lib/kinds-sticky",
                "%dir %attr(2775,root,mail) /var/lib/kinds-setgid",
            ],
        ),
        one("many-docs", files={f"/usr/share/doc/many-docs/{n}": f"{n}\n" for n in range(20)}),
        one(
            "hardlinks",
            files={"/usr/share/hard/a": "linked\n", "/usr/share/hard/other": "alone\n"},
            listed=["/usr/share/hard"],
        ),
        one(
            "capable",
            "1.0",
            "Requires: glibc",
            files={"/usr/bin/capable": "#!/bin/sh\n"},
            listed=[
                "%attr(0755,root,root) %caps(cap_net_raw,cap_net_admin=ep) /usr/bin/capable",
                "%attr(0755,root,root) %caps(cap_net_bind_service=p) /usr/bin/capable-2",
            ],
        ),
        one("shared-folder-a", files={"/usr/share/shared/a": "a\n"},
            listed=["/usr/share/shared/a", "%dir /usr/share/shared"]),
        one("shared-folder-b", files={"/usr/share/shared/b": "b\n"},
            listed=["/usr/share/shared/b", "%dir /usr/share/shared"]),
        one("same-file-a", files={"/usr/share/same/file": "the same\n"}),
        one("same-file-b", files={"/usr/share/same/file": "the same\n"}),
        one("other-file-a", files={"/usr/share/same/file2": "of other-file-a\n"}),
        one("through-merged", files={"/usr/bin/through-merged": "#!/bin/sh\n"},
            listed=["%attr(0755,root,root) /usr/bin/through-merged"]),
    ]  # fmt: skip


CONTENTS_INSTALL = """\
ln -s empty %{buildroot}/usr/share/kinds/link
ln -s ../nowhere %{buildroot}/usr/share/kinds/dangling
mkdir -p %{buildroot}/var/lib/kinds-sticky %{buildroot}/var/lib/kinds-setgid %{buildroot}/var/lib/kinds-ghost
echo ghost > %{buildroot}/etc/kinds/ghost.conf
mkdir -p %{buildroot}/var/lib && echo > %{buildroot}/var/lib/ghost-made
ln %{buildroot}/usr/share/hard/a %{buildroot}/usr/share/hard/b
mkdir %{buildroot}/usr/share/hard/sub
ln %{buildroot}/usr/share/hard/a %{buildroot}/usr/share/hard/sub/c
cp %{buildroot}/usr/bin/capable %{buildroot}/usr/bin/capable-2
"""

MULTI_C = "int multi(void) { return 1; }"
MULTI_START = "void _start(void) { for (;;); }"


def multilib(bits: int) -> str:
    """A library and a program whose files are of one word size, and one file that both have."""
    where = "/usr/lib64" if bits == 64 else "/usr/lib"
    build = (
        f"mkdir -p %{{buildroot}}{where} %{{buildroot}}/usr/bin\n"
        f"echo '{MULTI_C}' > multi.c; echo '{MULTI_START}' > start.c\n"
        f"gcc -m{bits} -nostdlib -shared -fPIC -s -Wl,--hash-style=sysv,-soname,libmulti.so.1 \\\n"
        f"  -o %{{buildroot}}{where}/libmulti.so.1 multi.c\n"
        f"gcc -m{bits} -nostdlib -static -fno-pie -no-pie -s -o %{{buildroot}}/usr/bin/multi start.c\n"
    )
    suffix = "()(64bit)" if bits == 64 else ""
    return spec(
        [
            one(
                "multi-libs",
                files={"/usr/share/multi/common": "the same in both\n"},
                listed=["/usr/share/multi/common", f"{where}/libmulti.so.1"],
                noarch=False,
            ),
            one("multi", "1.0", "Requires: multi-libs%{?_isa}", files={}, listed=["/usr/bin/multi"], noarch=False),
            one("multi-user", "1.0", f"Requires: libmulti.so.1{suffix}", noarch=False),
        ],
        install=build,
    )


PAYLOADS = {
    "gz": "w9.gzdio",
    "xz": "w2.xzdio",
    "bz2": "w9.bzdio",
    "zst": "w3.zstdio",
    "lzma": "w2.lzdio",
    "none": "w.ufdio",
}


def payload(name: str) -> str:
    macros = f"%global _binary_payload {PAYLOADS[name]}\n"
    if name == "xz":
        macros += "%global _binary_filedigest_algorithm 10\n"
    if name == "gz":
        macros += "%global _binary_filedigest_algorithm 1\n"
    files = {f"/usr/share/payload/{name}/{n}": f"{n}\n" * 200 for n in range(3)}
    return spec([one(f"payload-{name}", files=files)], macros=macros)


def specs() -> dict[str, str]:
    """The text of every spec file, by its name."""
    first = [one("plain", "1.0"), one("many", "1.0"), one("tilde", "1.0"), one("caret", "1.0")]
    first += [one("epoch-app", "3.0"), one("newapp", "1.0")]
    second = [one("many", "1.1"), one("tilde", "1.0~rc2"), one("caret", "1.0^git2", release="2")]
    third = [one("many", "2.0"), one("plain", "2.0", release="0.9")]
    modular = [
        one("modapp", "2.0", "ModularityLabel: modapp:2:20240101:aabbccdd", release="1.module"),
        one("modonly", "1.0", "ModularityLabel: modapp:2:20240101:aabbccdd", release="1.module"),
    ]
    clash = [one("other-file-b", files={"/usr/share/same/file2": "of other-file-b\n"})]
    updates = [
        one("plain", "2.1"),
        one("many", "11.0"),
        one("upd-only", "1.0"),
        one("weak-nice", "1.1", "Requires: upd-only"),
    ]
    updates += [
        one("triggered", "2.0", *SHELL, sections=[f"%post\n{note('triggered 2 post $1')}"]),
        one("scripts-all", "2.0", *SHELL, sections=[f"%pre\n{note('scripts-all 2 pre $1')}"]),
        one("renamed-new", "1.0", "Obsoletes: renamed-old < 2", "Provides: renamed-old = 2"),
    ]
    special = [*scriptlets(), *triggers(), *relations(), *contents(), *kernel_users()]
    return {
        "special": spec(special, install=CONTENTS_INSTALL),
        **{
            f"older-{number}": spec([*parts, *kernel(KERNELS[number - 1])])
            for number, parts in enumerate((first, second, third), 1)
        },
        "clash": spec(clash),
        "modular": spec(modular),
        "updates": spec(updates),
        "multi-64": multilib(64),
        "multi-32": multilib(32),
        **{f"payload-{name}": payload(name) for name in PAYLOADS},
    }


REPO = dict.fromkeys(("special", "older-1", "older-2", "older-3", "clash", "modular", "multi-64", "multi-32"), "extras")
REPO |= {f"payload-{name}": "extras" for name in PAYLOADS}
"""The repository of each spec file's packages; others have their own name."""
TARGET = {"multi-32": "i686"}

COMPS = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
  <group>
    <id>core</id>
    <name>Core</name>
    <name xml:lang="de">Kern</name>
    <description>What every system has</description>
    <default>false</default>
    <uservisible>false</uservisible>
    <packagelist>
      <packagereq type="mandatory">bash</packagereq>
      <packagereq type="mandatory">coreutils</packagereq>
      <packagereq type="mandatory">setup</packagereq>
      <packagereq type="mandatory">not-in-any-repository</packagereq>
      <packagereq type="default">grep</packagereq>
      <packagereq type="default">plain</packagereq>
      <packagereq type="optional">less</packagereq>
      <packagereq type="conditional" requires="nginx">tree</packagereq>
    </packagelist>
  </group>
  <group>
    <id>standard</id>
    <name>Standard</name>
    <description>What most systems have</description>
    <default>true</default>
    <uservisible>true</uservisible>
    <packagelist>
      <packagereq type="mandatory">psmisc</packagereq>
      <packagereq type="default">alt-a</packagereq>
      <packagereq type="optional">alt-b</packagereq>
    </packagelist>
  </group>
  <category>
    <id>base</id>
    <name>Base</name>
    <description>Groups of the base</description>
    <grouplist><groupid>core</groupid><groupid>standard</groupid></grouplist>
  </category>
  <environment>
    <id>minimal-environment</id>
    <name>Minimal</name>
    <description>As little as can be</description>
    <display_order>3</display_order>
    <grouplist><groupid>core</groupid></grouplist>
    <optionlist><groupid>standard</groupid></optionlist>
  </environment>
</comps>
"""

MODULES = """\
---
document: modulemd
version: 2
data:
  name: modapp
  stream: "2"
  version: 20240101
  context: aabbccdd
  arch: x86_64
  summary: A module that nobody enabled
  description: A module that nobody enabled
  license:
    module: [MIT]
  profiles:
    default:
      rpms: [modapp]
  artifacts:
    rpms:
    - modapp-0:2.0-1.module.noarch
    - modonly-0:1.0-1.module.noarch
...
"""
