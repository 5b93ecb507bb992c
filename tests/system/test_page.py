"""The page of an image, in a real browser: what it shows, what a search finds, and what a name in it may not do."""

from __future__ import annotations

import base64
import html
import json
import re
import subprocess
import zlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hosier.inspect.contents import PackageSize
from hosier.inspect.page import page
from hosier.store.manifest import Entry
from kit.cli import build, hosier
from kit.world import World

HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"


def _file(path: str, size: int, package: str = "", **more: str) -> Entry:
    return Entry(path, "f", 0o644, 0, 0, 0, size=size, sha256="0" * 64, package=package, **more)


ENTRIES = [
    Entry("/", "d", 0o755, 0, 0, 0),
    Entry("/usr", "d", 0o755, 0, 0, 0),
    _file("/usr/bin/app", 7_000_000, "app"),
    _file("/usr/bin/again", 7_000_000, "app", hardlink="/usr/bin/app"),
    _file("/usr/lib/libx.so", 500_000, "libx:amd64"),
    Entry("/usr/lib/l", "l", 0o777, 0, 0, 0, target="libx.so", package="libx:amd64"),
    _file("/etc/__proto__", 12),
    _file("/etc/" + HOSTILE.replace("/", "∕"), 99),
    _file("/etc/\udcff", 1),
]
PACKAGES = [
    PackageSize("app", "1.0", "amd64", "requested", 2, 7_000_000),
    PackageSize("libx", "2.0", "amd64", "depends of app", 2, 500_000),
]


def _made() -> str:
    facts = [("packages", "2"), ("", HOSTILE)]
    return page("web", "1.4", facts, PACKAGES, ENTRIES, native="amd64")


def _browse(text: str, folder: Path, *, script: str = "", fragment: str = "") -> str:
    """The document as the browser has it when `script` has run at its end."""
    file = folder / "page.html"
    at = text.rindex("</body>")
    later = (
        f"const go = () => {{ if (!document.documentElement.dataset.ready) return setTimeout(go, 5); {script} }}; go()"
    )
    file.write_text(f"{text[:at]}<script>{later}</script>{text[at:]}" if script else text)
    done = subprocess.run(
        [
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--virtual-time-budget=20000",  # it waits for what the page does after it is loaded
            f"--user-data-dir={folder}/profile",
            "--window-size=1200,900",
            "--dump-dom",
            f"file://{file}{fragment}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"},
        check=True,
    )
    assert 'data-ready="yes"' in done.stdout, done.stderr
    return done.stdout


