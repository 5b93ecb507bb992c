"""ldconfig(8): the cache of shared libraries, byte for byte, and the links that packages left to it.

The cache's form is that of glibc 2.32 and later (glibc: sysdeps/generic/dl-cache.h, elf/cache.c, elf/stringtable.c).
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable, Iterator

from hosier.distro.deb.declared.calls import Call, Effect

CACHE = "/etc/ld.so.cache"
OWN = "/var/cache/ldconfig"
MAGIC = b"glibc-ld.so.cache1.1"
EXTENSION = 0xEAA42174
LITTLE = 2
_FLAGS = {(62, 2): 0x0303, (3, 1): 0x0003, (62, 1): 0x0803, (183, 2): 0x0A03, (22, 2): 0x0403, (21, 2): 0x0503}
"""An ELF file's machine and class to what the cache says of it; libraries of other machines are not known."""
_GENERATOR = re.compile(rb"ldconfig \([^\0]{1,100}\) \w+ release version [0-9.]+")
_DYNAMIC_MAX = 1 << 20
_NAME_MAX = 4096
_LIBRARY = re.compile(r"(?:lib.*|ld-.*)\.so.*", re.DOTALL)
_UNFINISHED = (".dpkg-new", ".dpkg-tmp", ".dpkg-old", ".dpkg-dist")


Read = Callable[[int, int], bytes]
"""A file's content: from an offset, at most so many bytes."""


def soname(read: Read) -> tuple[int, str] | None:
    """The cache's flags and the DT_SONAME ("" without) of a shared library; None for another kind of file.

    Raises ValueError for a library of a machine that is not known.
    """
    header = read(0, 64)
    if header[:4] != b"\x7fELF" or len(header) < 64 or header[5] != 1:
        return None
    kind, machine = struct.unpack_from("<HH", header, 16)
    if kind != 3:
        return None
    flags = _FLAGS.get((machine, header[4]))
    if flags is None:
        raise ValueError(f"a library of machine {machine}")
    try:
        return flags, _named(read, header, wide=header[4] == 2)
    except (struct.error, IndexError, ValueError):
        return None


def _named(read: Read, header: bytes, *, wide: bool) -> str:
    (offset,) = struct.unpack_from("<Q" if wide else "<I", header, 32 if wide else 28)
    size, count = struct.unpack_from("<HH", header, 54 if wide else 42)
    programs = read(offset, size * count)
    loads: list[tuple[int, int, int]] = []
    dynamic: bytes | None = None
    for number in range(count):
        at = number * size
        if wide:
            kind, _, place, address, _, length = struct.unpack_from("<IIQQQQ", programs, at)
        else:
            kind, place, address, _, length = struct.unpack_from("<IIIII", programs, at)
        if kind == 1:
            loads.append((address, length, place))
        elif kind == 2:
            dynamic = read(place, min(length, _DYNAMIC_MAX))
    if dynamic is None:
        raise ValueError("no dynamic section")
    table = name = -1
    for tag, value in struct.iter_unpack("<qQ" if wide else "<iI", dynamic):
        if tag == 0:
            break
        if tag == 5:
            table = value
        elif tag == 14:
            name = value
    if name < 0:
        return ""
    for address, length, place in loads:
        if address <= table < address + length:
            text = read(table - address + place + name, _NAME_MAX)
            return text[: text.index(b"\0")].decode("utf-8", "surrogateescape")
    raise ValueError("no string table")


def _compare(a: str, b: str) -> int:
    """_dl_cache_libcmp of glibc: like strcmp(3), with numbers as numbers."""
    one, two = re.findall(r"\d+|\D", a), re.findall(r"\d+|\D", b)
    for x, y in zip(one, two, strict=False):
        if x.isdigit() and y.isdigit():
            if int(x) != int(y):
                return 1 if int(x) > int(y) else -1
        elif x.isdigit() or y.isdigit():
            return 1 if x.isdigit() else -1
        elif x != y:
            return 1 if x > y else -1
    return len(one) - len(two)


def folders(call: Call) -> list[str]:
    """Where libraries are looked for, in order: /etc/ld.so.conf, then what glibc has built in."""
    found: list[str] = []

    def read(path: str, depth: int) -> None:
        for line in call.world.text(path).splitlines():
            words = line.partition("#")[0].split()
            if words[:1] == ["include"] and depth < 10:
                for pattern in words[1:]:
                    for file in _matching(call, pattern):
                        read(file, depth + 1)
            elif words and not line.startswith("hwcap"):
                found.append(words[0].rstrip("/"))

    read("/etc/ld.so.conf", 0)
    triplets = sorted({f.rpartition("/")[2] for f in found if "-linux-" in f})
    found += [f"{top}/{t}" for t in triplets for top in ("/lib", "/usr/lib")] + ["/lib", "/usr/lib"]
    return found


def _matching(call: Call, pattern: str) -> list[str]:
    folder, _, name = pattern.rpartition("/")
    node = call.view.node(folder)
    if node is None or node.kind != "d":
        return []
    expression = re.compile(re.escape(name).replace(r"\*", "[^/]*"))
    return [f"{folder}/{n}" for n in call.view.names(folder) if expression.fullmatch(n) and not n.startswith(".")]


