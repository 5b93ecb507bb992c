"""Text that may have come from anybody, as a terminal may see it."""

from __future__ import annotations


def shown(text: str) -> str:
    """`text` with nothing that a terminal would act on: what cannot be printed, or is not UTF-8, by its number."""
    return text if text.isprintable() else "".join(map(_character, text))


def brief(text: str) -> str:
    """`text` as `shown`, for a message: not without end."""
    return shown(text[:200])


def _character(character: str) -> str:
    if character.isprintable():
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not UTF-8, by surrogateescape
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
