"""Run the scriptlets and triggers of packages that are added to a root, each at its moment, boxed as all scripts are.

`triggers` says which run when; a failure counts as in rpm: of %pretrans and %pre it ends the build, of all others it is
a warning, and the log has the rest. %preun and %postun stay in the database alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Sequence

from hosier.build.meanwhile import Meanwhile
from hosier.build.rpm import lua, triggers
from hosier.build.rpm.lua import Order
from hosier.build.rpm.triggers import Installed, Run
from hosier.build.scripts import Workplace, ending, fresh_work, last, overfull, written
from hosier.build.site import Site
from hosier.distro.rpm.scripts import Scriptlet, Scripts
from hosier.errors import BuildFailed
from hosier.linux.box import Box
from hosier.linux.jobs import Outcome

ENVIRONMENT = {
    "PATH": "/sbin:/bin:/usr/sbin:/usr/bin:/usr/X11R6/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
    "SYSTEMD_OFFLINE": "1",
    "PYTHONHASHSEED": "0",
}
"""All that a scriptlet sees of an environment, where rpm gives the caller's. The path is rpm's own."""

EMPTY = ("/run", "/tmp", "/var/tmp")
"""What is empty for the scripts of one box, and forgotten after them; their own files lie in /var/tmp, as rpm's."""

SECONDS = 3600.0
"""How long one scriptlet may take."""

RUN_HERE = ("pretrans", "pre", "post", "posttrans", "triggerprein", "triggerin", "filetriggerin", "transfiletriggerin")


def check(packages: Iterable[Scripts]) -> None:
    """Refuse packages that have a script which cannot be run on this host. Raises HostLacks, BuildFailed."""
    for package in packages:
        for script in package.all:
            if script.kind not in RUN_HERE:
                continue
            if script.lua or script.expanded:
                lua.require(package.nevra)
            if script.formatted:
                _text(package, script)


class Transaction:
    """The scripts of packages that are added together.

    Each call adds to what is to run; it runs in one box when `perform` is called, which has to be before anything is
    placed that comes after it.
    """

    def __init__(self, site: Site, installed: Installed, boxes: lua.Boxes) -> None:
        """`installed` are the packages that are there; those that are added join them."""
        self._site = site
        self._installed = installed
        self._waiting: list[Run] = []
        self._boxes = boxes
        self._ready: tuple[Workplace, Box] | None = None
        self._beside: Meanwhile | None = None

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, *error: object) -> None:
        if self._beside is not None:
            self._beside.close()
        if self._ready is not None and error[0] is None:
            self._boxes.dismiss()

    def beside(self, compute: Callable[[], bytes]) -> Callable[[], bytes]:
        """What gives the value of `compute`, which is found while all else goes on; nothing may alter what it looks at.

        One that was begun before is given up.
        """
        if self._beside is not None:
            self._beside.close()
        self._beside = Meanwhile(compute)
        return self._beside.value

    def pretrans(self, packages: Sequence[Scripts]) -> None:
        """Before anything of `packages` is unpacked."""
        self._waiting += [run for package in packages for run in triggers.before_all(package, self._installed)]

    def pre(self, package: Scripts) -> None:
        """Before the files of `package` are unpacked."""
        self._waiting += triggers.before_files(package, self._installed)

    def has_pre(self, package: Scripts, batch: Iterable[Scripts] = ()) -> bool:
        """Whether anything has to run before the files of `package` are unpacked, when `batch` is already."""
        if next(triggers.before_files(package, self._installed), None) is not None:
            return True
        listening = batch if package.conditions else [each for each in batch if each.conditions]
        pairs = ((one, other) for each in listening for one, other in ((package, each), (each, package)))
        return any(triggers.is_met(one, other, prein=True) for one, other in pairs)

    def after(self, batch: Sequence[Scripts]) -> None:
        """When the files of `batch` are unpacked; adds it to what is installed."""
        for package in batch:
            self._installed.add(package)
            self._waiting += triggers.after_files(package, self._installed)

    def posttrans(self, packages: Sequence[Scripts]) -> None:
        """When all `packages` of this transaction are installed."""
        self._waiting += triggers.after_all(packages, self._installed)

    def get_ready(self, packages: Iterable[Scripts], kinds: Collection[str]) -> None:
        """If any of `packages` has a script of `kinds`, begin to set up the box of the next `perform`, beside what the
        caller does until then."""
        if self._ready is not None or not self._boxes.apart:
            return
        if any(script.kind in kinds for package in packages for script in package.all):
            self._ready = self._fresh()
            self._boxes.get_ready(self._ready[1])

    def _fresh(self) -> tuple[Workplace, Box]:
        place = self._site.workplace()
        return place, _box(place)

    def perform(self, meanwhile: Callable[[], object] | None = None) -> bool:
        """Run what waits, take in what it changed, and tell what failed. Whether it changed anything.

        `meanwhile` is called while scripts run, or where none waits; it must leave the tree as it is.
        Raises BuildFailed where a %pretrans or %pre failed, or another script that its package calls critical.
        """
        runs, self._waiting = self._waiting, []
        if not runs:
            if meanwhile is not None:
                meanwhile()
            return False

        (place, box), self._ready = self._ready or self._fresh(), None
        self._site.level(place)
        start = _size(place.log)
        orders = [_order(number, run) for number, run in enumerate(runs)]
        log = lua.opened(place.log)
        try:
            outcomes = self._boxes.run(box.writing_to(log, log), orders, meanwhile)
        finally:
            os.close(log)
        for run, outcome in zip(runs, outcomes, strict=False):
            if not outcome.good:
                _tell(self._site, run, outcome, place, start)
        return self._site.take_in(place)


