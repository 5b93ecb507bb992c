"""Programs whose effect a declared build leaves out: it says so at its end, and docs/declared.md why."""

from __future__ import annotations

from hosier.distro.deb.declared.calls import Call, Effect

BYTE_CODE = "the byte code of Python's modules"
CLUSTER = "the database cluster, which pg_createcluster makes"
KEY = "the self-signed certificate, which make-ssl-cert makes"
MANUAL = "the index of manual pages, which mandb makes"


def python(call: Call) -> int:
    """left out: Python compiling modules, which only it can do"""
    words = [a for a in call.arguments if a not in ("-E", "-S", "-O")]
    if not words or not words[0].endswith("/py_compile.py"):
        raise call.refusal()
    call.leave_out(BYTE_CODE)
    return 0


def pg_createcluster(call: Call) -> int:
    """left out: pg_createcluster(1), as a cluster is a machine's own"""
    call.leave_out(CLUSTER)
    return 0


def make_ssl_cert(call: Call) -> int:
    """left out: make-ssl-cert(8) generate-default-snakeoil, as no two machines may share a private key"""
    if call.arguments != ["generate-default-snakeoil"]:
        raise call.refusal()
    call.leave_out(KEY)
    return 0


def py3compile(call: Call) -> int:
    """left out: py3compile(1)"""
    call.leave_out(BYTE_CODE)
    return 0


def mandb(call: Call) -> int:
    """left out: mandb(8)"""
    call.leave_out(MANUAL)
    return 0


def dbus_uuidgen(call: Call) -> int:
    """dbus-uuidgen(1) --ensure; what it writes is taken off every root (machine-id(5))"""
    path = "/var/lib/dbus/machine-id"
    if call.arguments != ["--ensure"]:
        raise call.refusal()
    if call.view.node(path) is None:
        call.world.write(path, "0" * 32 + "\n")
    return 0


def nothing(call: Call) -> int:
    """nothing: a host's keys are no part of an image, and byte code is not there to be removed"""
    return 0


EFFECTS: dict[str, Effect] = {
    "dbus-uuidgen": dbus_uuidgen,
    "make-ssl-cert": make_ssl_cert,
    "mandb": mandb,
    "pg_createcluster": pg_createcluster,
    "py3clean": nothing,
    "py3compile": py3compile,
    "python3.11": python,
    "python3.12": python,
    "python3.13": python,
    "ssh-keygen": nothing,
}
