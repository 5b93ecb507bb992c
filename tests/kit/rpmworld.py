"""The tests' own RPM distribution: real programs, a package for every kind of thing, and signed repositories of them.

with served(world()) as served: …                       # over HTTP on the loopback
world().repos["base"], world().key, world().config(…)   # as files

It is made once in a test run, which takes half a minute, and lies in that run's temporary folder; with
HOSIER_RPM_WORLD=FOLDER it is made there, and used again by later runs. `python -m kit.rpmworld FOLDER` makes one.
"""

from __future__ import annotations

import bz2
import fcntl
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit import rpmdistro, rpmspecial
from kit.http import Server

EPOCH = 1_700_000_000
KEYS = {"world": "rsa2048", "modern": "ed25519", "stranger": "rsa2048"}
"""Who signs: `world` the base, `modern` the updates and extras, `stranger` what nobody should trust."""
SIGNER = {"base": "world", "updates": "modern", "extras": "modern", "i686": "modern"}


@dataclass(frozen=True)
class World:
    """Folders with packages and repodata.

    Repos: `base` (programs), `updates` (newer ones), `extras` (every kind of package; comps, modules), and for
    hostile cases `unsigned`, `untrusted`, `damaged`; `base-xz`, `base-bz2`, `base-zst` and `base-plain` are base with
    metadata of another compression, and without sqlite.
    """

    folder: Path

    @property
    def repos(self) -> dict[str, Path]:
        return {path.name: path for path in sorted((self.folder / "repos").iterdir())}

    @property
    def key(self) -> Path:
        """The key of the base repository, armoured."""
        return self.keys["world"]

    @property
    def keys(self) -> dict[str, Path]:
        return {name: self.folder / "keys" / f"{name}.asc" for name in KEYS}

    def url(self, repo: str) -> str:
        return self.repos[repo].as_uri()

    def packages(self, repo: str) -> dict[str, Path]:
        """The package files of a repository by NEVRA as their names have it (without epoch)."""
        return {path.name.removesuffix(".rpm"): path for path in sorted(self.repos[repo].rglob("*.rpm"))}

    def file(self, repo: str, name: str) -> Path:
        """The newest package of this name (with ".ARCH" where several have one)."""
        plain, _, arch = name.partition("/")
        found = [
            path
            for nevra, path in self.packages(repo).items()
            if nevra.rsplit("-", 2)[0] == plain and nevra.endswith(arch)
        ]
        return found[-1]

    def gpgkeys(self, repo: str) -> list[Path]:
        return [self.keys[SIGNER.get(repo.split("-")[0], "world")]]

    def config(
        self,
        folder: Path,
        root: Path,
        *,
        repos: Sequence[str] | None = None,
        weak: bool = False,
        gpgcheck: bool = True,
        repo_gpgcheck: bool = False,
        main: str = "",
        urls: Callable[[str], str] | None = None,
    ) -> Path:
        """A dnf.conf for the installroot `root` and these repositories only; cache, log and state are in `folder`."""
        out = "/" + os.path.relpath(os.path.realpath(folder), os.path.realpath(root))  # below the installroot, to dnf
        text = (
            f"[main]\nplugins=0\nreposdir={folder}/none\nvarsdir={folder}/none\ncachedir={out}/cache\nlogdir={out}/log\n"
            f"persistdir={out}/lib\ninstall_weak_deps={int(weak)}\nobsoletes=1\nlocalpkg_gpgcheck=0\n"
            f"module_platform_id=platform:w1\nzchunk=0\nkeepcache=1\nmetadata_expire=0\nmetadata_timer_sync=0\n"
            f"clean_requirements_on_remove=0\nassumeyes=1\n{main}"
        )
        for repo in ("base",) if repos is None else repos:
            keys = " ".join(path.as_uri() for path in self.gpgkeys(repo))
            url = (urls or self.url)(repo)
            text += f"[{repo}]\nname={repo}\nbaseurl={url}\nenabled=1\ngpgkey={keys}\n"
            text += f"gpgcheck={int(gpgcheck)}\nrepo_gpgcheck={int(repo_gpgcheck)}\n"
        path = folder / "dnf.conf"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def spec(
        self,
        folder: Path,
        *install: str,
        repos: Sequence[str] = ("base",),
        name: str = "small",
        packages: str = "",
        more: str = "",
        repo: str = "",
        urls: Callable[[str], str] | None = None,
    ) -> Path:
        """Write a spec over these repositories; `packages`, `repo` and `more` are further lines of the sections."""
        text = f'[image]\nname = "{name}"\nversion = "1"\n'
        for each in repos:
            keys = json.dumps([str(path) for path in self.gpgkeys(each)])
            url = (urls or self.url)(each)
            text += f'[[repo]]\nname = "{each}"\ntype = "rpm"\nbaseurl = ["{url}"]\ngpgkey = {keys}\n{repo}\n'
        text += f"[packages]\ninstall = {json.dumps(list(install))}\n{packages}\n{more}\n"
        path = folder / f"{name}.toml"
        path.write_text(text)
        return path