def _box(place: Workplace) -> Box:
    return Box(
        argv=(),
        lower=(place.root,),
        upper=place.upper,
        work=fresh_work(place),
        env={**ENVIRONMENT, "SOURCE_DATE_EPOCH": str(place.epoch)},
        tmpfs=EMPTY,
        confined=True,
        no_fsync=True,
        limit=place.memory,
    )


def _order(number: int, run: Run) -> Order:
    script = run.script
    text = _text(run.package, script)
    name = hashlib.sha256(f"{number} {run.title}".encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return Order(
        title=run.title,
        argv=script.program,
        text=text,
        path=f"/var/tmp/rpm-tmp.{name}",
        numbers=run.arguments,
        prefixes=run.package.prefixes,
        paths=run.paths,
        lua=script.lua,
        expanded=script.expanded,
        vital=script.vital,
        seconds=SECONDS,
    )


def _text(package: Scripts, script: Scriptlet) -> bytes | None:
    """The script's text as its file has it; rpm reads it up to the first NUL."""
    text = script.body
    if text is None:
        return None
    if script.formatted:
        from hosier.distro.rpm import queryformat

        about = f"cannot install {package.nevra}: its %{script.kind}"
        if script.expanded or package.header is None:
            raise BuildFailed(f"{about} has macros and a query format at once, which is not understood")
        try:
            text = queryformat.fill(text, package.header)
        except queryformat.NotUnderstood as error:
            raise BuildFailed(f"{about} is a query format that is not understood: {error}") from None
    return text.encode("utf-8", "surrogateescape").partition(b"\0")[0]


def _tell(site: Site, run: Run, outcome: Outcome, place: Workplace, start: int) -> None:
    """Tell of a script that failed. Raises BuildFailed where that keeps its package out."""
    why = ending(outcome.status)
    if outcome.late:
        why = f"was killed after {SECONDS:g} seconds"
    elif outcome.over:
        why = overfull(place)
    elif outcome.reason:
        why = f"cannot be run: {outcome.reason}"
    said = _said(site.log, start, run.title)
    hint = f"the full log is {site.log}"
    if run.script.vital:
        raise BuildFailed(f"cannot install {run.package.nevra}: its %{run.script.kind} failed: {why}{said}", hint=hint)
    site.reporter.warn(f"%{run.script.kind} of {run.package.nevra} failed: {why}{said}")


def _said(log: str, start: int, title: str) -> str:
    """The last lines of what a script wrote."""
    lines = written(log, start)
    begins = [number for number, line in enumerate(lines) if line == f"== {title}"]
    if not begins:
        return ""
    own = lines[begins[-1] + 1 :]
    end = next((number for number, line in enumerate(own) if line.startswith("== %")), len(own))
    return last(own[:end])


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
