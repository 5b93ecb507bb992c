"""Lint: a table of specs, each with all its problems as a user sees them, in their order."""

# ruff: noqa: E501 — messages are shown whole

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

import hosier.spec
from hosier.spec.lint import Problem, lint
from hosier.spec.model import Position

HEAD = '[image]\nname = "web"\n[[repo]]\nname = "debian"\nsource = "host"\n'  # five lines
DOCS = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "spec.md")


class Case(NamedTuple):
    name: str
    text: str
    expected: list[str]  # "line:column severity[code] text | mend"
    files: tuple[tuple[str, str], ...] = ()


CASES = [
    Case(
        "nothing at all",
        " \n\n",
        [
            "1:1 error[file-empty] the file is empty | write what the root is made of: hosier init writes a spec; a nail has Rpm lines"
        ],
    ),
    Case(
        "no text, after UTF-8",
        '[image]\nname = "é\0"\n',
        ["2:10 error[file-binary] not text: the file holds a NUL byte | name a text file, and save it as UTF-8"],
    ),
    Case(
        "nothing but a comment",
        "# web",
        [
            '1:1 error[missing-key] the spec has no name | write [image] and name = "…" below it',
            '1:1 error[missing-key] the spec has no [[repo]], so there is nothing to install from | write [[repo]], name = "debian" and source = "host"',
        ],
    ),
    Case(
        "not TOML",
        HEAD
        + """\
[packages]
install = ["a"
exclude = 1""",
        [
            "8:1 error[toml-syntax] not TOML: unclosed array | strings are quoted, arrays end with ], and each key is there once",
        ],
    ),
    Case(
        "a string without end",
        '[image]\nname = "web',
        [
            "2:12 error[toml-syntax] not TOML: unterminated string | strings are quoted, arrays end with ], and each key is there once",
        ],
    ),
    Case(
        "a text that ends too early",
        "a = [",
        [
            "1:6 error[toml-syntax] not TOML: invalid value | strings are quoted, arrays end with ], and each key is there once",
        ],
    ),
    Case(
        "a key twice",
        """\
[image]
name = "a"
name = "b"
""",
        [
            "3:11 error[toml-syntax] not TOML: cannot overwrite a value | strings are quoted, arrays end with ], and each key is there once",
        ],
    ),
    Case(
        "not UTF-8",
        '[image]\nname = "wÿ"',
        [
            "2:10 error[toml-syntax] not UTF-8 | save the file as UTF-8",
        ],
    ),
    Case(
        "sections and keys that are not known",
        """\
name = "x"
[imge]
[zzz]
[image]
name = "web"
[[repo]]
name = "debian"
source = "host"
nmae = 1
sourc = "x"
Suites = "x"
signed_by = "x"
zzz = 1
""",
        [
            "1:1 error[unknown-key] a spec has no section 'name' | write name below [image]",
            "2:2 error[unknown-key] a spec has no section 'imge' | write 'image'",
            "3:2 error[unknown-key] a spec has no section 'zzz' | use one of image, vars, repo, origin, packages, group, user, device, file, link, run, sync, service",
            "9:1 error[unknown-key] [[repo]] has no key 'nmae' | write 'name'",
            "10:1 error[unknown-key] [[repo]] has no key 'sourc' | write 'source'",
            "11:1 error[unknown-key] [[repo]] has no key 'Suites' | write 'suites'",
            "12:1 error[unknown-key] [[repo]] has no key 'signed_by' | write 'signed-by'",
            "13:1 error[unknown-key] [[repo]] has no key 'zzz' | use one of name, type, source, uris, suites, components, signed-by, snapshot, third-party, allow-unsigned, allow-expired, baseurl, mirrorlist, metalink, gpgkey, gpgcheck, repo_gpgcheck, priority, cost, includepkgs, excludepkgs, releasever, module_hotfixes, when",
        ],
    ),
    Case(
        "sections of the wrong kind",
        """\
[image]
name = "web"
[repo]
name = "debian"
source = "host"
[[packages]]
[sync]
files = "x"
""",
        [
            "3:2 error[wrong-type] repo is not an array of tables | write [[repo]]",
            "6:3 error[wrong-type] packages is not one table | write [packages]",
            '8:9 error[wrong-type] files of [sync] is a string, not an array of strings | write ["x"]',
        ],
    ),
    Case(
        "values of the wrong type",
        """\
[image]
name = 5
version = 1.4
release = [1]
include = "x"
[[repo]]
name = "debian"
source = "host"
third-party = "true"
[packages]
install = ["a1", 2026-01-01, {}]
recommends = 1
[[user]]
name = "web"
uid = "900"
[[run]]
command = 3
env = ["A=1"]
when = 1
[service]
command = [1]
env = { A = 1 }
[vars]
x = 1.5
""",
        [
            '2:8 error[wrong-type] name of [image] is an integer, not a string | write "5"',
            '3:11 error[wrong-type] version of [image] is a float, not a string | write "1.4"',
            "4:11 error[wrong-type] release of [image] is an array, not a string | write it in quotes",
            '5:11 error[wrong-type] include of [image] is a string, not an array of strings | write ["x"]',
            "9:15 error[wrong-type] third-party of [[repo]] is a string, not a boolean | write true or false, without quotes",
            '11:18 error[wrong-type] an entry in install of [packages] is a date or time, not a string | write "2026-01-01"',
            "11:30 error[wrong-type] an entry in install of [packages] is a table, not a string | write it in quotes",
            "12:14 error[wrong-type] recommends of [packages] is an integer, not a boolean | write true or false, without quotes",
            "15:7 error[wrong-type] uid of [[user]] is a string, not an integer | write 900",
            '17:11 error[wrong-type] command of [[run]] is an integer, not a string or an array of strings | write ["program", "argument"]',
            '18:7 error[wrong-type] env of [[run]] is an array, not a table of strings | write { NAME = "value" }',
            '19:8 error[wrong-type] when of [[run]] is an integer, not a table | write { architecture = "amd64" }',
            '21:12 error[wrong-type] an entry in command of [service] is an integer, not a string | write "1"',
            '22:13 error[wrong-type] A in env of [service] is an integer, not a string | write "1"',
            '24:5 error[wrong-type] the variable x is not a string | write "1.5"',
        ],
    ),
    Case(
        "names",
        """\
[image]
name = "Web App"
version = "1:2"
architecture = "amd_64"
[[repo]]
name = "a b"
source = "host"
[[group]]
name = "Web"
[[user]]
name = "0web"
[[run]]
command = ["a"]
user = "a b"
env = { a-b = "1" }
[vars]
"a b" = "1"
architecture = "x"
""",
        [
            "2:8 error[name-invalid] name of [image] cannot be 'Web App' | use lower-case letters and digits, with single . _ - between",
            "3:11 error[name-invalid] version of [image] cannot be '1:2' | use letters, digits and . _ + ~ -",
            "4:16 error[name-invalid] 'amd_64' is not an architecture | write it as \"amd64\"",
            "6:8 error[name-invalid] name of [[repo]] cannot be 'a b' | use letters, digits and . _ -",
            "9:8 error[name-invalid] name of [[group]] cannot be 'Web' | use at most 32 of a-z 0-9 _ -, and begin with a letter or _",
            "11:8 error[name-invalid] name of [[user]] cannot be '0web' | use at most 32 of a-z 0-9 _ -, and begin with a letter or _",
            "14:8 error[name-invalid] 'a b' is not a user or group | use at most 32 of a-z 0-9 _ -, or a number",
            "15:9 error[name-invalid] 'a-b' cannot be a variable of an environment | use letters, digits and _",
            "17:1 error[name-invalid] 'a b' cannot be a variable | give it another name",
            "18:1 error[name-invalid] 'architecture' cannot be a variable: it is always defined | give it another name",
        ],
    ),
    Case(
        "requests",
        HEAD
        + """\
[packages]
install = ["Nginx", "x", "tool (> 2)", "tool (>= 2:)", "tool=1.*", "foo/sid", "a_1.deb", "lib:any", "./none.deb", "./x.txt", "a b", "abc", "abc"]
exclude = ["abc", "a b"]
""",
        [
            "7:12 error[name-invalid] 'Nginx' is not a package name | write \"nginx\"",
            "7:21 error[name-invalid] 'x' is not a package name | use two or more of a-z 0-9 + . - and begin with a letter or digit",
            "7:26 error[version-invalid] '>' in 'tool (> 2)' does not compare versions | write \"tool (>> 2)\"",
            "7:40 error[version-invalid] '2:' is not a version | write [epoch:]version[-revision] of letters, digits and . + ~ -",
            "7:56 error[version-invalid] '1.*' is not a version | name the range, as in \"(>= 1)\"",
            '7:68 error[request-invalid] \'foo/sid\' is not a package request | write "foo" and give the suite a [[repo]] of its own, or ask for a version: "foo (= …)"',
            "7:79 error[request-invalid] 'a_1.deb' looks like a file | write \"./a_1.deb\" for a local package",
            "7:90 error[request-invalid] 'lib:any' asks for the architecture 'any', which is none | write \"lib\" or, for example, \"lib:arm64\"",
            "7:101 error[file-missing] ./none.deb does not exist | correct it; none.deb was looked for",
            "7:115 error[request-invalid] './x.txt' is not a .deb file | name a package file",
            '7:126 error[request-invalid] \'a b\' is not a package request | write "name", "name:architecture", "name (>= version)" or "./file.deb"',
            "7:133 error[package-excluded] abc is to be installed, and excluded at web.toml:8:12 | take it out of install, or of exclude",
            "7:140 warning[request-repeated] abc is asked for already, at web.toml:7:133 | take one of them out",
            "8:19 error[name-invalid] 'a b' is not a package name | use two or more of a-z 0-9 + . - and begin with a letter or digit",
        ],
        files=(("x.txt", ""),),
    ),
    Case(
        "repos",
        """\
[image]
name = "web"
[[repo]]
[[repo]]
name = "a"
source = "host"
uris = ["http://example.org"]
[[repo]]
name = "b"
uris = ["ftp://example.org", "http://example.org/a b"]
type = "apk"
third-party = true
[[repo]]
name = "b"
uris = "http://example.org"
suites = "/x"
snapshot = "yesterday"
signed-by = "key.asc"
[[repo]]
name = "c"
uris = "http://example.org"
suites = ["./", "sid"]
components = "main"
snapshot = "2026-13-01T00:00:00Z"
when = { suite = "sid" }
""",
        [
            "3:1 error[missing-key] [[repo]] lacks 'name' | write name = … below it",
            '3:1 error[repo-invalid] [[repo]] has neither uris nor source | write source = "host", or uris = ["https://…"] and suites = ["…"]',
            '7:1 error[repo-invalid] uris of [[repo]] is there with source = "host", which brings its own | take out uris, or source',
            '8:1 error[missing-key] [[repo]] lacks \'suites\' | write suites = ["bookworm"], or ["./"] for a flat archive',
            "10:9 error[repo-invalid] 'ftp://example.org' is not the URI of an archive | write a URI that begins with http://, https:// or file:/",
            "10:30 error[repo-invalid] 'http://example.org/a b' is not the URI of an archive | write a URI that begins with http://, https:// or file:/",
            "11:8 error[value-unknown] type of [[repo]] cannot be 'apk' | use one of deb, rpm",
            '12:1 error[repo-invalid] third-party of [[repo]] means nothing without source = "host" | take it out',
            '13:1 error[missing-key] [[repo]] lacks \'components\' | write components = ["main"], or end the suite in "/" for a flat archive',
            "13:1 error[duplicate] the repo b is there already, at web.toml:8:1 | take one of them out",
            '16:10 error[repo-invalid] \'/x\' is not a suite | write a suite, as "bookworm", or a path that ends in "/", as "./"',
            "17:12 error[snapshot-invalid] 'yesterday' is not a moment in UTC | write it as \"2026-11-01T00:00:00Z\"",
            "18:13 error[file-missing] key.asc does not exist | correct it; key.asc was looked for",
            "22:10 error[repo-invalid] the flat archive './' stands alone, without components | give it a [[repo]] of its own, without components",
            "24:12 error[snapshot-invalid] '2026-13-01T00:00:00Z' is not a moment: month must be in 1..12 | use a day that was",
            "25:18 error[condition-invalid] a repo cannot depend on the suite, which the repos decide | make it depend on the architecture only",
        ],
    ),
    Case(
        "repos and packages of the other family",
        """\
[image]
name = "web"
[[repo]]
name = "a"
type = "rpm"
uris = "https://example.org/"
suites = "x"
[[repo]]
name = "b"
type = "rpm"
baseurl = ["https://example.org/$releasever/$basearch/", "./packages", "gopher://example.org"]
gpgkey = ["https://example.org/key", "key.asc"]
[[repo]]
name = "c"
type = "rpm"
metalink = "https://example.org/metalink?repo=$releasever&arch=$basearch"
[[repo]]
name = "d"
source = "host"
gpgcheck = false
[packages]
install = ["bash >= 5.1-2", "Perl (= 1:5)", "perl(Foo::Bar)", "glibc.i686", "@core", "/usr/bin/x", "./a.rpm", "a ! 2", "b >= x y", "c >> 1"]
exclude = ["kernel*", "a b"]
debconf = ["a b string c"]
scripts = "declared"
""",
        [
            '3:1 error[repo-invalid] [[repo]] has no gpgkey to check its packages with | write gpgkey = "…", or gpgcheck = false to take packages that nobody signed',
            '6:1 error[repo-invalid] uris means nothing in a [[repo]] of type "rpm" | write baseurl',
            '7:1 error[repo-invalid] suites means nothing in a [[repo]] of type "rpm" | take it out',
            "11:72 error[repo-invalid] 'gopher://example.org' is not the URI of an archive | write a URI that begins with http://, https:// or file:/",
            "12:38 error[file-missing] key.asc does not exist | correct it; key.asc was looked for",
            '13:1 error[repo-invalid] [[repo]] has no gpgkey to check its packages with | write gpgkey = "…", or gpgcheck = false to take packages that nobody signed',
            "17:1 error[repo-invalid] the repo d has deb packages, and a has rpm | give each family a spec of its own",
            '20:1 error[repo-invalid] gpgcheck means nothing in a [[repo]] of type "deb" | write type = "rpm", or take it out',
            "22:100 error[file-missing] ./a.rpm does not exist | correct it; a.rpm was looked for",
            "22:111 error[version-invalid] '!' in 'a ! 2' does not compare versions | use < <= = >= >",
            '22:120 error[request-invalid] \'b >= x y\' is not a package request | write "name", "name >= version", "@group", "/path", "./file.rpm" or the URL of a package',
            "23:23 error[name-invalid] 'a b' is not a package name | write a name, or a pattern as kernel-*",
            "24:1 error[value-invalid] debconf of [packages] means nothing for rpm packages | take it out",
        ],
    ),
    Case(
        "accounts that every root of the family has",
        """\
[image]
name = "x"
[[repo]]
name = "a"
type = "rpm"
baseurl = "https://example.org"
gpgcheck = false
[[file]]
path = "/a"
content = ""
owner = "operator"
group = "wheel"
[[file]]
path = "/b"
content = ""
owner = "www-data"
group = "sudo"
[packages]
install = ["bash"]
""",
        [
            "13:1 warning[user-unknown] the user 'www-data' is not declared | declare it with [[user]], unless a package brings it",
            "13:1 warning[group-unknown] the group 'sudo' is not declared | declare it with [[group]], unless a package brings it",
        ],
    ),
    Case(
        "accounts, devices and files",
        HEAD
        + """\
[[group]]
name = "web"
gid = 1
[[group]]
name = "wwb"
gid = 1
[[user]]
name = "web"
uid = 70000
group = "wbe"
home = "srv"
gecos = "a:b"
[[user]]
name = "web"
shell = "/bin/../sh"
[[device]]
path = "/dev/x"
type = "d"
major = 5000
minor = -1
mode = 644
[[device]]
path = "/dev/y"
type = "c"
major = 1
minor = 1
mode = "0999"
owner = "web:web"
[[device]]
path = "/dev/z"
type = "b"
major = 1
minor = 1
mode = 0o1777
[[file]]
path = "/etc//a/"
[[file]]
path = "/"
content = "x"
target = "y"
[[file]]
path = "/etc/b"
content = "x"
owner = "nginx"
[[file]]
path = "/etc/b"
directory = false
[[file]]
path = "/etc/b/c"
source = "none"
[[file]]
path = "/etc/d"
target = ""
mode = "0777"
""",
        [
            "9:1 error[duplicate] the gid 1 is there already, at web.toml:6:1 | take one of them out",
            "12:1 warning[group-unknown] the group 'wbe' is not declared | write 'wwb', or declare it with [[group]], unless a package brings it",
            "14:7 error[number-range] uid of [[user]] is 70000, outside of 0 to 65534 | use a number from 0 to 65534",
            "16:8 error[path-invalid] 'srv' is not absolute | write \"/srv\"",
            "17:9 error[value-invalid] gecos of [[user]] holds a colon or a line break, which passwd(5) cannot | take it out",
            "18:1 error[duplicate] the user web is there already, at web.toml:12:1 | take one of them out",
            '20:9 error[path-invalid] \'/bin/../sh\' climbs with ".." | write "/sh"',
            "23:8 error[value-unknown] type of [[device]] cannot be 'd' | use one of c, b",
            "24:9 error[number-range] major of [[device]] is 5000, outside of 0 to 4095 | use a number from 0 to 4095",
            "25:9 error[number-range] minor of [[device]] is -1, outside of 0 to 1048575 | use a number from 0 to 1048575",
            '26:8 error[mode-invalid] mode of [[device]] is 644, a decimal number | write "0644"',
            "32:8 error[mode-invalid] mode of [[device]] is '0999', which is not octal | write it as \"0644\"",
            '33:9 error[name-invalid] \'web:web\' is not a user or group | write owner = "web" and group = "web"',
            '39:8 error[mode-invalid] mode of [[device]] is 0o1777, above 0o777 | write at most "0777"',
            "40:1 error[file-kind] [[file]] has no content | write one of content, source, target and directory = true",
            '41:8 error[path-invalid] \'/etc//a/\' has a needless "/" or "." | write "/etc/a"',
            "42:1 error[file-kind] [[file]] has content and target | write one of content, source, target and directory = true",
            "43:8 error[path-invalid] '/' is the root itself | name a path below it",
            "46:1 warning[user-unknown] the user 'nginx' is not declared | declare it with [[user]], unless a package brings it",
            "50:1 error[duplicate] the path /etc/b is there already, at web.toml:46:1 | take one of them out",
            "52:13 error[file-kind] directory = false says nothing | take it out, or write directory = true",
            "53:1 error[path-invalid] /etc/b/c is below /etc/b, which is not a directory (at web.toml:50:1) | change one of the two paths",
            "55:10 error[file-missing] none does not exist | correct it; none was looked for",
            "58:10 error[path-invalid] the target of a link is empty | write where it leads",
            "59:8 error[file-kind] a symbolic link has no mode | take it out",
        ],
    ),
    Case(
        "links, steps, files to sync, service",
        HEAD
        + """\
[[link]]
host = "etc/x"
target = "../x"
[[link]]
host = "/etc/x"
target = "x"
[[link]]
host = "/etc/x"
target = "y"
[[run]]
command = []
[[run]]
command = "  "
workdir = "x"
[sync]
files = ["hosts", "/etc/hosts", "/etc/hosts"]
[service]
user = "wbe"
[packages]
debconf = ["a b boolean maybe", "x", "a b sting x", "a b\\nc"]
paths-exclude = ["usr/*"]
""",
        [
            "7:8 error[path-invalid] 'etc/x' is not absolute | write \"/etc/x\"",
            '8:10 error[path-invalid] \'/../x\' climbs with ".." | write "/x"',
            "12:1 error[duplicate] the host link /etc/x is there already, at web.toml:9:1 | take one of them out",
            '16:11 error[command-invalid] command of [[run]] is empty | write ["program", "argument"], or a line of shell',
            '18:11 error[command-invalid] command of [[run]] is empty | write ["program", "argument"], or a line of shell',
            "19:11 error[path-invalid] 'x' is not absolute | write \"/x\"",
            "21:10 error[path-invalid] 'hosts' is not absolute | write \"/hosts\"",
            "21:33 error[duplicate] the sync file /etc/hosts is there already, at web.toml:21:19 | take one of them out",
            "22:2 error[missing-key] [service] lacks 'command' | write command = [\"…\"] below it",
            '25:12 error[debconf-invalid] \'maybe\' is not a boolean value | write "true" or "false"',
            '25:33 error[debconf-invalid] \'x\' has 1 of the fields that a debconf line has | write "package question type value", as in "tzdata tzdata/Zones/Etc select UTC"',
            "25:38 error[debconf-invalid] 'sting' is not a debconf type | use one of string, boolean, select, multiselect, note, text, password, title, error, seen",
            "25:53 error[debconf-invalid] a debconf line holds a line break | write each line as a string of its own",
            "26:18 error[path-invalid] the pattern 'usr/*' can match no absolute path | write \"/usr/*\"",
        ],
    ),
    Case(
        "a service whose user is not declared",
        HEAD
        + """\
[service]
command = "x"
user = "wbe"
[[user]]
name = "web"
""",
        [
            "8:8 warning[user-unknown] the user 'wbe' is not declared | write 'web', or declare it with [[user]], unless a package brings it",
        ],
    ),
    Case(
        "conditions",
        HEAD
        + """\
[[packages.when]]
instal = ["a1"]
[[packages.when]]
architecture = "amd46"
[[group]]
name = "a"
when = {}
[[group]]
name = "b"
when = { arch = "amd64" }
[[group]]
name = "c"
when = { architecture = 64 }
""",
        [
            '6:1 error[condition-invalid] [[packages.when]] has no condition | write architecture = "amd64" or suite = "…"',
            "7:1 error[unknown-key] [[packages.when]] has no key 'instal' | write 'install'",
            "9:16 warning[architecture-unknown] 'amd46' is not an architecture of Debian | write \"amd64\"",
            '12:1 error[condition-invalid] when of [[group]] has no condition | write architecture = "amd64" or suite = "…"',
            "15:10 error[unknown-key] when of [[group]] has no key 'arch' | write 'architecture'",
            '18:25 error[wrong-type] architecture of when of [[group]] is an integer, not a string or an array of strings | write ["…", "…"]',
        ],
    ),
    Case(
        "variables",
        HEAD
        + """\
[vars]
port = "1"
a = "${b}"
b = "${a}"
[packages]
install = ["a${porrt}", "${x y}", "${open"]
[[file]]
path = "/etc/${nope}"
content = "${a}"
""",
        [
            "8:5 error[variable-cycle] a uses b uses a | give one of them a value of its own",
            "11:12 error[variable-undefined] the variable 'porrt' is not defined | write ${port}, or write $${porrt} for the characters themselves",
            "11:25 error[variable-undefined] the variable 'x y' is not defined | define x y under [vars], or write $${x y} for the characters themselves",
            "11:35 error[variable-undefined] '${open' is not closed | write ${name}, or $${ for the two characters",
            "13:8 error[variable-undefined] the variable 'nope' is not defined | define nope under [vars], or write $${nope} for the characters themselves",
        ],
    ),
    Case(
        "an include that is not there",
        """\
[image]
include = ["none.toml", "${x}.toml", ""]
name = "web"
[[repo]]
name = "debian"
source = "host"
""",
        [
            "2:12 error[file-missing] none.toml does not exist | correct the path; `hosier init` writes a spec",
            "2:25 error[include-invalid] '${x}.toml' has a variable, and includes are read before variables are known | write the path out, or put `when` on the entries",
            "2:38 error[include-invalid] '' is not a path | name a file",
        ],
    ),
    Case(
        "a broken include, which may have defined the variable",
        """\
[image]
include = ["a.toml"]
name = "web"
[[repo]]
name = "debian"
source = "host"
[packages]
install = ["${x}", "X1"]
""",
        [
            "8:20 error[name-invalid] 'X1' is not a package name | write \"x1\"",
            "a.toml:1:6 error[toml-syntax] not TOML: expected ']' at the end of a table declaration | strings are quoted, arrays end with ], and each key is there once",
        ],
        files=(("a.toml", "[vars\n"),),
    ),
    Case(
        "a cycle of includes",
        """\
[image]
include = ["a.toml"]
name = "web"
[[repo]]
name = "debian"
source = "host"
""",
        [
            "a.toml:3:1 error[unknown-key] [image] has no key 'nmae' | write 'name'",
            "b.toml:2:12 error[include-cycle] a.toml includes b.toml includes a.toml | take one of these includes out",
        ],
        files=(
            ("a.toml", '[image]\ninclude = ["b.toml"]\nnmae = 1\n'),
            ("b.toml", '[image]\ninclude = ["./a.toml"]\n'),
        ),
    ),
    Case(
        "problems in an included file",
        """\
[image]
include = ["a.toml"]
name = "web"
[[repo]]
name = "debian"
source = "host"
[[group]]
name = "web"
""",
        [
            "7:1 error[duplicate] the group web is there already, at a.toml:4:1 | take one of them out",
            "a.toml:2:12 error[name-invalid] 'X' is not a package name | use two or more of a-z 0-9 + . - and begin with a letter or digit",
        ],
        files=(("a.toml", '[packages]\ninstall = ["X"]\n\n[[group]]\nname = "web"\n'),),
    ),
    Case(
        "an origin of a repo that there is not",
        """\
[image]
name = "web"
[[repo]]
name = "debian"
source = "host"
[[origin]]
name = "mirror"
uri = "https://b.example.org/debian"
repo = "debain"
""",
        [
            "6:1 error[origin-invalid] the origin mirror is of the repo debain, and there is none of that name | write 'debian'",
        ],
    ),
]


