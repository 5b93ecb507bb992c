"""Make the metadata of an RPM repository in memory, an honest one or one that lies, for a server of the tests."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kit.archive import Key
from kit.rpmmd import P, filelists, primary

COMPS = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps><group><id>core</id><name>Core</name><packagelist><packagereq type="mandatory">one</packagereq></packagelist>
</group></comps>
"""


@dataclass(frozen=True)
class Lies:
    """What is wrong on purpose; all of it off by default."""

    size: Mapping[str, object] = field(default_factory=dict)
    """By kind: what repomd.xml says instead of the size."""
    expanded: Mapping[str, object] = field(default_factory=dict)
    digest: Sequence[str] = ()
    """Kinds whose digest is that of something else."""
    text: Sequence[str] = ()
    """Kinds whose text's digest is that of something else."""
    absent: Sequence[str] = ()
    """Kinds that are listed and not there."""


@dataclass(frozen=True)
class Made:
    """The files of a repository, by path; `texts` are those of its metadata, by kind."""

    files: dict[str, bytes]
    texts: dict[str, bytes]

    @property
    def repomd(self) -> bytes:
        return self.files["repodata/repomd.xml"]

    def sha256(self, kind: str) -> str:
        """The digest of a metadata file as it is served."""
        (path,) = [each for each in self.files if each.startswith(f"repodata/{kind}.")]
        return hashlib.sha256(self.files[path]).hexdigest()


def compressed(content: bytes, kind: str) -> bytes:
    if kind == "zst":
        import zstandard

        return zstandard.ZstdCompressor(level=3).compress(content)
    return {"": bytes, "gz": lambda c: gzip.compress(c, mtime=0), "xz": lzma.compress, "bz2": bz2.compress}[kind](
        content
    )


def make(
    packages: Sequence[P] = (P("one"),),
    *,
    compression: str = "gz",
    algorithm: str = "sha256",
    texts: Mapping[str, str | bytes] | None = None,
    time: int = 1700000000,
    lies: Lies | None = None,
    sizes: bool = True,
) -> Made:
    """A repository's metadata. `texts` are further kinds, or others than the packages' own."""
    lies = lies or Lies()
    said = {"primary": primary(packages), "filelists": filelists(packages), **(texts or {})}
    every = {kind: text.encode() if isinstance(text, str) else text for kind, text in said.items()}
    files: dict[str, bytes] = {}
    entries = []
    for kind, text in every.items():
        ending = ("yaml" if kind == "modules" else "xml") + (f".{compression}" if compression else "")
        content = compressed(text, compression)
        path = f"repodata/{kind}.{ending}"
        if kind not in lies.absent:
            files[path] = content
        digest = hashlib.new(algorithm, content + (b"a lie" if kind in lies.digest else b"")).hexdigest()
        opened = hashlib.new(algorithm, text + (b"a lie" if kind in lies.text else b"")).hexdigest()
        size = f"<size>{lies.size.get(kind, len(content))}</size>" if sizes else ""
        expanded = f"<open-size>{lies.expanded.get(kind, len(text))}</open-size>" if sizes else ""
        entries.append(
            f'<data type="{kind}"><checksum type="{algorithm}">{digest}</checksum>'
            f'<open-checksum type="{algorithm}">{opened}</open-checksum><location href="{path}"/>'
            f"<timestamp>{time}</timestamp>{size}{expanded}</data>\n"
        )
    files["repodata/repomd.xml"] = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<repomd xmlns="http://linux.duke.edu/metadata/repo">\n'
        f"<revision>{time}</revision>\n{''.join(entries)}</repomd>\n"
    ).encode()
    return Made(files, every)


def signature(content: bytes, key: Key) -> bytes:
    """A detached signature in armour, as repomd.xml.asc has it."""
    import pysequoia

    made: bytes = pysequoia.sign(key.secret.signer(), content, mode=pysequoia.SignatureMode.DETACHED)
    return made


def metalink(uris: Sequence[str], content: bytes, *, algorithm: str = "sha256", size: int | None = None) -> bytes:
    """A metalink whose repomd.xml is `content`."""
    urls = "".join(
        f'<url protocol="http" preference="{100 - at}">{uri}/repodata/repomd.xml</url>' for at, uri in enumerate(uris)
    )
    digest = hashlib.new(algorithm, content).hexdigest()
    return (
        '<metalink version="3.0" xmlns="http://www.metalinker.org/"><files><file name="repomd.xml">'
        f"<size>{len(content) if size is None else size}</size>"
        f'<verification><hash type="{algorithm}">{digest}</hash></verification>'
        f"<resources>{urls}</resources></file></files></metalink>"
    ).encode()