@contextmanager
def served(world: World) -> Iterator[tuple[Server, Callable[[str], str]]]:
    """A server on the loopback of all repositories and keys, and the address of a repository there."""
    files = {}
    for top in ("repos", "keys"):
        for path in (world.folder / top).rglob("*"):
            if path.is_file():
                files[f"/{path.relative_to(world.folder)}"] = path.read_bytes()
    with Server(files) as server:
        yield server, lambda repo: server.url(f"/repos/{repo}")


# --- making it -----------------------------------------------------------------------------------------------------


def world() -> World:
    """The distribution, made at the first call of a test run (others that come at the same time wait)."""
    given = os.environ.get("HOSIER_RPM_WORLD")
    folder = Path(given) if given else Path(tempfile.gettempdir()) / "rpmworld"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "done"
        if not done.exists() or done.read_text() != _recipe():
            for each in folder.iterdir():
                if each.name != "lock":
                    shutil.rmtree(each) if each.is_dir() else each.unlink()
            make(folder)
            done.write_text(_recipe())
    return World(folder)


def _recipe() -> str:
    """The digest of what a distribution is made by: one of another recipe is made anew."""
    texts = [Path(module.__file__).read_bytes() for module in (rpmdistro, rpmspecial)]
    return hashlib.sha256(b"".join([*texts, Path(__file__).read_bytes()])).hexdigest()


def make(folder: Path) -> World:
    """Make it in `folder`, and say on stderr how long each part took."""
    times: list[tuple[str, float]] = []
    started = time.perf_counter()

    def took(what: str) -> None:
        times.append((what, time.perf_counter() - started - sum(each for _, each in times)))

    work = folder / "work"
    work.mkdir()
    make_keys(folder)
    took("keys")
    (work / "base" / "stage").mkdir(parents=True)
    text, names = rpmdistro.spec(work / "base", work / "base" / "stage")
    took("unpacking")
    jobs = {"base": text, **rpmspecial.specs()}
    for name, each in jobs.items():
        (work / name).mkdir(exist_ok=True)
        (work / name / f"{name}.spec").write_text(each)

    def build(name: str) -> None:
        repo = rpmspecial.REPO.get(name, name)
        out = folder / "repos" / repo
        out.mkdir(parents=True, exist_ok=True)
        target = rpmspecial.TARGET.get(name, "")
        rpmdistro.rpmbuild(work / name / f"{name}.spec", out, root=work / name, epoch=EPOCH, target=target)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(build, jobs))
    took("rpmbuild")
    shutil.rmtree(work)
    sign(folder)
    took("signing")
    publish(folder)
    took("createrepo_c")
    told = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in times)
    total = time.perf_counter() - started
    print(f"an RPM distribution of {len(names)} packages and more in {total:.1f} s: {told}", file=sys.stderr)
    return World(folder)


def _gpg(folder: Path, *words: str, text: str | None = None) -> str:
    done = subprocess.run(
        ["gpg", "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", *words],
        env={"PATH": os.environ["PATH"], "GNUPGHOME": str(folder / "gnupg"), "LC_ALL": "C"},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"gpg {' '.join(words)}: {done.stderr}")
    return done.stdout


def make_keys(folder: Path) -> None:
    (folder / "gnupg").mkdir(mode=0o700)
    (folder / "keys").mkdir()
    for name, kind in KEYS.items():
        _gpg(folder, "--quick-generate-key", f"{name} <{name}@example.org>", kind, "sign", "never")
        (folder / "keys" / f"{name}.asc").write_text(_gpg(folder, "--armor", "--export", f"{name}@example.org"))


