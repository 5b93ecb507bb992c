"""Releases are read or refused; indices come out whole or not at all; progress is told in lines."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import hosier
from hosier.distro import expand
from hosier.distro.deb import keys, release
from hosier.errors import NotAuthentic, StoreFailed
from hosier.fetch.progress import Phase, quantity, reporter, summary
from kit.archive import archive_key, new_key, sign

DIGEST = "ab" * 32
TEXT = f"""\
Origin: Debian
Label: Debian-Security
Suite: stable-security
Codename: trixie-security
Date: Sat, 11 Jul 2026 10:16:37 UTC
Valid-Until: Sat, 18 Jul 2026 12:16:37 +0200
Acquire-By-Hash: yes
Architectures: all amd64
Components: updates/main
MD5Sum:
 00 1 x
SHA256:
 {DIGEST} 12 main/binary-amd64/Packages.xz
 {DIGEST}        0 ./main/binary-all/Packages
"""


def test_a_release() -> None:
    assert release.parse(TEXT.encode(), name="r") == release.Release(
        origin="Debian",
        label="Debian-Security",
        suite="stable-security",
        codename="trixie-security",
        date=1783764997,
        valid_until=1783764997 + 7 * 86400,
        architectures=("all", "amd64"),
        components=("updates/main",),
        by_hash=True,
        pin=500,
        packages_of_all_apart=True,
        snapshots=None,
        files={"main/binary-amd64/Packages.xz": (12, DIGEST), "main/binary-all/Packages": (0, DIGEST)},
    )


BAD = [
    ("nothing", "", "line 1: expected one stanza, found none"),
    ("HTML", "<html>\n", "line 1: expected \"Name: value\", found '<html>'"),
    ("two stanzas", TEXT + "\nA: b\n", "line 16: expected one stanza, found another"),
    ("no date", TEXT.replace("Date: Sat", "X: Sat"), "no Date"),
    ("another date", TEXT.replace("11 Jul", "11 Juli"), "the Date 'Sat, 11 Juli 2026 10:16:37 UTC' is not a date"),
    ("an end that is no date", TEXT.replace("+0200", "CEST"), None),
    ("a short digest", TEXT.replace(DIGEST, "ab"), "line 13: expected a sha256, a size and a path"),
    ("a size in words", TEXT.replace(" 12 ", " ten "), "line 13: expected a sha256, a size and a path"),
]


@pytest.mark.parametrize(("name", "text", "told"), BAD, ids=[each[0] for each in BAD])
def test_what_is_no_release_is_refused(name: str, text: str, told: str | None) -> None:
    told = told or "the Valid-Until 'Sat, 18 Jul 2026 12:16:37 CEST' is not a date"
    with pytest.raises(NotAuthentic, match=f"^cannot read r: {re.escape(told)}$"):
        release.parse(text.encode(), name="r")


def test_weak_digests_alone_are_refused() -> None:
    with pytest.raises(NotAuthentic, match=r"^cannot trust r: it has no SHA256 digests$"):
        release.parse(TEXT.partition("SHA256")[0].encode(), name="r")


@given(st.binary(max_size=60).map(lambda noise: TEXT.encode()[:150] + noise + TEXT.encode()[150:]))
def test_noise_is_read_or_refused(text: bytes) -> None:
    with contextlib.suppress(NotAuthentic):
        release.parse(text, name="r")


@given(st.binary(max_size=30), st.integers(0, 1200), st.integers(0, 40))
def test_a_damaged_message_gives_what_was_signed_or_is_refused(noise: bytes, at: int, gone: int) -> None:
    message = MESSAGE[:at] + noise + MESSAGE[at + gone :]
    try:
        text, signers = keys.verify(message, RING, name="r", now=1.8e9)
    except NotAuthentic:
        return
    assert [each.fingerprint for each in signers] == [archive_key().fingerprint.upper()]
    assert text.split() == TEXT.encode().split()


def _ring() -> keys.Keyring:
    import pysequoia

    return keys.Keyring("here", (pysequoia.Cert.from_bytes(archive_key().public.encode()),))


MESSAGE = sign(TEXT.encode(), archive_key())
RING = _ring()


def test_the_signed_text_without_a_check() -> None:
    text = "A: b\n- dash\n-----x\n"
    assert release.signed_text(sign(text.encode(), archive_key())) == text.encode()
    assert release.signed_text(text.encode()) == text.encode()


@pytest.mark.skipif(shutil.which("gpgv") is None, reason="gpgv is not there")
def test_the_same_verdict_as_gpgv(tmp_path: Path) -> None:
    other = new_key()
    ring = tmp_path / "ring.gpg"
    ring.write_bytes(bytes(RING.certs[0]))
    cases = [MESSAGE, MESSAGE.replace(b"Debian-Sec", b"Debian-sec"), sign(TEXT.encode(), other), TEXT.encode()]
    verdicts = []
    for number, message in enumerate(cases):
        path = tmp_path / str(number)
        path.write_bytes(message)
        gpgv = subprocess.run(["gpgv", "--keyring", str(ring), str(path)], capture_output=True, check=False)
        try:
            keys.verify(message, RING, name="r", now=1.8e9)
            mine = True
        except NotAuthentic:
            mine = False
        verdicts.append((mine, gpgv.returncode == 0))
    assert verdicts == [(True, True), (False, False), (False, False), (False, False)]


CONTENT = b"".join(b"Package: p%d\nVersion: %d\n\n" % (n, n * 7) for n in range(60_000))


def _blocks(content: bytes, tmp_path: Path) -> bytes:
    (tmp_path / "plain").write_bytes(content)
    return subprocess.run(
        ["xz", "-T1", "-0", "--block-size=300000", "-c", str(tmp_path / "plain")], capture_output=True, check=True
    ).stdout


FORMS = {
    "": lambda content, _: content,
    "gz": lambda content, _: gzip.compress(content[:5000]) + gzip.compress(content[5000:]),
    "bz2": lambda content, _: bz2.compress(content[:5000]) + bz2.compress(content[5000:]),
    "lzma": lambda content, _: lzma.compress(content, lzma.FORMAT_ALONE),
    "xz": lambda content, _: lzma.compress(content, preset=0),
    "xz of streams": lambda content, _: (
        lzma.compress(content[:5000], preset=0) + lzma.compress(content[5000:], preset=0)
    ),
    "xz of blocks": _blocks,
    "zst": lambda content, _: zstandard.compress(content[:5000]) + zstandard.compress(content[5000:]),
}


@pytest.mark.parametrize("form", FORMS)
def test_expand(form: str, tmp_path: Path) -> None:
    kind = form.partition(" ")[0]
    packed = FORMS[form](CONTENT, tmp_path)
    source, dest = str(tmp_path / "source"), str(tmp_path / "dest")
    Path(source).write_bytes(packed)
    for size in (len(CONTENT), None):
        expand.expand(source, dest, kind=kind, size=size, name="it")
        assert Path(dest).read_bytes() == CONTENT
        os.unlink(dest)
    for size in (len(CONTENT) - 1, len(CONTENT) + 1):
        with pytest.raises(NotAuthentic, match=r"^cannot decompress it: "):
            expand.expand(source, dest, kind=kind, size=size, name="it")
    if kind:
        for bad in (packed[:-20], packed[: len(packed) // 2], b"", b"nonsense" * 9):
            Path(source).write_bytes(bad)
            with pytest.raises(NotAuthentic, match=r"^cannot decompress it: "):
                expand.expand(source, dest, kind=kind, size=len(CONTENT), name="it")
    stop = threading.Event()
    stop.set()
    Path(source).write_bytes(packed)
    with pytest.raises(expand.Stopped):
        expand.expand(source, dest, kind=kind, size=None, name="it", stop=stop)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("dest")]


def test_ten_gigabytes_of_zeros_are_not_written(tmp_path: Path) -> None:
    packed = lzma.compress(bytes(200 << 20), preset=0)
    (tmp_path / "source").write_bytes(packed)
    with pytest.raises(NotAuthentic, match=r"^cannot decompress it: it gives more than 1000 bytes$"):
        expand.expand(str(tmp_path / "source"), str(tmp_path / "dest"), kind="xz", size=1000, name="it")
    assert os.listdir(tmp_path) == ["source"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x")
    with pytest.raises(StoreFailed, match=r"^cannot store it: no such file or directory$"):
        expand.expand(str(tmp_path / "source"), str(tmp_path / "no" / "dest"), kind="", size=None, name="it")


QUANTITIES = [
    (0, "B", "0 B"), (999, "B", "999 B"), (1000, "B", "1.0 kB"), (37_100_000, "B", "37.1 MB"),
    (999_950_000, "B", "1.0 GB"), (154_300_000, "B", "154 MB"), (12_345, "files", "12,345 files"), (7, "", "7"),
]  # fmt: skip


@pytest.mark.parametrize(("number", "unit", "told"), QUANTITIES)
def test_quantities(number: int, unit: str, told: str) -> None:
    assert quantity(number, unit) == told


def test_plain_lines_and_timings(capsys: pytest.CaptureFixture[str]) -> None:
    report = reporter(quiet=False, verbose=True)
    with report.phase("outer"):
        with report.phase("fetch 2 packages", key="fetch", total=10, unit="B") as phase:
            phase.show()
            phase.advance(4)
            phase.grow(5)
            phase.advance(11)
        report.note("a note")
        report.detail("a detail")
    report.warn("once")
    report.warn("once")
    with contextlib.suppress(ValueError), report.phase("outer"):
        raise ValueError
    report.result("built it")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.sub(r"\d\.\d s", "T", err) == (
        "fetch 2 packages, 15 B (T)\nnote: a note\na detail\nouter (T)\nwarning: once\nouter, stopped (T)\n"
        "built it (T)\n"
    )
    assert (phase.done, phase.total) == (15, 15)
    assert sorted(report.timings) == ["fetch", "outer"]


def test_what_was_over_at_once_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    report = reporter(quiet=False, verbose=False)
    with report.phase("quick"):
        report.detail("not shown")
    with report.phase("slow", total=1, unit="packages") as phase:
        phase.advance()
        time.sleep(0.5)
    assert re.sub(r"\d\.\d s", "T", capsys.readouterr().err) == "slow, 1 package (T)\n"
    assert sorted(report.timings) == ["quick", "slow"]


def test_a_terminal_that_knows_no_bars_gets_lines() -> None:
    for term in ("dumb", ""):
        text = on_a_terminal(PROGRAM, term).decode()
        assert re.fullmatch(
            r"rich False\r\nnote: in between\r\nfetch, 6\.0 MB \(0\.\d s\)\r\nouter \[bold\] \(0\.\d s\)\r\n", text
        )


def test_quiet_says_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    report = reporter(quiet=True, verbose=True)
    with report.phase("x", total=1):
        report.note("n")
        report.detail("d")
        report.warn("w")
    report.result("r")
    assert capsys.readouterr() == ("", "warning: w\n")


def test_phases_move_from_threads() -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        report = reporter(quiet=False, verbose=False)
        with report.phase("x", total=0, unit="B") as phase:
            threads = [threading.Thread(target=lambda: [phase.advance(1) for _ in range(2000)]) for _ in range(4)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
    assert phase.done == 8000
    assert summary(phase, failed=False).startswith("x, 8.0 kB (")


PROGRAM = """
import sys, time
from hosier.fetch.progress import reporter
with reporter(quiet=False, verbose=False) as report:
    with report.phase("quick"):
        pass
    sys.stderr.write(f"rich {'rich' in sys.modules}\\n")
    with report.phase("outer [bold]"), report.phase("fetch", total=10_000_000, unit="B") as phase:
        for _ in range(6):
            time.sleep(0.11)
            phase.advance(1_000_000)
        report.note("in between")
