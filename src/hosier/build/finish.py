"""What a spec adds once its packages are configured: accounts, files, devices, run steps, in this order."""

from __future__ import annotations

import os
from collections.abc import Iterable

from hosier.build import accounts, scripts
from hosier.build.accounts import Accounts
from hosier.build.files import Placing
from hosier.build.place import Op
from hosier.build.site import Site
from hosier.errors import BuildFailed
from hosier.fetch.progress import Phase
from hosier.linux.box import Box, CommandMissing, CommandRefused, run
from hosier.spec.model import RunStep, Spec, User

DAY = 86400
HOME_MODE = 0o750


def finish(site: Site, spec: Spec) -> None:
    """Bring the tree of `site` to what `spec` says. Raises BuildFailed with the step's own words."""
    with site.reporter.phase("finish", total=len(spec.run), unit="run steps") as phase:
        _finish(site, spec, phase)


def _finish(site: Site, spec: Spec, phase: Phase) -> None:
    placing = Placing(site.state, site.root, site.epoch, plain=site.plain)
    if spec.groups or spec.users:
        _accounts(site, placing, spec)
    for file in spec.files:
        _perform(site, placing.file(file))
    for device in spec.devices:
        _perform(site, placing.device(device))
    for number, step in enumerate(spec.run, 1):
        phase.show()
        _run(site, number, step)
        phase.advance()


def _perform(site: Site, ops: Iterable[Op]) -> None:
    # A whole list first: what is refused is refused before anything of it is on the disk.
    site.perform(list(ops))


def _accounts(site: Site, placing: Placing, spec: Spec) -> None:
    before = Accounts(
        site.text("/etc/passwd"),
        site.text("/etc/group"),
        _shadow(site, "/etc/shadow"),
        _shadow(site, "/etc/gshadow"),
    )
    after = accounts.add(before, spec.groups, spec.users, day=site.epoch // DAY)
    for path, old, new in (
        ("/etc/passwd", before.passwd, after.passwd),
        ("/etc/group", before.group, after.group),
        ("/etc/shadow", before.shadow, after.shadow),
        ("/etc/gshadow", before.gshadow, after.gshadow),
    ):
        if new is None or new == old:
            continue
        real = site.state.follow(path)
        there = site.state.entries.get(real)
        mode, uid, gid = (there.mode, there.uid, there.gid) if there is not None else (0o644, 0, 0)
        content = new.encode("utf-8", "surrogateescape")
        _perform(site, [*placing.above(real), placing.text(real, content, mode, uid, gid, path)])
    site.read_state()
    for user in spec.users:
        if user.create_home:
            _perform(site, placing.folder(user.home, HOME_MODE, *_numbers(after.passwd, user)))


def _shadow(site: Site, path: str) -> str | None:
    return site.text(path) if site.state.follow(path) in site.state.entries else None


def _numbers(passwd: str, user: User) -> tuple[int, int]:
    row = _row(passwd, user.name)
    assert row is not None
    return int(row[2]), int(row[3])


def _row(passwd: str, name: str) -> list[str] | None:
    """The fields of a user in passwd(5); None where there is none with numbers."""
    for line in passwd.splitlines():
        row = line.split(":")
        if row[0] == name and len(row) >= 7 and row[2].isdecimal() and row[3].isdecimal():
            return row
    return None


def _groups(group: str, name: str) -> tuple[int, ...]:
    """The numbers of the groups that list a user as a member, group(5), sorted."""
    found = set()
    for line in group.splitlines():
        row = line.split(":")
        if len(row) >= 4 and row[2].isdecimal() and name in row[3].split(","):
            found.add(int(row[2]))
    return tuple(sorted(found))


def _run(site: Site, number: int, step: RunStep) -> None:
    row = _row(site.text("/etc/passwd"), step.user)
    if row is None:
        if step.user != "root":
            raise BuildFailed(
                f"cannot do run step {number}: the root has no user {step.user}", hint="declare it as a [[user]]"
            )
        row = ["root", "x", "0", "0", "", "/root", "/bin/sh"]
    place = site.workplace()
    log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    start = os.fstat(log).st_size
    try:
        status = run(
            Box(
                lower=(place.root,),
                upper=place.upper,
                work=scripts.fresh_work(place),
                argv=step.command,
                env={
                    **scripts.ENVIRONMENT,
                    "HOME": row[5],
                    "SOURCE_DATE_EPOCH": str(site.epoch),
                    **dict(step.env),
                },
                cwd=step.workdir,
                uid=int(row[2]),
                gid=int(row[3]),
                groups=_groups(site.text("/etc/group"), step.user),
                network="host" if step.network else "none",
                stdout=log,
                stderr=log,
                overlay_files=scripts.stand_ins(place.root),
                confined=True,
                no_fsync=True,
            )
        )
    except (CommandMissing, CommandRefused) as error:
        reason = str(error).partition(": ")[2]
        raise BuildFailed(f"cannot do run step {number} ({' '.join(step.command)[:60]}): {reason}") from error
    finally:
        os.close(log)
    if status != 0:
        raise BuildFailed(
            f"cannot do run step {number} ({' '.join(step.command)[:60]}): "
            f"{scripts.ending(status)}{scripts.tail(place.log, start)}",
            hint=f"the full log is {place.log}",
        )
    site.take_in(place)
