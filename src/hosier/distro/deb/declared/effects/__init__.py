"""The one table of what a declared build knows: the words of the shell, and the effects of programs."""

from __future__ import annotations

from hosier.distro.deb.declared.builtins import BUILTINS, SPECIAL
from hosier.distro.deb.declared.calls import Table
from hosier.distro.deb.declared.effects import (
    accounts,
    alternatives,
    certificates,
    dpkg,
    files,
    find,
    ldconfig,
    left_out,
    machine,
    pam,
    postgresql,
    questions,
    sed,
    services,
    texts,
    tools,
    ucf,
)
from hosier.distro.deb.declared.effects.packages import PACKAGES

TABLE = Table(
    builtins={**BUILTINS, **questions.BUILTINS},
    special=SPECIAL,
    packages=PACKAGES,
    effects={
        **texts.EFFECTS,
        **sed.EFFECTS,
        **files.EFFECTS,
        **find.EFFECTS,
        **certificates.EFFECTS,
        **tools.EFFECTS,
        **dpkg.EFFECTS,
        **alternatives.EFFECTS,
        **accounts.EFFECTS,
        **services.EFFECTS,
        **questions.EFFECTS,
        **ldconfig.EFFECTS,
        **pam.EFFECTS,
        **ucf.EFFECTS,
        **machine.EFFECTS,
        **postgresql.EFFECTS,
        **left_out.EFFECTS,
    },
)
