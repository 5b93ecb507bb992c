"""What a spec adds once its packages are configured: accounts, files, devices, run steps, in this order."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from hosier.build import accounts, compose, merge, scripts, stage
from hosier.build.accounts import Accounts
from hosier.build.compose import Op
from hosier.build.stage import Site, written
from hosier.errors import BuildFailed
from hosier.linux.box import Box, run
from hosier.spec.model import File, RunStep, Spec
from hosier.store.manifest import Entry

DAY = 86400


def finish(site: Site, spec: Spec) -> None:
    """Bring the tree of `site` to what `spec` says. Raises BuildFailed with the step's own words."""
    if spec.groups or spec.users:
        _accounts(site, spec)
    for file in spec.files:
        _perform(site, _file(site, file))
    for device in spec.devices:
        path = site.state.real(device.path)
        made = _folders(site, path)
        uid, gid = _owner(site, device.owner, device.group, device.path)
        entry = Entry(
            path=path,
            kind=device.kind,
            mode=device.mode,
            uid=uid,
            gid=gid,
            mtime=site.epoch,
            rdev=(device.major, device.minor),
        )
        _clear(site, path)
        site.state.entries[path] = entry
        _perform(site, [*made, Op(entry)])
    for number, step in enumerate(spec.run, 1):
        _run(site, number, step)


def _perform(site: Site, ops: Iterable[Op]) -> None:
    compose.perform(site.root, ops, site.state.entries)


def _accounts(site: Site, spec: Spec) -> None:
    def text(path: str) -> str | None:
        return stage._text(site, path) if path in site.state.entries else None

    before = Accounts(text("/etc/passwd") or "", text("/etc/group") or "", text("/etc/shadow"), text("/etc/gshadow"))
    after = accounts.add(before, spec.groups, spec.users, day=site.epoch // DAY)
    for path, old, new in (
        ("/etc/passwd", before.passwd, after.passwd),
        ("/etc/group", before.group, after.group),
        ("/etc/shadow", before.shadow, after.shadow),
        ("/etc/gshadow", before.gshadow, after.gshadow),
    ):
        if new is None or new == old:
            continue
        there = site.state.entries.get(path)
        op = written(site, path, new.encode(), there.mode if there else 0o644, 0, there.gid if there else 0)
        _perform(site, [*_folders(site, path), op])
    stage._read_state(site)
    for user in spec.users:
        if user.create_home and user.home not in site.state.entries:
            path = site.state.real(user.home)
            passwd = {row.split(":")[0]: row.split(":") for row in after.passwd.splitlines()}
            uid, gid = int(passwd[user.name][2]), int(passwd[user.name][3])
            entry = Entry(path=path, kind="d", mode=0o750, uid=uid, gid=gid, mtime=site.epoch)
            made = _folders(site, path)
            if path not in site.state.entries:
                site.state.entries[path] = entry
                _perform(site, [*made, Op(entry)])


def _folders(site: Site, path: str) -> list[Op]:
    parent = path.rpartition("/")[0]
    return stage._folders(site, parent) if parent else []


def _owner(site: Site, owner: str, group: str, path: str) -> tuple[int, int]:
    numbers = []
    for name, table, word in ((owner, site.state.users, "user"), (group, site.state.groups, "group")):
        if name.isdigit():
            numbers.append(int(name))
        elif name in table:
            numbers.append(table[name])
        elif name == "root":
            numbers.append(0)
        else:
            raise BuildFailed(
                f"cannot give {path} to {word} {name}: the root has no such {word}",
                hint=f"declare it as a [[{word}]], or install the package that makes it",
            )
    return numbers[0], numbers[1]


def _clear(site: Site, path: str) -> None:
    if path in site.state.entries:
        merge.remove(site.root, path, site.state.entries)


def _file(site: Site, file: File) -> list[Op]:
    path = site.state.real(file.path)
    uid, gid = _owner(site, file.owner, file.group, file.path)
    made = _folders(site, path)
    there = site.state.entries.get(path)
    if file.directory or (file.source is not None and os.path.isdir(file.source)):
        if there is not None and there.kind != "d":
            _clear(site, path)
            there = None
        mode = file.mode if file.mode is not None else (there.mode if there else 0o755)
        entry = Entry(path=path, kind="d", mode=mode, uid=uid, gid=gid, mtime=site.epoch)
        known = there is not None
        site.state.entries[path] = entry
        if known:
            os.chown(site.root + path, uid, gid)
            os.chmod(site.root + path, mode)
        else:
            made.append(Op(entry))
        if file.source is not None and not file.directory:
            made += _tree(site, file.source, path, uid, gid)
        return made
    if there is not None and there.kind == "d":
        raise BuildFailed(f"cannot write {file.path}: it is a directory in the root")
    if file.target is not None:
        entry = Entry(path=path, kind="l", mode=0o777, uid=uid, gid=gid, mtime=site.epoch, target=file.target)
        site.state.entries[path] = entry
        return [*made, Op(entry)]
    if file.source is not None:
        content, default = _read(file.source)
    else:
        content, default = (file.content or "").encode(), 0o644
    op = written(site, path, content, default if file.mode is None else file.mode, uid, gid)
    return [*made, op]


def _tree(site: Site, source: str, path: str, uid: int, gid: int) -> list[Op]:
    """A folder of the host, as it is but for owner and times."""
    ops: list[Op] = []
    for name in sorted(os.listdir(source)):
        below, there = f"{path}/{name}", f"{source}/{name}"
        st = os.lstat(there)
        if stat.S_ISLNK(st.st_mode):
            entry = Entry(
                path=below, kind="l", mode=0o777, uid=uid, gid=gid, mtime=site.epoch, target=os.readlink(there)
            )
            _clear(site, below)
            site.state.entries[below] = entry
            ops.append(Op(entry))
        elif stat.S_ISDIR(st.st_mode):
            if below not in site.state.entries:
                entry = Entry(path=below, kind="d", mode=stat.S_IMODE(st.st_mode), uid=uid, gid=gid, mtime=site.epoch)
                site.state.entries[below] = entry
                ops.append(Op(entry))
            ops += _tree(site, there, below, uid, gid)
        elif stat.S_ISREG(st.st_mode):
            content, mode = _read(there)
            ops.append(written(site, below, content, mode, uid, gid))
    return ops


def _read(path: str) -> tuple[bytes, int]:
    try:
        with open(path, "rb") as file:
            return file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as exc:
        raise BuildFailed(f"cannot read {path}: {exc.strerror}") from exc


def _run(site: Site, number: int, step: RunStep) -> None:
    place = site.workplace()
    passwd = {row.split(":")[0]: row.split(":") for row in stage._text(site, "/etc/passwd").splitlines() if row}
    if step.user not in passwd and step.user != "root":
        raise BuildFailed(f"cannot do run step {number}: the root has no user {step.user}")
    row = passwd.get(step.user, ["root", "x", "0", "0", "", "/root", "/bin/sh"])
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
                network="host" if step.network else "none",
                stdout=log,
                stderr=log,
                overlay_files=scripts.stand_ins(place.root),
                confined=True,
                no_fsync=True,
            )
        )
    finally:
        os.close(log)
    if status != 0:
        raise BuildFailed(
            f"cannot do run step {number} ({' '.join(step.command)[:60]}): "
            f"{scripts._ending(status)}{scripts._tail(place.log, start)}",
            hint=f"the full log is {place.log}",
        )
    stage._merge(site, place)
    stage._read_state(site)
