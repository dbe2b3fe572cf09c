"""dvc.yaml agrees with the code, which is read by ``ast``: TensorFlow is never imported."""

from __future__ import annotations

import ast

import pytest

from tools import generate
from tools.contract import ROOT, code_dependencies, declared

STAGES = declared()
NAMES = sorted(STAGES)
KINDS = {
    "In": "in",
    "LazyIn": "in",
    "Out": "out",
    "Runtime": "runtime",
    "RunStatistics": "run_statistics",
    "Page": "page",
    "DownloadLocation": "parameter",
    "Cluster": "value",
}
#: Paths that are parameters: a shell would run what stands in an option.
LOCATION = "data/raw"


def main_arguments(stage: str) -> dict[str, str]:
    """Return the name of the annotation of each argument of a stage's ``main``."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "main":
            arguments = [*node.args.args, *node.args.kwonlyargs]
            return {
                a.arg: ast.unparse(a.annotation).rpartition(".")[2]
                for a in arguments
                if a.annotation
            }
    raise AssertionError(f"stages/{stage}.py has no main")


def test_the_modules_are_the_stages() -> None:
    modules = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert modules - {"__init__"} == set(NAMES)


def test_no_list_of_stages_stands_anywhere_else() -> None:
    for room in ("headstart", "flows"):
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
                    entries = node.keys if isinstance(node, ast.Dict) else node.elts
                    values = (e.value for e in entries if isinstance(e, ast.Constant))
                    found = [value for value in values if value in STAGES]
                    assert len(found) < 3, f"{file}, line {node.lineno} lists {found}"


@pytest.mark.parametrize("name", NAMES)
def test_the_command_runs_the_module_of_that_name(name: str) -> None:
    assert STAGES[name].module == f"stages.{name}"


def _by_kind(name: str, *kinds: str) -> set[str]:
    arguments = main_arguments(name)
    return {a for a, annotation in arguments.items() if KINDS.get(annotation) in kinds}


@pytest.mark.parametrize("name", NAMES)
def test_the_options_are_the_paths_that_main_takes(name: str) -> None:
    assert set(STAGES[name].options) == _by_kind(
        name, "in", "out", "runtime", "run_statistics", "page"
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_dvc_tracks(name: str) -> None:
    stage = STAGES[name]
    written = {stage.options[argument] for argument in _by_kind(name, "out")}
    assert written == set(stage.outs)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_is_what_dvc_watches(name: str) -> None:
    stage = STAGES[name]
    read = {stage.options[argument] for argument in _by_kind(name, "in", "runtime")}
    read |= {LOCATION for _ in _by_kind(name, "parameter")}
    assert read == set(stage.data_deps)


@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_are_the_sections_that_main_takes(name: str) -> None:
    sections = {a for a, annotation in main_arguments(name).items() if annotation not in KINDS}
    if _by_kind(name, "page"):  # A page shows whatever any stage runs by.
        sections |= {param.split(".")[0] for stage in STAGES.values() for param in stage.params}
    assert {param.split(".")[0] for param in STAGES[name].params} == sections


@pytest.mark.parametrize("name", ["extract_features", "export", "make_report"])
def test_all_keys_of_extract_features_are_watched_but_where_it_computes(name: str) -> None:
    from headstart.stage.parameters import read_params

    section = read_params(ROOT / "params.yaml").extract_features
    assert section.cluster is None
    assert "cluster" not in section.model_dump()
    watched = {f"extract_features.{key}" for key in section.model_dump()}
    found = {param for param in STAGES[name].params if param.startswith("extract_features")}
    assert found == watched


@pytest.mark.parametrize("name", NAMES)
def test_the_code_dependencies_are_the_imports(name: str) -> None:
    expected = code_dependencies(name)
    assert list(STAGES[name].code_deps) == expected, "run `make contract`"


def test_generating_the_dependencies_again_changes_nothing() -> None:
    assert (ROOT / "dvc.yaml").read_text() == generate.contract_text(), "run `make contract`"


def test_scores_figures_and_pages_rerun_no_stage_before_evaluate() -> None:
    later = {"headstart/keras/export"} | {
        f"headstart/{r}" for r in ("evaluation", "export", "report")
    }
    order = list(STAGES)
    for name in order[: order.index("evaluate")]:
        for dep in STAGES[name].code_deps:
            # A folder is watched with all that is below it.
            assert not any(f"{room}/".startswith(f"{dep}/") for room in later), (name, dep)


@pytest.mark.parametrize("name", NAMES)
def test_the_code_dependencies_exist(name: str) -> None:
    assert all((ROOT / path).exists() for path in STAGES[name].code_deps)
    assert "headstart/__init__.py" not in STAGES[name].code_deps


def test_dvc_yaml_can_be_read_in_one_sitting() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 260


@pytest.mark.parametrize("name", NAMES)
def test_run_statistics_and_page_are_outside_of_all_outputs(name: str) -> None:
    outs = [out for stage in STAGES.values() for out in stage.outs]
    for argument in _by_kind(name, "run_statistics", "page"):
        path = STAGES[name].options[argument]
        assert not any(path == out or path.startswith(f"{out}/") for out in outs)


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_is_described_and_bounded(name: str) -> None:
    entry = STAGES[name].entry
    assert len(entry["desc"]) > 20
    assert entry["meta"]["timeout_s"] > 0


def test_only_parameters_that_exist_are_watched() -> None:
    from headstart.stage.parameters import read_params

    params = read_params(ROOT / "params.yaml").model_dump()
    for stage in STAGES.values():
        for watched in stage.params:
            node = params
            for part in watched.split("."):
                assert part in node, f"{stage.name} watches {watched}"
                node = node[part]


def test_outputs_that_are_not_metrics_keep_the_run_cache_on() -> None:
    for stage in STAGES.values():
        for out in [*stage.entry.get("outs", []), *stage.entry.get("plots", [])]:
            options = out[next(iter(out))] if isinstance(out, dict) else {}
            assert not options.get("persist"), f"{stage.name}: persist switches the run cache off"
            # With it on, DVC would bring outputs back and leave the page that of another run.
            expected = not _by_kind(stage.name, "page")
            assert options.get("cache", True) is expected, (
                f"{stage.name}: cache: false switches it off too"
            )


def test_runtime_txt_is_what_the_lock_says() -> None:
    assert (ROOT / "runtime.txt").read_text() == generate.runtime_text(), "run `make runtime`"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_is_hashed_and_names_no_address(name: str) -> None:
    lock = (ROOT / name).read_text()
    assert "://" not in lock
    assert "--index-url" not in lock
    entries = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line for line in entries)
    assert lock.count("--hash=sha256:") >= len(entries)


def test_no_command_holds_a_parameter() -> None:
    """A shell would run what a parameter such as `$(touch x)` says, before any check of ours."""
    for name, stage in STAGES.items():
        assert "${" not in stage.entry["cmd"], name