def sign(folder: Path) -> None:
    """Sign the packages of each repository, and make the repositories of wrong ones."""
    repos = folder / "repos"
    work = []
    for name, signer in SIGNER.items():
        if (repos / name).exists():
            files = sorted((repos / name).glob("*.rpm"))
            half = (len(files) + 1) // 2
            work += [(signer, part) for part in (files[:half], files[half:]) if part]
    wrong = sorted((repos / "extras").glob("plain-*.rpm"))[-1]
    for name in ("unsigned", "untrusted", "damaged"):
        (repos / name).mkdir()
        shutil.copy(wrong, repos / name)
    work.append(("stranger", [repos / "untrusted" / wrong.name]))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda each: add_signature(folder, *each), work))
    damaged = repos / "damaged" / wrong.name
    content = bytearray((repos / "extras" / wrong.name).read_bytes())
    content[-40] ^= 0x10
    damaged.write_bytes(content)
    stop_agent(folder)


def add_signature(folder: Path, signer: str, files: Sequence[Path]) -> None:
    define = {"_gpg_name": f"{signer}@example.org", "_gpg_path": str(folder / "gnupg"), "__gpg": shutil.which("gpg")}
    define |= {"_gpg_sign_cmd_extra_args": "--batch --pinentry-mode loopback --passphrase ''"}
    words = [word for key, value in define.items() for word in ("--define", f"{key} {value}")]
    done = subprocess.run(
        ["rpmsign", *words, "--addsign", *map(str, files)],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "GNUPGHOME": str(folder / "gnupg"), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"rpmsign: {done.stdout}{done.stderr}")


def createrepo(path: Path, *words: str) -> None:
    base = ["createrepo_c", "--quiet", "--revision", str(EPOCH), "--set-timestamp-to-revision", "--workers", "2"]
    subprocess.run([*base, *words, str(path)], check=True, capture_output=True)


def publish(folder: Path) -> None:
    """Metadata for each repository, and the variants of base's; repomd.xml is signed in all that are signed."""
    repos = folder / "repos"
    (folder / "comps.xml").write_text(rpmspecial.COMPS)
    (folder / "modules.yaml").write_text(rpmspecial.MODULES)
    words = {
        "base": ("--database",),
        "updates": ("--no-database", "--general-compress-type=xz"),
        "extras": ("--no-database", "--groupfile", str(folder / "comps.xml")),
    }
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(
            pool.map(lambda path: createrepo(path, *words.get(path.name, ("--no-database",))), sorted(repos.iterdir()))
        )
    modify = ["modifyrepo_c", "--mdtype=modules", str(folder / "modules.yaml"), str(repos / "extras" / "repodata")]
    subprocess.run(modify, check=True, capture_output=True)
    for kind in COMPRESS:
        variant(repos / "base", repos / f"base-{kind}", kind)
    for path in sorted(repos.iterdir()):
        signer = SIGNER.get(path.name.split("-")[0])
        if signer:
            repomd = str(path / "repodata" / "repomd.xml")
            _gpg(folder, "--local-user", f"{signer}@example.org", "--armor", "--detach-sign", repomd)
    stop_agent(folder)


def _zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=content, check=True, capture_output=True).stdout


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"xz": lzma.compress, "bz2": bz2.compress, "zst": _zstd, "plain": bytes}


def variant(source: Path, target: Path, kind: str) -> None:
    """The same repository with metadata compressed in another way (this createrepo_c knows no zstd)."""
    (target / "repodata").mkdir(parents=True)
    for package in sorted(source.glob("*.rpm")):
        os.link(package, target / package.name)
    suffix = "" if kind == "plain" else f".{kind}"
    text = (source / "repodata" / "repomd.xml").read_text()
    kept = []
    for block in re.findall(r"  <data type=.*?</data>\n", text, re.DOTALL):
        match = re.search(r'<location href="(repodata/[0-9a-f]+-(\w+\.xml)\.gz)"/>', block)
        if match is None:
            continue
        content = COMPRESS[kind](gzip.decompress((source / match[1]).read_bytes()))
        digest = hashlib.sha256(content).hexdigest()
        name = f"repodata/{digest}-{match[2]}{suffix}"
        (target / name).write_bytes(content)
        block = block.replace(match[1], name)
        block = re.sub(r"<checksum type=.sha256.>\w+<", f'<checksum type="sha256">{digest}<', block, count=1)
        kept.append(re.sub(r"<size>\d+<", f"<size>{len(content)}<", block))
    start, end = text.index("  <data "), text.rindex("</data>\n") + len("</data>\n")
    (target / "repodata" / "repomd.xml").write_text(text[:start] + "".join(kept) + text[end:])


def stop_agent(folder: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "GNUPGHOME": str(folder / "gnupg")}
    subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=True)


if __name__ == "__main__":
    os.environ["HOSIER_RPM_WORLD"] = sys.argv[1]
    print(world().folder)