"""


def on_a_terminal(program: str, term: str) -> bytes:
    """What `program` writes to the terminal that is its standard error."""
    ours, theirs = pty.openpty()
    env = os.environ | {
        "PYTHONPATH": os.path.dirname(os.path.dirname(hosier.__file__)),
        "TERM": term,
        "COLUMNS": "100",
        "PYTHONIOENCODING": "utf-8",
    }
    with os.fdopen(ours, "rb", buffering=0) as screen:
        child = subprocess.Popen([sys.executable, "-c", program], stderr=theirs, stdout=subprocess.PIPE, env=env)
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):
            while piece := screen.read(4096):
                seen += piece
        assert child.communicate()[0] == b""
    assert child.returncode == 0
    return seen


def test_bars_on_a_terminal() -> None:
    seen = on_a_terminal(PROGRAM, "xterm")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert text.startswith("rich False\r\n")
    assert re.search(r"fetch .*\d\.0 MB of 10\.0 MB, \d+\.\d MB/s", text)
    assert "note: in between" in text
    assert re.search(r"fetch, 6\.0 MB \(\d\.\d s\)\r\nouter \[bold\] \(\d\.\d s\)\r\n$", text)
    assert seen.endswith(b"\n") and b"\x1b[?25h" in seen


def test_a_phase_is_printed_even_when_its_total_is_unknown() -> None:
    report = reporter(quiet=True, verbose=False)
    assert summary(Phase(report, "x", None, "B"), failed=True) == "x, stopped (0.0 s)"