def _libraries(call: Call, folder: str, *, link: bool) -> Iterator[tuple[str, int]]:
    """The sonames in a folder with their flags; with `link`, one that no file has gets its link."""
    best: dict[str, tuple[bool, str, int]] = {}
    for name in call.view.names(folder):
        if name == "glibc-hwcaps":
            raise call.shell.refusal(f"ldconfig with {folder}/glibc-hwcaps is not a known effect")
        if not _LIBRARY.fullmatch(name) or name.endswith(_UNFINISHED):
            continue
        path = f"{folder}/{name}"
        node, itself = call.view.node(path), call.view.node(path, follow=False)
        if node is None and link and ".so." in name:
            call.view.remove(path)
        if node is None or itself is None or node.kind != "f":
            continue
        try:
            facts = _known(call, path)
        except ValueError as exc:
            raise call.shell.refusal(f"ldconfig with {exc} ({path}) is not a known effect") from None
        if facts is None:
            continue
        key = facts[1] or name
        # A link for ld(1), as libz.so, stands for itself; one of any other name is as good as the file.
        is_link = itself.kind == "l" and (name == key or (name.endswith(".so") and key.startswith(name)))
        key = name if is_link else key
        there = best.get(key)
        if there is None or (not is_link and there[0]) or (is_link == there[0] and _compare(there[1], name) < 0):
            best[key] = (is_link, name, facts[0])
    for key, (is_link, name, flags) in best.items():
        if link and not is_link and key != name:
            _link(call, f"{folder}/{key}", name, f"{folder}/{name}")
        yield key, flags


def _link(call: Call, path: str, name: str, library: str) -> None:
    """Have the link `path` lead to the library beside it; what is no link stays."""
    there = call.view.node(path, follow=False)
    if there is not None:
        if there.kind != "l" or call.view.real(path, follow=True) == call.view.real(library, follow=True):
            return
        call.view.remove(path)
    call.view.symlink(name, path)


def _known(call: Call, path: str) -> tuple[int, str] | None:
    """What `soname` says of a file, read once."""
    real = call.view.real(path, follow=True)
    node = call.view.node(real)
    assert node is not None
    known = call.world.libraries
    key = (real, node.size, node.mtime)
    if key not in known:
        known[key] = soname(functools.partial(call.view.piece, real))
    return known[key]


def _table(texts: set[bytes]) -> tuple[bytes, dict[bytes, int]]:
    """Texts one after the other, each ended by NUL; one that another ends with lies inside that."""
    offsets: dict[bytes, int] = {}
    out = bytearray()
    before = b""
    for text in sorted(texts, key=lambda t: t[::-1], reverse=True):
        if before.endswith(text) and before:
            offsets[text] = offsets[before] + len(before) - len(text)
        else:
            offsets[text] = len(out)
            out += text + b"\0"
        before = text
    return bytes(out), offsets


def cache(entries: list[tuple[str, str, int]], generator: bytes) -> bytes:
    """The cache's bytes: of sonames, paths and flags, in the order of the folders."""
    by_name = functools.cmp_to_key(_compare)
    ordered = sorted(entries, key=lambda entry: (by_name(entry[0]), entry[2]), reverse=True)
    texts = {t.encode("utf-8", "surrogateescape") for key, path, _ in ordered for t in (key, path)}
    strings, offsets = _table(texts)
    start = 48 + 24 * len(ordered)
    extension = (start + len(strings) + 3) & ~3
    out = bytearray(MAGIC + struct.pack("<IIBxxxIxxxxxxxxxxxx", len(ordered), len(strings), LITTLE, extension))
    for key, path, flags in ordered:
        a, b = (offsets[t.encode("utf-8", "surrogateescape")] for t in (key, path))
        out += struct.pack("<iIIIQ", flags, start + a, start + b, 0, 0)
    out += strings
    out += b"\0" * (extension - len(out))
    out += struct.pack("<II", EXTENSION, 1) + struct.pack("<IIII", 0, 0, extension + 24, len(generator)) + generator
    return bytes(out)


def ldconfig(call: Call) -> int:
    """ldconfig(8): the cache, byte for byte, and the links of libraries"""
    words = call.arguments
    if words not in ([], ["-r", "/"], ["-X"]):
        raise call.refusal()
    program = call.view.read(call.path)
    if program.startswith(b"#!"):
        program = call.view.read(f"{call.path}.real")
    generator = _GENERATOR.search(program)
    if generator is None:
        raise call.shell.refusal("this ldconfig is not a known effect: it does not say its version")
    seen: set[str] = set()
    entries: list[tuple[str, str, int]] = []
    for folder in folders(call):
        node = call.view.node(folder)
        real = call.view.real(folder, follow=True)
        if node is None or node.kind != "d" or real in seen:
            continue
        seen.add(real)
        found = _libraries(call, folder, link="-X" not in words)
        entries += [(key, f"{folder}/{key}", flags) for key, flags in found]
    content = cache(entries, generator[0])
    if call.view.node(CACHE) is not None:
        call.view.remove(CACHE)
    call.view.write(CACHE, content, mode=0o644)
    # Its own cache of what it looked at is made anew there, and is no part of a root.
    if call.view.node(OWN) is not None:
        call.view.change(OWN, mtime=call.world.epoch)
    elif call.view.node("/var/cache") is not None:
        call.view.mkdir(OWN, 0o700)
    return 0


EFFECTS: dict[str, Effect] = {"ldconfig": ldconfig}
