"""A box's own terminal, shown on the caller's: bytes both ways, size, raw mode, stop and continue (pty(7), termios(3)).

The command's terminal belongs to the box, so nothing in it ever holds a descriptor of the caller's: TIOCSTI and the
like have nothing to reach.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import termios

from hosier.linux import signals

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_CHUNK = 65536
_SCM_RIGHTS = 1


def open_pair(uid: int) -> tuple[int, int]:
    """The master and the slave of a new terminal in this root's /dev/pts, given to `uid`. Raises OSError."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    os.fchown(slave, uid, -1)
    return master, slave


def make_controlling(slave: int) -> None:
    """Make it the controlling terminal of this session, which has none."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


def send_master(channel: int, master: int) -> None:
    """Give the master to the other end of a socket and wait until it has dressed it. Raises OSError."""
    door = _socket.socket(fileno=channel)
    try:
        rights = master.to_bytes(4, "little")
        door.sendmsg([b"m"], [(_socket.SOL_SOCKET, _SCM_RIGHTS, rights)])
        if not door.recv(1):
            raise OSError(32, os.strerror(32))
    finally:
        door.detach()


def channel() -> tuple[int, int]:
    """Two ends of a socket, close-on-exec: ours and the box's."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    return ours.detach(), theirs.detach()


class Proxy:
    """The caller's side. `receive` gets the box's terminal, `run` shows it until the box has ended."""

    __slots__ = ("_before", "_saved", "channel", "master", "pid")

    def __init__(self, channel_fd: int, pid: int) -> None:
        self.channel = channel_fd
        self.pid = pid
        self.master = -1
        self._saved = termios.tcgetattr(0)
        self._before: dict[int, signals.Handler] = {}

    def receive(self) -> bool:
        """Take the master and dress it as the caller's terminal is; False when the box failed before."""
        door = _socket.socket(fileno=self.channel)
        try:
            got, ancillary, _flags, _address = door.recvmsg(1, 64)
            for _level, kind, content in ancillary:
                if kind == _SCM_RIGHTS:
                    self.master = int.from_bytes(content[:4], "little")
            if not got or self.master < 0:
                return False
            os.set_inheritable(self.master, False)
            os.set_blocking(self.master, False)
            termios.tcsetattr(self.master, termios.TCSANOW, self._saved)
            self._copy_size()
            door.send(b"g")
        except OSError:
            return False
        finally:
            door.detach()
        return True

    def run(self) -> None:
        """Copy until the box's side is closed for good; the caller's terminal is afterwards as it was before."""
        actions: dict[int, signals.Handler] = {
            signals.WINCH: lambda _number, _frame: self._copy_size(),
            signals.TSTP: lambda _number, _frame: self._stop(),
            signals.CONT: lambda _number, _frame: self._resume(),
        }
        for number in (signals.HUP, signals.INT, signals.QUIT, signals.USR1, signals.USR2, signals.TERM):
            actions[number] = lambda number, _frame: self._forward(number)
        for number, action in actions.items():
            self._before[number] = signals.on(number, action)
        try:
            self._raw()
            self._copy_size()
            self._copy()
        finally:
            self._restore()
            for number, before in self._before.items():
                signals.on(number, before)
            os.close(self.master)
            self.master = -1

    def _forward(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def _copy_size(self) -> None:
        try:
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)
        except OSError:
            pass

    def _raw(self) -> None:
        mode = termios.tcgetattr(0)
        mode[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN] = 1
        mode[6][termios.VTIME] = 0
        termios.tcsetattr(0, termios.TCSADRAIN, mode)

    def _restore(self) -> None:
        mask = signals.block_all()  # with TTOU blocked a process in the background may do this
        try:
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
        except (OSError, termios.error):
            pass  # the terminal has gone
        finally:
            signals.restore(mask)

    def _stop(self) -> None:
        self._restore()
        os.kill(os.getpid(), signals.STOP)

    def _resume(self) -> None:
        try:
            self._raw()
            self._copy_size()
        except (OSError, termios.error):
            pass

    def _copy(self) -> None:
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        typing = True
        pending = b""
        poll.register(0, select.POLLIN)
        while True:
            poll.modify(self.master, select.POLLIN | (select.POLLOUT if pending else 0))
            if typing:
                poll.modify(0, 0 if pending else select.POLLIN)
            for fd, event in poll.poll():
                if fd == 0:
                    if event & select.POLLIN:
                        pending = _read(0)
                        gone = not pending
                    else:
                        gone = bool(event & (select.POLLHUP | select.POLLERR))
                    if gone:
                        typing = False
                        poll.unregister(0)
                        self._forward(signals.HUP)
                    continue
                if event & select.POLLOUT and pending:
                    try:
                        pending = pending[os.write(self.master, pending) :]
                    except BlockingIOError:
                        pass
                    except OSError:
                        pending = b""
                if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                    shown = _read(self.master)
                    if not shown:
                        return
                    _write_all(1, shown)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError:  # EIO: no slave is open any more, or the terminal was hung up
        return b""


def _write_all(fd: int, content: bytes) -> None:
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        pass  # the terminal has gone; the command will hear of it by HUP
