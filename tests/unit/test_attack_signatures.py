"""Attempts to have an archive's text taken for signed when it is not, or no longer is."""

from __future__ import annotations

import base64

import pysequoia
import pytest

from hosier.distro.deb.keys import Keyring, verify
from hosier.distro.deb.release import parse
from hosier.errors import NotAuthentic
from kit.archive import archive_key, new_key, sign

NOW = 1_800_000_000.0

# Made by gpg: a certificate whose subkey signed MESSAGE on 2024-01-02; the same with the subkey, and with the whole,
# revoked as "superseded" on 2024-02-01.
VALID = """
mDMEZZIAgBYJKwYBBAHaRw8BAQdAhvMM2aWgXdY6P36B47F1I5r5En+eXCU6G/aHwVN5W520HUFyY2hpdmUgPGFyY2hpdmVAZXhh
bXBsZS5vcmc+iJAEExYIADgWIQTvTIEp8/TgreRUs4cqz7nHYjot8gUCZZIAgAIbAQULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAK
CRAqz7nHYjot8ksZAQCCKY9H3oH+rctMDXCWUlnGqvLon3c5QiFsMJojbQBAEQEAt1aJLCkislLXmX8UjIAYrEC2emhG85lhhzOq
OoMJNQC4MwRlkgCAFgkrBgEEAdpHDwEBB0CSPUd31VjSjxECr7tDw/2vrOqpYf0AkY+ZwW3EQ+dCHojvBBgWCAAgFiEE70yBKfP0
4K3kVLOHKs+5x2I6LfIFAmWSAIACGwIAgQkQKs+5x2I6LfJ2IAQZFggAHRYhBEEaRBORic2iTTjfWoh1d0V0LwvEBQJlkgCAAAoJ
EIh1d0V0LwvExYsA/1nypkXCaB11qRjmMNcnxuedu3eyB1ABP2c+r80ltK2jAQDZn/UoYGMGYaBEQF6o5Ha3P0SKevHVMjcgdmvK
lhHjAt2sAQCKAmg6XbOZP97SNeuCHd4yLlLnaj90WNEdgCjVxCrOcwD7By9mvZ//i69oTvUeymyA8ifvf5524X4nZBZitpel0wU=
"""
SUBKEY_REVOKED = """
mDMEZZIAgBYJKwYBBAHaRw8BAQdAhvMM2aWgXdY6P36B47F1I5r5En+eXCU6G/aHwVN5W520HUFyY2hpdmUgPGFyY2hpdmVAZXhh
bXBsZS5vcmc+iJAEExYIADgWIQTvTIEp8/TgreRUs4cqz7nHYjot8gUCZZIAgAIbAQULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAK
CRAqz7nHYjot8ksZAQCCKY9H3oH+rctMDXCWUlnGqvLon3c5QiFsMJojbQBAEQEAt1aJLCkislLXmX8UjIAYrEC2emhG85lhhzOq
OoMJNQC4MwRlkgCAFgkrBgEEAdpHDwEBB0CSPUd31VjSjxECr7tDw/2vrOqpYf0AkY+ZwW3EQ+dCHoh4BCgWCAAgFiEE70yBKfP0
4K3kVLOHKs+5x2I6LfIFAmW63wACHQEACgkQKs+5x2I6LfJ7rgD/TKNmBoE6PoO1wIatwXN11kL+ZJpCRjdL45r7BLfOfxQBALSR
8j7lTOrZpSG6AP5P60DVVpghNPxUcv8WQmRtN2ENiO8EGBYIACAWIQTvTIEp8/TgreRUs4cqz7nHYjot8gUCZZIAgAIbAgCBCRAq
z7nHYjot8nYgBBkWCAAdFiEEQRpEE5GJzaJNON9aiHV3RXQvC8QFAmWSAIAACgkQiHV3RXQvC8TFiwD/WfKmRcJoHXWpGOYw1yfG
5527d7IHUAE/Zz6vzSW0raMBANmf9ShgYwZhoERAXqjkdrc/RIp68dUyNyB2a8qWEeMC3awBAIoCaDpds5k/3tI164Id3jIuUudq
P3RY0R2AKNXEKs5zAPsHL2a9n/+Lr2hO9R7KbIDyJ+9/nnbhfidkFmK2l6XTBQ==
"""
ALL_REVOKED = """
mDMEZZIAgBYJKwYBBAHaRw8BAQdAhvMM2aWgXdY6P36B47F1I5r5En+eXCU6G/aHwVN5W52IeAQgFggAIBYhBO9MgSnz9OCt5FSz
hyrPucdiOi3yBQJlut8AAh0BAAoJECrPucdiOi3yb4UA/AsaPReeRixyuTGkLGz45CiStrP0ZOX8b0Wc+mJJW64mAQCh84Ex3bna
cdQBg4R3dfMbSAyL2dHWe0xc8lPPYq/UBbQdQXJjaGl2ZSA8YXJjaGl2ZUBleGFtcGxlLm9yZz6IkAQTFggAOBYhBO9MgSnz9OCt
5FSzhyrPucdiOi3yBQJlkgCAAhsBBQsJCAcCBhUKCQgLAgQWAgMBAh4BAheAAAoJECrPucdiOi3ySxkBAIIpj0fegf6ty0wNcJZS
Wcaq8uifdzlCIWwwmiNtAEARAQC3VoksKSKyUteZfxSMgBisQLZ6aEbzmWGHM6o6gwk1ALgzBGWSAIAWCSsGAQQB2kcPAQEHQJI9
R3fVWNKPEQKvu0PD/a+s6qlh/QCRj5nBbcRD50IeiO8EGBYIACAWIQTvTIEp8/TgreRUs4cqz7nHYjot8gUCZZIAgAIbAgCBCRAq
z7nHYjot8nYgBBkWCAAdFiEEQRpEE5GJzaJNON9aiHV3RXQvC8QFAmWSAIAACgkQiHV3RXQvC8TFiwD/WfKmRcJoHXWpGOYw1yfG
5527d7IHUAE/Zz6vzSW0raMBANmf9ShgYwZhoERAXqjkdrc/RIp68dUyNyB2a8qWEeMC3awBAIoCaDpds5k/3tI164Id3jIuUudq
P3RY0R2AKNXEKs5zAPsHL2a9n/+Lr2hO9R7KbIDyJ+9/nnbhfidkFmK2l6XTBQ==
"""
MESSAGE = b"""\
-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

Suite: stable
-----BEGIN PGP SIGNATURE-----

iHUEARYIAB0WIQRBGkQTkYnNok0431qIdXdFdC8LxAUCZZNSAAAKCRCIdXdFdC8L
xFXCAP9y7r1iP1nd8AtSL+YhNGIHBQAYF/KqWvfwG8bRBfyrGgD/WPiRICnB6b6g
8Mir27wGxoxWB+S07EhfNUbNjUC7sww=
=BGlK
-----END PGP SIGNATURE-----
"""


