"""Which registries are spoken to in plain HTTP, and whose certificates are believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hosier.errors import FetchFailed
from hosier.fetch.endpoint import endpoint
from hosier.fetch.reference import parse
from kit.registry import environment

SETTINGS = """
unqualified-search-registries = ["docker.io"]

[[registry]]
location = "plain.example.org:5000"
insecure = true

[[registry]]
prefix = "other.example.org"
location = "elsewhere.example.org"
insecure = true

[[registry]]
location = "safe.example.org"
"""


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("registry.example.org", "https://registry.example.org"),
        ("registry.example.org:80", "https://registry.example.org:80"),
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("localhost.example.org", "https://localhost.example.org"),
        ("docker.io", "https://registry-1.docker.io"),
        ("plain.example.org:5000", "http://plain.example.org:5000"),
        ("plain.example.org", "https://plain.example.org"),
        ("other.example.org", "http://other.example.org"),
        ("elsewhere.example.org", "https://elsewhere.example.org"),
        ("safe.example.org", "https://safe.example.org"),
    ],
)
def test_how_a_host_is_reached(tmp_path: Path, host: str, base: str) -> None:
    settings = tmp_path / ".config/containers/registries.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text(SETTINGS)
    found = endpoint(parse(f"{host}/a"), environment(tmp_path))
    assert (found.base, found.trust) == (base, None)


def test_a_later_file_overrides(tmp_path: Path) -> None:
    settings = tmp_path / "mine.conf"
    settings.write_text(SETTINGS)
    env = environment(tmp_path) | {"CONTAINERS_REGISTRIES_CONF": str(settings)}
    reference = parse("plain.example.org:5000/a")
    assert endpoint(reference, env).base == "http://plain.example.org:5000"
    folder = tmp_path / "mine.conf.d"
    folder.mkdir()
    (folder / "10.conf").write_text('[[registry]]\nlocation = "plain.example.org:5000"\ninsecure = false\n')
    assert endpoint(reference, env).base == "https://plain.example.org:5000"


def test_settings_that_cannot_be_read(tmp_path: Path) -> None:
    settings = tmp_path / "mine.conf"
    settings.write_text("[[registry\n")
    with pytest.raises(FetchFailed, match=r"cannot read .*/mine\.conf: "):
        endpoint(parse("example.org/a"), environment(tmp_path) | {"CONTAINERS_REGISTRIES_CONF": str(settings)})


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    folder = tmp_path / ".config/containers/certs.d/example.org:5000"
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_text("no\n")
    with pytest.raises(FetchFailed) as raised:
        endpoint(parse("example.org:5000/a"), environment(tmp_path))
    assert str(raised.value) == f"cannot use the certificate {folder}/ca.crt: it is not a certificate"
    assert endpoint(parse("example.org/a"), environment(tmp_path)).trust is None
