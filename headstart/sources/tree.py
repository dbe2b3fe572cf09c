"""The folders of a source that hold possible images."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from headstart._utils.tables import counted, listed

# A folder with nothing but these is not a class. They decide which folders count, never which file
# is an image: that depends on the content.
_DOCUMENTS = {
    "bib", "cfg", "csv", "db", "doc", "docx", "h5", "htm", "html", "ini", "ipynb", "json",
    "license", "log", "m", "mat", "md", "npy", "npz", "pdf", "py", "rst", "sh", "tsv", "txt",
    "xls", "xlsx", "xml", "yaml", "yml",
}  # fmt: skip


class Tree:
    """Folders that hold possible images, each with the names of such folders in it."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.folders: defaultdict[str, set[str]] = defaultdict(set)
        self.files: Counter[str] = Counter()
        for path in paths:
            folder, _, name = path.rpartition("/")
            if name.rpartition(".")[2].lower() in _DOCUMENTS:
                continue
            self.files[folder] += 1
            while folder:
                parent, _, last = folder.rpartition("/")
                known = last in self.folders[parent]
                self.folders[parent].add(last)
                if known:
                    break
                folder = parent
        for folder in list(self.files):
            self.folders.setdefault(folder, set())  # a folder without folders is one, too

    @staticmethod
    def join(node: str, name: str) -> str:
        """Return the path of a folder or file in ``node``; either may be empty."""
        return f"{node}/{name}" if node and name else node or name

    def chain(self, node: str) -> list[str]:
        """Return ``node`` and the folders below it, while just one of them holds folders."""
        found = [node]
        while len(below := self.folders[node]) == 1:
            node = self.join(node, next(iter(below)))
            if not self.folders[node]:
                break
            found.append(node)
        return found

    def found(self, node: str) -> str:
        """Return the content of a folder, in one sentence."""
        where = f"{node}/" if node else "the top"
        names = sorted(self.folders[node])
        files = counted(self.files[node], "file")
        if not names:
            return f"Found no folder with images at {where}, and {files} next to it."
        folders = f"{counted(len(names), 'folder')} ({listed(names)})"
        return f"Found at {where}: {folders} and {files} next to it."
