"""Names of folders and files that show their content: splits, annotations, files of systems.

To recognize another name, add its word to a table here, and a row to the tests.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

#: Words that name a split, in lower case, and the split that they mean.
SPLIT_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "test": "test",
    "testing": "test",
}
_IMAGES = {
    "image", "images", "img", "imgs", "jpeg", "jpegs", "jpg", "jpgs", "photo", "photos", "picture",
    "pictures", "png", "pngs", "rgb",
}  # fmt: skip
# Words that add nothing to one of these: test_set, seg_train, train-images, val_v2, test_64x64.
_FILLERS = {"set", "data", "dataset", "seg", "split", "v", "x", "px", *_IMAGES}
# Words for descriptions of images, which are not classes. "masks" may be a class among others
# (masks and gloves), so they count only where all folders have such names.
_DESCRIPTIONS = {
    "box", "boxes", "class", "contour", "contours", "depth", "ground", "gt", "instance",
    "instances", "keypoints", "label", "labels", "landmarks", "mask", "masks", "object", "objects",
    "panoptic", "polygons", "truth", "xml", "xmls",
}  # fmt: skip
# Words that are not a class even among others.
_SURELY = {
    "annot", "annotation", "annotations", "annots", "bbox", "bboxes", "groundtruth",
    "segmentation", "segmentations", "trimap", "trimaps",
}  # fmt: skip
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"}
#: Folders that systems create among people's files, in lower case, and their owners. Names that
#: begin with a dot (.Trashes, .ipynb_checkpoints, .@__thumb) need no row: they are hidden.
SYSTEM_FOLDERS: Mapping[str, str] = {
    "$recycle.bin": "Windows' recycle bin",
    "recycler": "Windows' recycle bin",
    "system volume information": "Windows' data on the disk",
    "found.000": "files that Windows' disk check saved",
    "__macosx": "macOS' notes on the files of an archive",
    "network trash folder": "macOS' trash",
    "temporary items": "macOS' temporary files",
    "lost+found": "files that Linux' disk check saved",
    "@eadir": "Synology's thumbnails",
    "@tmp": "Synology's temporary files",
    "@synoeastream": "Synology's data on the files",
    "#recycle": "Synology's recycle bin",
    "#snapshot": "Synology's snapshots",
    "@recycle": "QNAP's recycle bin",
    "@recently-snapshot": "QNAP's snapshots",
    "@transcode": "QNAP's converted files",
    "~snapshot": "NetApp's snapshots",
    "__pycache__": "Python's compiled modules",
}
_KNOWN = {*SPLIT_NAMES, *_FILLERS, *_DESCRIPTIONS, *_SURELY}
_EACH_KNOWN = re.compile("|".join(sorted(_KNOWN, key=lambda word: (-len(word), word))))
_ALL_KNOWN = re.compile(f"(?:{_EACH_KNOWN.pattern})+")


def _words(name: str) -> list[str]:
    """Return the words and numbers of a name in lower case: ``TrainSet2017``: train, set, 2017.

    Known words are found without a sign between them, too: ``trainset``, ``JPEGImages``.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    found = []
    for word in re.findall(r"\d+|[^\W\d_]+", spaced):
        lower = word.lower()
        # "x", "v" and their like are words only where they stand alone.
        glued = len(lower) > 2 and _ALL_KNOWN.fullmatch(lower)
        found += _EACH_KNOWN.findall(lower) if glued else [lower]
    return found


def split_of(name: str) -> str | None:
    """Return the split that a name means: ``Training``, ``test_set``, ``val2017``; else None."""
    telling = [word for word in _words(name) if word not in _FILLERS and not word.isdecimal()]
    return SPLIT_NAMES.get(telling[0]) if len(telling) == 1 else None


def splits_with_affix(names: Iterable[str]) -> list[dict[str, str]]:
    """Return the names that differ in the split alone: ``pets_train`` and ``pets_val``.

    A name such as ``bullet_train`` says nothing by itself: another split must have the same words.

    Returns
    -------
    list of dict
        For each such affix: name to split, of two splits or more.
    """
    found: defaultdict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name in names:
        words = _words(name)
        splits = [word for word in words if word in SPLIT_NAMES]
        if len(splits) == 1:
            affix = tuple(word for word in words if word not in {*SPLIT_NAMES, *_FILLERS})
            found[affix][name] = SPLIT_NAMES[splits[0]]
    return [by_name for by_name in found.values() if len(set(by_name.values())) > 1]


def two_words_for_one_split(splits: Mapping[str, str]) -> list[str]:
    """Return the names that mean one split by different words, as ``val`` and ``eval`` do."""
    words: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name, split in splits.items():
        words[split][name] = next(word for word in _words(name) if word in SPLIT_NAMES)
    for by_name in words.values():
        if len(set(by_name.values())) > 1:
            return sorted(by_name)
    return []


def descriptions(names: Iterable[str]) -> list[str]:
    """Return the names of folders that hold annotations instead of a class; [] if none does.

    ``masks`` beside ``images`` is one; ``masks`` beside ``gloves`` is a class, and so are
    ``class-0`` and ``class-1``, which differ in their numbers alone.
    """
    words = {name: {word for word in _words(name) if not word.isdecimal()} for name in names}
    every = all(of and of <= _KNOWN for of in words.values())
    kinds = {frozenset(of) for of in words.values()}
    telling = _SURELY | _DESCRIPTIONS if every and len(kinds) > 1 else _SURELY
    return sorted(name for name, of in words.items() if of & telling and of <= _KNOWN)


def unwanted(path: str) -> tuple[str, str] | None:
    """Return reason and detail for files that systems leave behind; None for all others."""
    parts = path.split("/")
    for part in parts:
        if part.startswith("."):
            return "hidden", f"{part} is hidden"
        if whose := SYSTEM_FOLDERS.get(part.lower()):
            return "hidden", f"{part} is a folder of the system: {whose}"
    if parts[-1].lower() in _SYSTEM_FILES:
        return "not_an_image", f"{parts[-1]} is a file of the operating system"
    return None
