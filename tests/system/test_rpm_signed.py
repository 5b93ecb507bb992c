"""Packages of the RPM family are built only when one of the keys in the lock signed them, where that is asked for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit import rpms
from kit.cli import build, hosier
from kit.rpmshop import Shop

pytestmark = pytest.mark.skipif(shutil.which("createrepo_c") is None, reason="needs createrepo_c")

OWN, STRANGER = rpms.key("own <own@example.org>"), rpms.key("stranger <stranger@example.org>")
UNSIGNED = (
    "error: cannot trust app-1-1.noarch: it is not signed\n"
    "hint: gpgcheck = false in the [[repo]] takes it without a check\n"
)
UNKNOWN = (
    "error: cannot trust app-1-1.noarch: it is signed by {}, and no such key is in the lock's keys\n"
    "hint: name the key in gpgkey; gpgcheck = false in the [[repo]] takes it without a check\n"
)


def print_of(key: object) -> str:
    """The fingerprint of the key that signs (a subkey has its own)."""
    import pysequoia

    made = pysequoia.sign(key.signer(), b"x", mode=pysequoia.SignatureMode.DETACHED, armor=False)  # type: ignore[attr-defined]
    return str(pysequoia.Sig.from_bytes(bytes(made)).issuer_fingerprint).upper()


def nothing_of(store: Path) -> list[str]:
    """Trees, images and tags in a store."""
    return sorted(
        str(path.relative_to(store)) for kind in ("trees", "images", "tags") for path in (store / kind).glob("*")
    )


@dataclass(frozen=True)
class Case:
    name: str
    signer: object
    gpgcheck: bool
    error: str
    status: int = 7


CASES = [
    Case("signed by the lock's key", OWN, True, "", 0),
    Case("signed by nobody", None, True, UNSIGNED),
    Case("signed by another", STRANGER, True, UNKNOWN.format(print_of(STRANGER))),
    Case("nobody asks", None, False, "", 0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_package_is_signed_or_refused_by_name(case: Case, tmp_path: Path) -> None:
    shop = Shop(tmp_path, key=OWN)
    shop.put("app", requires=["lib"], sign_with=case.signer)
    shop.put("lib")
    shop.publish()
    store = tmp_path / "store"
    done = hosier("build", shop.spec("app", gpgcheck=case.gpgcheck), store=store, check=False)
    assert done.returncode == case.status, done.stderr
    if case.status:
        assert done.stderr.endswith(case.error)
        assert nothing_of(store) == []
        # The next build takes the package that is signed.
        shop.put("app", requires=["lib"])
        shop.publish()
        hosier("lock", tmp_path / "small.toml", "--update", store=store)
        hosier("build", tmp_path / "small.toml", store=store)


def test_a_tree_that_was_made_without_the_check_is_none_that_was_made_with_it(tmp_path: Path) -> None:
    """Nor is a package that lies unpacked in the store already."""
    shop = Shop(tmp_path, key=OWN)
    shop.put("app", sign_with=None)
    shop.publish()
    store = tmp_path / "store"
    free = build(shop.spec("app", name="free", gpgcheck=False), store=store)
    checked = shop.spec("app", name="checked")
    hosier("lock", checked, store=store)
    done = hosier("build", checked, store=store, check=False)
    assert (done.returncode, done.stderr) == (7, UNSIGNED)
    # Without the unpacked folder, too.
    hosier("gc", store=store)
    assert hosier("build", checked, store=store, check=False).returncode == 7
    assert build(tmp_path / "free.toml", store=store)["digest"] == free["digest"]


def test_the_lock_s_keys_are_what_counts(tmp_path: Path) -> None:
    shop, other = Shop(tmp_path, key=OWN), Shop(tmp_path, key=STRANGER, name="other")
    shop.put("app")
    shop.publish()
    other.put("app")
    other.publish()
    store = tmp_path / "store"
    spec, lock = shop.spec("app"), tmp_path / "small.lock"
    hosier("lock", spec, store=store)
    hosier("lock", other.spec("app", name="theirs"), store=store)
    text, theirs = lock.read_text(), (tmp_path / "theirs.lock").read_text()
    keys = theirs[theirs.index("[[keys]]") :].replace('"other"', '"shop"')
    lock.write_text(text[: text.index("[[keys]]")] + keys)
    done = hosier("build", spec, store=store, check=False)
    assert (done.returncode, done.stderr) == (7, UNKNOWN.format(print_of(OWN)))
    lock.write_text(text)
    hosier("build", spec, store=store)


def test_packages_of_no_repository_are_signed_by_the_spec_s_own_keys(tmp_path: Path) -> None:
    """`[packages] gpgkey` is for local files and URLs; without it nobody asks."""
    shop = Shop(tmp_path, key=OWN)
    shop.put("lib")
    shop.publish()
    store = tmp_path / "store"
    for name, signer in (("mine", OWN), ("theirs", STRANGER), ("bare", None)):
        rpms.write(tmp_path, name, "1", "1", sign_with=signer, requires=["lib"])
    key = f'gpgkey = "{shop.certificate}"'
    mine = [f"./{name}-1-1.noarch.rpm" for name in ("mine", "theirs", "bare")]
    hosier("build", shop.spec(*mine, name="free"), store=store)
    hosier("build", shop.spec(mine[0], "lib", name="one", packages=key), store=store)
    done = hosier("build", shop.spec(mine[0], mine[1], name="two", packages=key), store=store, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        7,
        UNKNOWN.format(print_of(STRANGER)).splitlines()[0].replace("app", "theirs"),
    )
    done = hosier("build", shop.spec(mine[0], mine[2], name="three", packages=key), store=store, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (7, UNSIGNED.splitlines()[0].replace("app", "bare"))
