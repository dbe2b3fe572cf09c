"""Every public name has a docstring with an example, and the examples run."""

from __future__ import annotations

import doctest
import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.api.model import Model
from headstart.api.run import Run
from tests.conftest import ROOT
from tests.images.made import encoded
from tests.stages.small_run import image

#: The public names, and what their functions return.
PUBLIC: list[Any] = [*(getattr(headstart, name) for name in headstart.__all__), Model, Run]
PAGE = ROOT / "docs" / "python-api.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder()
    found = [each for owner in [headstart, *PUBLIC] for each in finder.find(owner, globs={})]
    return [each for each in found if each.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
@pytest.mark.usefixtures("project", "cached")
def test_the_examples_run(example: doctest.DocTest) -> None:
    report: list[str] = []
    found = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=report.append)
    assert not found.failed, "".join(report)


def documented() -> Iterator[tuple[str, Any]]:
    for owner in PUBLIC:
        yield owner.__qualname__, owner
        if inspect.isclass(owner):
            own = (
                (name, each)
                for name, each in vars(owner).items()
                if name[0] != "_" and not name.startswith("set_")
            )
            # The names set_… are scikit-learn's, made for each class.
            yield from (
                (f"{owner.__qualname__}.{name}", each)
                for name, each in own
                if not name.startswith(("_", "set_"))
            )


@pytest.mark.parametrize(("name", "what"), list(documented()))
def test_everything_public_is_documented(name: str, what: Any) -> None:
    text = inspect.getdoc(what)
    assert text, name
    made_by_the_user = inspect.isclass(what) and what not in {Model, Run}
    takes = inspect.unwrap(what.__init__ if made_by_the_user else what)
    if not inspect.isfunction(takes):
        return
    named = [each for each in inspect.signature(takes).parameters if each != "self"]
    assert all(each in text for each in named), (name, named)


def test_every_public_name_has_an_example() -> None:
    names = {example.name for example in examples()}
    assert names >= {*headstart.__all__, "headstart"}


def test_the_page_names_everything_public() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert not [name for name, _ in documented() if name.rpartition(".")[2] not in page]
    shown = set(re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE))
    parameters = {name for cell in shown for name in re.findall(r"`(\w+)`", cell)}
    for estimator in (headstart.FeatureExtractor, headstart.HeadClassifier):
        assert set(estimator().get_params()) <= parameters


@pytest.mark.usefixtures("cached")
def test_the_code_of_the_page_runs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the backbone that comes with the package: there may be no network."""
    shutil.copytree(project, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    for number in range(12):
        kind = number % 2
        path = Path("flowers", ("daisy", "tulip")[kind], f"{number}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(image(kind, number), "JPEG"))
    for number in range(20):  # new images, as many as drift needs
        path = Path("inbox", f"{number}.jpg")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(image(number % 2, 100 + number), "JPEG"))
    blocks = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 6
    namespace: dict[str, Any] = {}
    for block in blocks:
        code = block.replace('"mobilenet_v2", image_size=224', '"headstart-small", image_size=48')
        exec(compile(code, str(PAGE), "exec"), namespace)  # noqa: S102 - our own page
    assert namespace["head"].score(namespace["X"], namespace["y"]) > 0.9
    assert namespace["extractor"].passes_.done > 0
