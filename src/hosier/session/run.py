"""One command in a root: `hosier run`, and the same for programs that start many (`run_in`)."""

from __future__ import annotations

import os

from hosier.errors import StoreFailed, UsageError
from hosier.linux import box, signals
from hosier.linux.rooted import Root
from hosier.session import people, scratch
from hosier.store import lookup

FORWARDED = (
    *(signals.HUP, signals.INT, signals.QUIT, signals.USR1, signals.USR2, signals.ALRM, signals.TERM),
    *(signals.TSTP, signals.CONT),
)


class Request:
    """What `hosier run` is asked for; see docs/security.md for what the box keeps apart.

    `image` is a digest, a unique prefix, a tag, or a path with "/" in it to a plain root folder. An empty `argv` is the
    user's login shell. `binds` are (host path, path in the root, read-only).
    """

    __slots__ = ("argv", "binds", "env", "image", "keep", "network", "read_only", "user", "userns", "workdir")

    def __init__(self, image: str) -> None:
        self.image = image
        self.argv: tuple[str, ...] = ()
        self.binds: tuple[tuple[str, str, bool], ...] = ()
        self.env: dict[str, str] = {}
        self.keep = ""
        self.network = "none"
        self.read_only = False
        self.user = ""
        self.userns = True
        self.workdir = ""


def run(request: Request, store_path: str | None) -> int:
    """Run the request with the caller's own descriptors or terminal; returns the raw wait status of the command.

    Raises HosierError; CommandMissing and CommandRefused when there is no running it.
    """
    if request.keep and request.read_only:
        raise UsageError("cannot run: --keep and --read-only exclude each other")
    store = store_path or lookup.default_path()
    if "/" not in request.image and lookup.is_plain(store):
        raise StoreFailed(
            f"cannot run {request.image}: the store {store} is a plain one, whose files have no owners of their own",
            hint="pack it, and unpack it where it is to run; or build it in another store: --root-store DIR",
        )
    if os.geteuid() != 0:
        from hosier.linux.userns import become_root

        become_root()
    lookup.trust(store)
    scratch.sweep(store)
    mark = -1
    if "/" in request.image:
        tree = os.path.abspath(request.image)
        if not os.path.isdir(tree):
            raise UsageError(f"cannot run {request.image}: it is not a folder")
        record = f"path {tree}\n"
    else:
        digest, tree, _name = lookup.find(store, request.image)
        key = os.path.basename(os.path.dirname(tree))
        mark = lookup.hold(store, f"tree-{key}")
        record = f"image {digest}\ntree {key}\n"
    try:
        if request.read_only:
            return box.run(_box(request, tree, None))
        place = scratch.kept(store, request.keep, tree, record) if request.keep else None
        with place or scratch.throw_away(store, tree, record) as place:
            return box.run(_box(request, tree, place))
    finally:
        if mark >= 0:
            os.close(mark)


def _box(request: Request, tree: str, place: scratch.Scratch | None) -> box.Box:
    trees = (tree,) if place is None else (place.upper, tree)
    person = people.find(trees if place is None or place.kept else (tree,), request.user or "0")
    tty = os.isatty(0) and os.isatty(1)
    env = people.environment(person, term=os.environ.get("TERM", "") if tty else "")
    env.update(request.env)
    argv = request.argv or (_shell(trees, person.shell), "-l")
    cwd = request.workdir or "/"
    if not request.workdir and not request.argv and _is_folder(trees, person.home):
        cwd = person.home
    return box.Box(
        lower=(tree,),
        upper=None if place is None else place.upper,
        work=None if place is None else place.work,
        volatile=place is None or not place.kept,
        argv=argv,
        env=env,
        cwd=cwd,
        uid=person.uid,
        gid=person.gid,
        groups=person.groups,
        network=request.network,
        binds=request.binds,
        tmpfs=tuple(path for path in ("/run", "/tmp") if request.read_only and _is_folder(trees, path)),
        userns=request.userns,
        stdin=0,
        tty=tty,
        forward=() if tty else FORWARDED,
    )


def _shell(trees: tuple[str, ...], wanted: str) -> str:
    return wanted if wanted.startswith("/") and _exists(trees, wanted) else "/bin/sh"


def _exists(trees: tuple[str, ...], path: str) -> bool:
    for tree in trees:
        with Root.at(tree) as root:
            if root.exists(path):
                return True
    return False


def _is_folder(trees: tuple[str, ...], path: str) -> bool:
    return path.startswith("/") and _exists(trees, path.rstrip("/") + "/.")


def run_in(
    tree: str,
    argv: tuple[str, ...],
    *,
    env: dict[str, str] | None = None,
    user: str = "0",
    cwd: str = "/",
    network: str = "none",
    binds: tuple[tuple[str, str, bool], ...] = (),
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    read_only: bool = False,
    terminate_after: float | None = None,
) -> int:
    """Run one command in a throw-away view of the root folder `tree`, for programs that do so often, in any thread.

    Changes go to memory (at most half of it) and are forgotten. The process must be root, or have called
    `hosier.linux.userns.become_root`. Returns the raw wait status; raises as `hosier.linux.box.run`.
    """
    person = people.find((tree,), user)
    return box.run(
        box.Box(
            lower=(tree,),
            scratch=not read_only,
            argv=argv,
            env=people.environment(person) if env is None else env,
            cwd=cwd,
            uid=person.uid,
            gid=person.gid,
            groups=person.groups,
            network=network,
            binds=binds,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            terminate_after=terminate_after,
        )
    )
