"""Perform a plan: everything is mounted detached first and then put on a target that was resolved inside the root."""

from __future__ import annotations

import os

from hosier.linux import overlay, syscalls
from hosier.linux.plan import SYS_EMPTY, Step
from hosier.linux.rooted import Root

_ATTRIBUTES = {
    "ro": syscalls.MOUNT_ATTR_RDONLY,
    "nosuid": syscalls.MOUNT_ATTR_NOSUID,
    "nodev": syscalls.MOUNT_ATTR_NODEV,
    "noexec": syscalls.MOUNT_ATTR_NOEXEC,
}


class Furnisher:
    """Performs steps in one root. `made` lists the paths that had to be made in the tree, in order.

    `base` is what the box's id 0 is here; the caller has made it its file system ids, so that what is made is root's.
    `userns_fd` maps the binds, None leaves them; `bind_fds` are the O_PATH descriptors of the plan's binds (-1:
    absent); `host_dev` and `host_sys` are those of the host's folders; `spare` is an empty folder of ours, outside the
    root, on a file system of ours. `in_userns`: we are root of a user namespace only.
    """

    __slots__ = (
        "_folders",
        "base",
        "bind_fds",
        "contents",
        "host_dev",
        "host_sys",
        "in_userns",
        "made",
        "root",
        "spare",
        "step",
        "userns_fd",
    )

    def __init__(
        self,
        root: Root,
        *,
        base: int,
        userns_fd: int | None,
        bind_fds: list[int],
        contents: list[bytes],
        host_dev: int,
        host_sys: int,
        spare: str,
        in_userns: bool = False,
    ) -> None:
        self.root = root
        self.base = base
        self.userns_fd = userns_fd
        self.bind_fds = bind_fds
        self.contents = contents
        self.host_dev = host_dev
        self.host_sys = host_sys
        self.spare = spare
        self.in_userns = in_userns
        self.made: list[str] = []
        self.step = ""
        self._folders: dict[str, int] = {}

    def perform(self, steps: list[Step]) -> None:
        """Do all steps; `step` names the one at work. Raises OSError at the first that fails."""
        umask = os.umask(0)
        try:
            self._perform(steps)
        finally:
            os.umask(umask)
            for fd in self._folders.values():
                os.close(fd)

    def _perform(self, steps: list[Step]) -> None:
        for verb, target, source, said in steps:
            self.step = f"{verb} {target}"
            if verb == "fs":
                self._fs(target, source, said)
            elif verb == "mkdir":
                os.mkdir(os.path.basename(target), 0o755, dir_fd=self._parent(target))
            elif verb == "node":
                self._node(target, source)
            elif verb == "link":
                os.symlink(source, os.path.basename(target), dir_fd=self._parent(target))
            elif verb == "sys":
                self._sys(target)
            elif verb == "bind":
                self._bind(target, int(source), said)
            elif verb == "over":
                self._over(target, int(source))
            elif verb == "file":
                self._file(target, int(source), int(said, 8))
            elif verb == "ro":
                self._read_only(target)
            elif verb == "hide":
                self._hide(target)

    def _folder(self, target: str) -> int:
        try:
            return self.root.open(target, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            self.made += map(self.root.real, self.root.mkdirs(target))
            return self.root.open(target, os.O_PATH | os.O_DIRECTORY)

    def _attach(self, mount_fd: int, target_fd: int) -> None:
        try:
            syscalls.attach(mount_fd, target_fd)
        finally:
            os.close(mount_fd)
            os.close(target_fd)

    def _fs(self, target: str, fstype: str, said: str) -> None:
        options, _, flags = said.partition(";")
        mount_fd = self._new(fstype, options, flags)
        self._attach(mount_fd, self._folder(target))

    def _new(self, fstype: str, options: str, flags: str) -> int:
        context = syscalls.fsopen(fstype)
        try:
            for option in options.split(",") if options else ():
                key, equals, value = option.partition("=")
                if key == "gid":
                    value = str(self.base + int(value))
                if equals:
                    syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, key, value)
                else:
                    syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, key)
            if fstype == "tmpfs" and self.base:
                syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, "uid", str(self.base))
                syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, "gid", str(self.base))
            syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE)
            attributes = 0
            for flag in flags.split(","):
                attributes |= _ATTRIBUTES.get(flag, 0)
            return syscalls.fsmount(context, attributes)
        finally:
            os.close(context)

    def _sys(self, target: str) -> None:
        try:
            mount_fd = self._new("sysfs", "", "ro,nosuid,nodev,noexec")
        except OSError:
            try:
                mount_fd = overlay.view(self.host_sys, read_only=True, recursive=True)
            except OSError:
                options, _, flags = SYS_EMPTY.partition(";")
                mount_fd = self._new("tmpfs", options, flags)
        self._attach(mount_fd, self._folder(target))

    def _parent(self, target: str) -> int:
        """The folder of a new thing in a file system that this plan has mounted, so that nobody else changes it."""
        folder = os.path.dirname(target)
        if folder not in self._folders:
            self._folders[folder] = self.root.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        return self._folders[folder]

    def _node(self, target: str, numbers: str) -> None:
        major, _, minor = numbers.partition(":")
        name = os.path.basename(target)
        parent = self._parent(target)
        try:
            os.mknod(name, 0o020666, os.makedev(int(major), int(minor)), dir_fd=parent)
        except PermissionError:  # an ordinary user, or a device cgroup
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=parent))
            source = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=self.host_dev)
            try:
                copy = overlay.view(source)
            finally:
                os.close(source)
            self._attach(copy, os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=parent))

    def _target(self, target: str, *, folder: bool) -> int:
        if folder:
            return self._folder(target)
        self.made += map(self.root.real, self.root.touch(target))
        return self.root.open(target, os.O_PATH)

    def _bind(self, target: str, number: int, said: str) -> None:
        source = self.bind_fds[number]
        if source < 0:
            if "missing-ok" in said:
                return
            raise FileNotFoundError(2, os.strerror(2))
        read_only = "ro" in said.split(",")
        folder = os.fstat(source).st_mode & 0o170000 == 0o040000
        try:
            target_fd = self._target(target, folder=folder)
        except OSError:
            if "missing-ok" in said:  # a read-only root without that file
                return
            raise
        self._attach(self._view(source, read_only=read_only, recursive=True), target_fd)

    def _view(self, source: int, *, read_only: bool, recursive: bool) -> int:
        if self.userns_fd is not None:
            try:
                return overlay.view(source, userns_fd=self.userns_fd, read_only=read_only, recursive=recursive)
            except OSError:  # a file system without id-mapped mounts: its owners show as nobody
                pass
        return overlay.view(source, read_only=read_only, recursive=recursive)

    def _over(self, target: str, number: int) -> None:
        source = self.bind_fds[number]
        if source < 0:
            raise FileNotFoundError(2, os.strerror(2))
        lower, upper, work = (f"{self.spare}/over{number}{part}" for part in ("", "-upper", "-work"))
        for path in (lower, upper, work):
            os.mkdir(path)
        self._attach(self._view(source, read_only=True, recursive=False), os.open(lower, os.O_PATH | os.O_DIRECTORY))
        os.chmod(upper, os.stat(lower).st_mode & 0o7777)
        mount_fd = overlay.create((lower,), upper, work, userxattr=self.in_userns, volatile=True)
        self._attach(mount_fd, self._folder(target))

    def _file(self, target: str, number: int, mode: int) -> None:
        path = f"{self.spare}/file{number}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(self.contents[number])
            while view:
                view = view[os.write(fd, view) :]
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        source = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            mount_fd = overlay.view(source, read_only=True)
        finally:
            os.close(source)
        self._attach(mount_fd, self._target(target, folder=False))

    def _read_only(self, target: str) -> None:
        try:
            fd = self.root.open(target, os.O_PATH)
        except OSError:
            return
        self._attach(overlay.view(fd, read_only=True), fd)

    def _hide(self, target: str) -> None:
        try:
            fd = self.root.open(target, os.O_PATH)
        except OSError:
            return
        if os.fstat(fd).st_mode & 0o170000 == 0o040000:
            options, _, flags = SYS_EMPTY.partition(";")
            self._attach(self._new("tmpfs", options, flags), fd)
            return
        null = self.root.open("/dev/null", os.O_PATH)
        try:
            copy = overlay.view(null)
        finally:
            os.close(null)
        self._attach(copy, fd)
