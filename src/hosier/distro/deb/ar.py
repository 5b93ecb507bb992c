"""Find the members of a binary package, which is an ar archive, deb(5).

Only headers are read here: a member is a range of the file, whose bytes are read when they are wanted.
"""

from __future__ import annotations

import os
import re

from hosier.dataclasses import dataclass
from hosier.distro.malformed import Malformed

MAGIC = b"!<arch>\n"
_HEADER = 60
_MEMBERS_MAX = 64
_SIZE = re.compile(rb"[0-9]{1,10} *")


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an ar archive: `size` bytes from `offset` of the file."""

    name: str
    offset: int
    size: int


def members(fd: int) -> list[Member]:
    """The members of the ar archive behind `fd`, in order, up to and with the first one named `data.tar…`.

    What comes after that is nobody's to read (deb(5)). Names have no trailing blanks and no trailing slash.
    Raises Malformed for what is not an ar archive, and for a member that reaches beyond the end of the file.
    """
    end = os.fstat(fd).st_size
    if os.pread(fd, len(MAGIC), 0) != MAGIC:
        raise Malformed("it is not an ar archive")
    found: list[Member] = []
    at = len(MAGIC)
    while at < end:
        header = os.pread(fd, _HEADER, at)
        if len(header) < _HEADER:
            raise Malformed(f"it is cut off in the header of member {len(found) + 1}")
        if header[58:60] != b"`\n":
            raise Malformed(f"the header of member {len(found) + 1} is damaged")
        name = header[:16].rstrip(b" ").removesuffix(b"/").decode("ascii", "replace")
        if not name.isprintable() or "\ufffd" in name or not name:
            raise Malformed(f"member {len(found) + 1} has no readable name")
        digits = header[48:58]
        if not _SIZE.fullmatch(digits):
            raise Malformed(f"the size of member {name} is not a number")
        member = Member(name, at + _HEADER, int(digits))
        if member.offset + member.size > end:
            raise Malformed(f"it is cut off in member {name}")
        found.append(member)
        if name.startswith("data.tar"):
            break
        if len(found) >= _MEMBERS_MAX:
            raise Malformed(f"it has more than {_MEMBERS_MAX} members before data.tar")
        at = member.offset + member.size
        if member.size % 2:
            if os.pread(fd, 1, at) not in (b"\n", b""):
                raise Malformed(f"the padding after member {name} is damaged")
            at += 1
    return found