def _rows(document: str) -> list[list[str]]:
    body = re.search(r'<tbody id="rows">(.*?)</tbody>', document, re.DOTALL)
    assert body is not None
    return [
        [html.unescape(re.sub(r"<[^>]*>", "", cell)) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", body[1], re.DOTALL)
    ]


def test_it_shows_packages_by_size(tmp_path: Path) -> None:
    document = _browse(_made(), tmp_path)
    assert _rows(document) == [
        ["app", "1.0", "7.0 MB", "2", "", "requested"],
        ["libx", "2.0", "500 kB", "2", "", "depends of app"],
        ["(no package)", "", "112 B", "3", "", "made by scripts or by the spec"],
    ]
    assert '<h1 id="name">web:1.4</h1>' in document


def test_a_search_finds_packages_and_paths(tmp_path: Path) -> None:
    document = _browse(_made(), tmp_path, fragment="#LIBX")
    assert [row[:3] for row in _rows(document)] == [["/usr/lib/libx.so", "libx", "500 kB"], ["libx", "2.0", "500 kB"]]
    assert "2 found for “LIBX”" in document
    nothing = _browse(_made(), tmp_path, fragment="#no%20such")
    assert _rows(nothing) == []
    assert "Nothing found." in nothing


def test_folders_open_by_row_and_by_the_map(tmp_path: Path) -> None:
    script = """
      document.getElementById("by-folder").click();
      const seen = [document.getElementById("path").textContent];
      document.querySelector("#rows tr").click();
      seen.push(document.getElementById("path").textContent);
      document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape", bubbles: true}));
      seen.push(document.getElementById("path").textContent);
      const box = document.getElementById("map").getBoundingClientRect();
      const at = {clientX: box.left + 5, clientY: box.top + 30};
      document.getElementById("map").dispatchEvent(new MouseEvent("click", at));
      seen.push(document.getElementById("path").textContent);
      document.title = JSON.stringify(seen);
    """
    document = _browse(_made(), tmp_path, script=script)
    title = re.search(r"<title>(.*?)</title>", document)
    assert title is not None
    assert json.loads(html.unescape(title[1])) == [
        "/  7.5 MB, 7 files",
        "/ › usr  7.5 MB, 4 files",
        "/  7.5 MB, 7 files",
        "/ › usr  7.5 MB, 4 files",
    ]


def test_rows_are_opened_by_keyboard_alone(tmp_path: Path) -> None:
    """What opens is a button, and the focus goes where the reader goes."""
    script = """
      const seen = [[...document.querySelectorAll("#rows button")].map(each => each.textContent)];
      document.querySelector("#rows button").focus();
      document.activeElement.click();
      seen.push(document.getElementById("path").textContent, document.activeElement.id);
      document.dispatchEvent(new KeyboardEvent("keydown", {key: "/", bubbles: true}));
      seen.push(document.activeElement.id);
      document.title = JSON.stringify(seen);
    """
    title = re.search(r"<title>(.*?)</title>", _browse(_made(), tmp_path, script=script))
    assert title is not None
    assert json.loads(html.unescape(title[1])) == [
        ["app", "libx", "(no package)"],
        "All packages › app › usr › bin  7.0 MB, 2 files",
        "path",
        "search",
    ]


def test_a_thousand_packages_are_a_page_below_two_megabytes(tmp_path: Path) -> None:
    packages = [PackageSize(f"lib{n:03}-tools{n % 7}", "1.0", "amd64", "requested", 120, n) for n in range(1000)]
    entries = [
        _file(f"/usr/share/{p.name}/{n:02x}{hash((p.name, n)) & 0xFFFFFF:06x}.mo", n * 977 + p.size, p.name)
        for p in packages
        for n in range(120)
    ]
    made = page("big", "1", [], packages, entries, native="amd64")
    assert len(made) < 2_000_000
    assert "120000 files" in re.sub(r"<[^>]*>", "", _browse(made, tmp_path))
    assert not re.search(
        r"""(?:src|href|url|import|fetch)\s*[=(]\s*["']?(?!data:)[a-z]""", made.partition('id="data"')[0]
    )
    assert "default-src 'none'" in made


def test_a_name_is_text_and_nothing_else(tmp_path: Path) -> None:
    document = _browse(_made(), tmp_path, fragment="#img")
    assert "<title>web:1.4</title>" in document
    assert [row[0] for row in _rows(document)] == ["/etc/" + HOSTILE.replace("/", "∕")]
    # and so it would have been, had it been markup
    unguarded = _made().replace("<h1 id=", HOSTILE + "<h1 id=")
    assert "<title>owned</title>" in _browse(unguarded, tmp_path)


def test_the_page_of_an_image(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("app", {"/usr/bin/app": "a" * 5_000})
    build(world.spec("app"), store=world.store)
    out = tmp_path / "small.html"
    hosier("inspect", "small", "--html", out, store=world.store)
    rows = _rows(_browse(out.read_text(), tmp_path))
    said = json.loads(hosier("inspect", "small", "--json", store=world.store).stdout)
    assert {(row[0], row[1]) for row in rows} - {("(no package)", "")} == {
        (each["name"], each["version"]) for each in said["contents"]
    }
    refused = hosier("inspect", "small", "--html", tmp_path / "no/such", store=world.store, check=False)
    assert refused.returncode == 10
    assert "no such file or directory" in refused.stderr


@given(st.text(min_size=1, max_size=30).filter(lambda name: "/" not in name and "\0" not in name and name not in ".."))
def test_any_name_is_data(name: str) -> None:
    made = page(name, name, [(name, name)], [], [_file(f"/{name}", 1)], native="amd64")
    text = re.search(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]*)</script>', made)
    assert text is not None
    data = json.loads(zlib.decompress(base64.b64decode(text[1])))
    assert list(data["tree"].values()) == [[1, 0]]
    assert made.count("<script") == 2
