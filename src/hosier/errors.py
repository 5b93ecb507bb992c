"""The errors a user may see: each has a stable code, an exit status and, where there is one, a mend.

Text is "cannot X: reason", lower case, with the thing's own name in it. Exit statuses are listed in
docs/exit-codes.md; only `hosier.cli` turns them into an exit.
"""

from __future__ import annotations


class HosierError(Exception):
    """Base of every error that Hosier raises on purpose."""

    code = "error"
    status = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(HosierError):
    """The words of the command line do not fit."""

    code = "usage"
    status = 2


class SpecInvalid(HosierError):
    """A spec has problems; the message lists all of them."""

    code = "spec-invalid"
    status = 3


class LockInvalid(HosierError):
    """A lock is missing, stale, damaged or of an unknown format version."""

    code = "lock-invalid"
    status = 4


class Unsolvable(HosierError):
    """No consistent set of packages answers the request."""

    code = "unsolvable"
    status = 5


class FetchFailed(HosierError):
    """No origin served an object that could be used."""

    code = "fetch-failed"
    status = 6


class NotAuthentic(HosierError):
    """A signature, digest, size or validity date is wrong."""

    code = "not-authentic"
    status = 7


class PackageInvalid(HosierError):
    """A package file is damaged, hostile, or not what the lock says it is."""

    code = "package-invalid"
    status = 8


class BuildFailed(HosierError):
    """A step of the build failed: a maintainer script or scriptlet, a run step, a file that two packages claim."""

    code = "build-failed"
    status = 9


class StoreFailed(HosierError):
    """The store is damaged, full, or not ours to write; it lacks what was named; or an output cannot be written."""

    code = "store-failed"
    status = 10


class DeployFailed(HosierError):
    """A root cannot be laid into a folder of this host; what was there is as it was, unless the message says so."""

    code = "deploy-failed"
    status = 10


class HostLacks(HosierError):
    """The host lacks something: a kernel feature, a tool, subordinate ids, a privilege."""

    code = "host-lacks"
    status = 11


class Differs(HosierError):
    """What was verified is not what it was built from, or not what was built."""

    code = "differs"
    status = 14