def shown(problem: Problem, folder: str) -> str:
    file = os.path.relpath(problem.position.file, folder)
    place = f"{problem.position.line}:{problem.position.column}"
    text = f"{problem.severity}[{problem.code}] {problem.text} | {problem.mend}".replace(f"{folder}/", "")
    return f"{place} {text}" if file == "web.toml" else f"{file}:{place} {text}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_all_problems_are_found_at_once(case: Case, tmp_path: Path) -> None:
    for name, text in (*case.files, ("web.toml", case.text)):
        (tmp_path / name).write_bytes(text.encode("latin-1" if "\xff" in text else "utf-8"))
    problems = lint([str(tmp_path / "web.toml")], architecture="amd64", suite="bookworm")
    assert [shown(problem, str(tmp_path)) for problem in problems] == case.expected


def test_a_part_is_read_with_the_spec_that_includes_it(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('[packages]\ninstall = ["X"]\n')
    (tmp_path / "web.toml").write_text(HEAD.replace("[image]", '[image]\ninclude = ["base.toml"]'))
    alone = lint([str(tmp_path / "base.toml")], architecture="amd64")
    assert [problem.code for problem in alone] == ["missing-key", "missing-key", "name-invalid"]
    both = lint([str(tmp_path / "base.toml"), str(tmp_path / "web.toml")], architecture="amd64")
    assert [(problem.code, problem.position.file) for problem in both] == [
        ("name-invalid", str(tmp_path / "base.toml"))
    ]


def test_what_has_no_end_is_stopped(tmp_path: Path) -> None:
    chain = "".join(f'w{n} = "${{w{n + 1}}}"\n' for n in range(60)) + 'w60 = ""\n'
    text = HEAD + f'[vars]\nv0 = "{"x" * 1025}"\nv1 = "{"${v0}" * 1025}"\n{chain}'
    (tmp_path / "web.toml").write_text(text.replace("[image]", '[image]\ninclude = ["i0.toml"]'))
    for n in range(60):
        (tmp_path / f"i{n}.toml").write_text(f'[image]\ninclude = ["i{n + 1}.toml"]\n')
    (tmp_path / "digits.toml").write_text(f"a = {'1' * 5000}")
    (tmp_path / "deep.toml").write_text(f"a = {'[' * 5000}")
    names = ("web.toml", "digits.toml", "deep.toml")
    problems = lint([str(tmp_path / name) for name in names], architecture="amd64")
    assert [problem.text for problem in problems] == [
        "the variable 'v1' has more than 1048576 characters",
        "variables use each other more than 50 deep",
        "files include each other more than 50 deep",
        "not TOML: a number has too many digits",
        "nested too deep",
    ]


def test_a_missing_spec_is_a_problem(tmp_path: Path) -> None:
    path = str(tmp_path / "none.toml")
    mend = "correct the path; `hosier init` writes a spec"
    problem = Problem(Position(path, 1, 1), "file-missing", "error", f"{path} does not exist", mend)
    assert lint([path], architecture="amd64") == [problem]
    (tmp_path / "web.toml").touch()
    for meant in ("web", "wbe.toml"):
        (found,) = lint([str(tmp_path / meant)], architecture="amd64")
        assert found.mend == f"did you mean {tmp_path}/web.toml?"
    assert lint([str(tmp_path)], architecture="amd64")[0].text == f"{tmp_path} cannot be read: is a directory"


def test_a_problem_has_a_line_for_people_and_a_form_for_programs() -> None:
    problem = Problem(Position("web.toml", 3, 1), "unknown-key", "error", "[image] has no key 'nmae'", "write 'name'")
    assert str(problem) == "web.toml:3:1: error[unknown-key]: [image] has no key 'nmae'\n    mend: write 'name'"
    assert problem.to_json() == {
        "file": "web.toml",
        "line": 3,
        "column": 1,
        "code": "unknown-key",
        "severity": "error",
        "text": "[image] has no key 'nmae'",
        "mend": "write 'name'",
    }


def test_every_code_is_documented_and_tested() -> None:
    """The codes in the code, in docs/spec.md and in this table are the same."""
    folder = os.path.dirname(str(hosier.spec.__file__))
    sources = ""
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                sources += file.read()
    codes = {
        code for code in CODES if f'"{code}"' in sources.replace('f"{kind}-unknown"', '"user-unknown" "group-unknown"')
    }
    with open(DOCS, encoding="utf-8") as file:
        documented = set(re.findall(r"^\| `([a-z-]+)` \|", file.read().partition("## Problems")[2], re.MULTILINE))
    tested = {code for case in CASES for problem in case.expected for code in re.findall(r" \w+\[([a-z-]+)\]", problem)}
    assert (codes, documented, tested) == (CODES, CODES, CODES)


CODES = set(
    """
    architecture-unknown command-invalid condition-invalid debconf-invalid duplicate file-binary file-empty file-kind
    file-missing group-unknown include-cycle include-invalid missing-key mode-invalid name-invalid number-range origin-invalid package-excluded path-invalid
    repo-invalid request-invalid request-repeated snapshot-invalid toml-syntax unknown-key user-unknown value-invalid
    value-unknown variable-cycle variable-undefined version-invalid wrong-type
    """.split()  # noqa: SIM905
)