def ring(*certs: bytes) -> Keyring:
    return Keyring("the test", tuple(each for cert in certs for each in pysequoia.Cert.split_bytes(cert)))


def test_a_key_that_was_retired_vouches_for_nothing() -> None:
    assert verify(MESSAGE, ring(base64.b64decode(VALID)), name="R", now=NOW)[0] == b"Suite: stable"
    for revoked in (SUBKEY_REVOKED, ALL_REVOKED):
        with pytest.raises(NotAuthentic, match=r"^cannot trust R: the key that signed it, EF4C8129\w+, is revoked$"):
            verify(MESSAGE, ring(base64.b64decode(revoked)), name="R", now=NOW)


def test_only_what_was_signed_is_given() -> None:
    good = sign(b"Suite: stable\n", archive_key())
    mine = ring(archive_key().public.encode())
    evil = b"Suite: evil\n"
    theirs = sign(evil, new_key())
    for message in (good, evil + b"\n" + good, good + b"\n" + evil, good + theirs, good + good):
        assert verify(message, mine, name="R", now=NOW)[0].strip() == b"Suite: stable"
    for message in (theirs, theirs + good, good.replace(b"stable", b"evil"), evil):
        with pytest.raises(NotAuthentic):
            verify(message, mine, name="R", now=NOW)


def test_a_line_that_was_joined_to_the_one_before_hides_nothing() -> None:
    # A signature over text is one over lines, however they end (RFC 9580, 5.2.1): a mirror may change their ends.
    text = b"Suite: stable\nDate: Sat, 21 Nov 2026 00:00:00 UTC\nLabel: A\nValid-Until: Sun, 22 Nov 2026 00:00:00 UTC\n"
    signed = sign(text + b"SHA256:\n", archive_key())
    mine = ring(archive_key().public.encode())
    assert parse(verify(signed, mine, name="R", now=NOW)[0], name="R").valid_until is not None
    joined, _ = verify(signed.replace(b"A\nValid", b"A\rValid"), mine, name="R", now=NOW)
    with pytest.raises(NotAuthentic, match="a carriage return within a line"):
        parse(joined, name="R")
