"""Many sessions of one root from one process: the next box is set up while the last one works."""

from __future__ import annotations

from _thread import allocate_lock, get_ident

from hosier.linux import box
from hosier.linux.standing import Gone, Order, Standing, passable
from hosier.session import people


class Sessions:
    """Throw-away sessions of the root folder `tree`; up to `ready` boxes stand by for each thread. A context manager.

    May be used from several threads; to be closed when none of them is at work. Every command gets a box, as
    `hosier.session.run_in` gives it one; only the time when that is made differs, so a change of `tree` shows a few
    sessions later.
    """

    __slots__ = ("_box", "_lock", "_past", "_people", "_ready", "_standing", "_tree")

    def __init__(
        self,
        tree: str,
        *,
        network: str = "none",
        binds: tuple[tuple[str, str, bool], ...] = (),
        read_only: bool = False,
        ready: int = 2,
    ) -> None:
        self._tree = tree
        self._box = box.Box(lower=(tree,), scratch=not read_only, argv=("true",), env={}, network=network, binds=binds)
        self._box.check()
        self._ready = ready
        # A box dies with the thread that made it (prctl(2), PR_SET_PDEATHSIG), so nobody else may use it.
        self._standing: dict[int, list[Standing]] = {}
        self._past: list[Standing] = []
        self._people: dict[str, people.Person] = {}
        self._lock = allocate_lock()
        self._fill()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the boxes that stand by, and wait until those that have run are gone."""
        with self._lock:
            standing, self._standing, self._ready = self._standing, {}, 0
        self._forget()
        for boxes in standing.values():
            for each in boxes:
                each.close()

    def _forget(self) -> None:
        with self._lock:
            past, self._past = self._past, []
        for each in past:
            each.close()

    def _fill(self) -> None:
        mine = self._mine()
        while len(mine) < self._ready:
            mine.append(Standing(self._box))

    def _mine(self) -> list[Standing]:
        with self._lock:
            return self._standing.setdefault(get_ident(), [])

    def _turn(self) -> None:
        """What is done while a command works: bury the last box, set up the next."""
        self._forget()
        self._fill()

    def _person(self, user: str) -> people.Person:
        if user not in self._people:
            self._people[user] = people.find((self._tree,), user)
        return self._people[user]

    def run(
        self,
        argv: tuple[str, ...],
        *,
        env: dict[str, str] | None = None,
        user: str = "0",
        cwd: str = "/",
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> int:
        """Run one command; arguments, result and errors are those of `hosier.session.run_in`.

        When this returns the command is dead, and what it left running is being killed; it is for certain when the next
        command runs, or `close` has returned.
        """
        person = self._person(user)
        given = self._box.copy()
        given.argv, given.cwd = argv, cwd
        given.env = people.environment(person) if env is None else env
        given.uid, given.gid, given.groups = person.uid, person.gid, person.groups
        given.stdin, given.stdout, given.stderr = stdin, stdout, stderr
        given.check()
        order = _order(given)
        if order is not None:
            mine = self._mine()
            while mine:
                standing = mine.pop(0)
                try:
                    return standing.run(order, meanwhile=self._turn)
                except Gone:  # made by a thread of the same number, which has ended
                    continue
                finally:
                    with self._lock:
                        self._past.append(standing)
        status = box.run(given)
        self._fill()
        return status


def _order(given: box.Box) -> Order | None:
    """The order for a standing box; None when its streams need more than to be passed."""
    streams = (given.stdin, 1 if given.stdout is None else given.stdout, 2 if given.stderr is None else given.stderr)
    fds = [-1 if fd is None else passable(fd) for fd in streams]
    if fds[0] is None or fds[1] is None or fds[2] is None:
        return None
    return Order(
        argv=given.argv,
        env=given.env,
        cwd=given.cwd,
        uid=given.uid,
        gid=given.gid,
        groups=given.groups,
        fds=(fds[0], fds[1], fds[2]),
    )
