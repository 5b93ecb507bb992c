"""Programs whose effect a declared build leaves out: docs/declared.md says so of each, with its reason."""

from __future__ import annotations

from hosier.distro.deb.declared.calls import Call, Effect


def python(call: Call) -> int:
    """The byte code of Python's modules, which only Python itself can write."""
    words = [a for a in call.arguments if a not in ("-E", "-S", "-O")]
    if not words or not words[0].endswith("/py_compile.py"):
        raise call.refusal()
    return 0


def left_out(call: Call) -> int:
    """Nothing is done, and nothing is missed."""
    return 0


EFFECTS: dict[str, Effect] = {
    "mandb": left_out,
    "py3clean": left_out,
    "py3compile": left_out,
    "python3.11": python,
    "python3.12": python,
    "python3.13": python,
    "ssh-keygen": left_out,
}
