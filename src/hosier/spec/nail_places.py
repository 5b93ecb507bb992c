"""Names of files as a nail's messages have them, and where a file that a nail names lies."""

from __future__ import annotations

import os
import re

from hosier.spec.model import Position
from hosier.spec.nail_events import Event, Recording


class Places:
    """The files of one reading. `folder` is the nail's own; `names` the absolute paths that it named relatively, and
    their paths from there."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._typed = os.path.dirname(recording.path)
        self.folder = os.path.dirname(recording.real)
        self.names: dict[str, str] = {}
        self._lines: dict[str, list[str]] = {}
        self._mentions: dict[str, bool] = {}

    def shown(self, file: str) -> str:
        """A file as messages name it: as seen from where the nail was named."""
        recording = self._recording
        if file in ("", recording.real):
            return recording.path
        if file.startswith(self.folder + "/"):
            return os.path.join(self._typed, os.path.relpath(file, self.folder))
        if file.startswith(recording.cwd.rstrip("/") + "/"):
            return os.path.relpath(file, recording.cwd)
        return file

    def at(self, file: str, line: int) -> Position:
        """A line of a file."""
        return Position(self.shown(file), max(line, 1), 1)

    def of(self, event: Event) -> Position:
        """Where a directive was called."""
        return self.at(event.file, event.line)

    def assigned(self, name: str) -> Position:
        """The last line that gives a variable its value; the nail itself when none is seen to."""
        pattern = re.compile(rf"^.*(?<![\w$]){name}=", re.MULTILINE)
        found = self.at("", 1)
        for file, text in self._recording.texts.items():
            for match in pattern.finditer(text):
                found = self.at(file, text.count("\n", 0, match.end()) + 1)
        return found

    def mentions(self, name: str) -> bool:
        """Whether a file that was read uses a variable."""
        if name not in self._mentions:
            pattern = re.compile(rf"\$\{{?{name}\b")
            self._mentions[name] = any(pattern.search(text) for text in self._recording.texts.values())
        return self._mentions[name]

    def literal(self, word: str, event: Event) -> bool:
        """Whether a word of a directive stands in its line as it is, so that no variable is a part of it."""
        if event.file not in self._lines:
            self._lines[event.file] = self._recording.texts.get(event.file, "").split("\n")
        lines = self._lines[event.file]
        line = lines[event.line - 1] if 0 < event.line <= len(lines) else ""
        return bool(word) and any(
            re.search(r"(?:^|\s)[\"']?$", line[: found.start()]) for found in re.finditer(re.escape(word), line)
        )

    def host_path(self, text: str, file: str) -> str:
        """The file of the host that `text`, written in `file`, names: from that file's folder, or else from the
        current one."""
        if os.path.isabs(text):
            return os.path.normpath(text)
        tried = [os.path.normpath(os.path.join(folder, text)) for folder in self._folders(file)]
        path = next((each for each in tried if os.path.exists(each)), tried[0])
        self.names[path] = os.path.relpath(path, self.folder)
        return path

    def fault(self, text: str, file: str) -> tuple[str, str] | None:
        """Why the file `text`, written in `file`, cannot be had, and the mend; None when it can."""
        path = self.host_path(text, file)
        if os.path.isfile(path):
            if os.access(path, os.R_OK):
                return None
            return f"{text} cannot be read: permission denied", "let it be read, or do this as who may read it"
        if os.path.exists(path):
            return f"{text} is not a file", "name a file"
        if os.path.isabs(text):
            return f"{text} does not exist", "correct the path"
        places = " and ".join(dict.fromkeys(self._folders(file)))
        return f"{text} does not exist", f"correct the path, which is looked for from {places}"

    def there(self, text: str, file: str) -> bool:
        """Whether what a nail names and did not find is there on the host, as far as can be seen."""
        return bool(text) and any(os.path.lexists(os.path.join(folder, text)) for folder in self._folders(file))

    def _folders(self, file: str) -> tuple[str, str]:
        return os.path.dirname(file) or self.folder, self._recording.cwd
