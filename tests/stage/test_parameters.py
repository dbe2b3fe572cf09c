"""params.yaml: every fault in one message, in one form, fast, and without TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from headstart._utils.errors import ParameterError
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.registry import BACKBONES
from headstart.pipeline.recipes import overlay
from headstart.stage import parameters
from headstart.stage.parameters import params_model, read_params, sections
from tests.conftest import ROOT

# The file as it ships, with values that do not change when the shipped ones do.
TEXT = overlay(
    (ROOT / "params.yaml").read_text(),
    {
        "backbone": {
            "name": "mobilenet_v2",
            "alpha": 0.35,
            "weights": "random",
            "weights_sha256": None,
            "image_size": 64,
        },
        "train_head": {"learning_rate": 0.001},
    },
)


def leaves(node: dict[str, Any], place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in node.items():
        deeper = (*place, key)
        found += leaves(value, deeper) if isinstance(value, dict) else [deeper]
    return found


LEAVES = leaves(YAML(typ="safe").load(TEXT))


def changed(place: tuple[str, ...], value: Any, folder: Path) -> Path:
    yaml = YAML(typ="rt")
    document = yaml.load(TEXT)
    node = document
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = value
    target = folder / "params.yaml"
    with target.open("w") as file:
        yaml.dump(document, file)
    return target


def faults(path: Path) -> str:
    with pytest.raises(ParameterError) as caught:
        read_params(path)
    return str(caught.value)


def test_the_shipped_file_is_valid() -> None:
    params = read_params(ROOT / "params.yaml")
    assert params.seed >= 0
    assert set(sections()) < set(type(params).model_fields)


@pytest.mark.parametrize("place", LEAVES, ids=".".join)
def test_every_parameter_refuses_a_foreign_value_by_one_sentence(
    place: tuple[str, ...], tmp_path: Path
) -> None:
    message = faults(changed(place, {"no": "such"}, tmp_path))
    name = ".".join(place)
    assert f"The `{name}` parameter must be " in message
    assert "instead. (params.yaml line " in message
    assert message.count("\n  - ") == 1
    line = int(message.rsplit("line ", 1)[1].split(")")[0])
    assert place[-1] in (tmp_path / "params.yaml").read_text().splitlines()[line - 1]


@pytest.mark.parametrize("place", LEAVES, ids=".".join)
def test_every_parameter_is_missed_by_name(place: tuple[str, ...], tmp_path: Path) -> None:
    # Plain YAML: a comment that loses its only key would no longer be valid.
    yaml = YAML(typ="safe")
    document = yaml.load(TEXT)
    node = document
    for part in place[:-1]:
        node = node[part]
    del node[place[-1]]
    target = tmp_path / "params.yaml"
    with target.open("w") as file:
        yaml.dump(document, file)
    assert f"The `{'.'.join(place)}` parameter is missing: it must be " in faults(target)


@pytest.mark.parametrize("place", LEAVES, ids=".".join)
def test_every_parameter_has_a_comment_of_its_own(place: tuple[str, ...]) -> None:
    lines = TEXT.splitlines()
    here = -1
    for part in place:
        here = next(
            i for i in range(here + 1, len(lines)) if lines[i].strip().startswith(f"{part}:")
        )
    assert lines[here - 1].strip().startswith("#")


def test_all_faults_come_in_one_message_with_the_nearest_name(tmp_path: Path) -> None:
    text = TEXT.replace("learning_rate: 0.001", "learning_rat: fast").replace("seed: 42", "sed: 1")
    text = text.replace("pooling: avg", "pooling: mean")
    path = tmp_path / "params.yaml"
    path.write_text(text)
    message = faults(path)
    assert "params.yaml has 5 faults; nothing was run." in message
    assert "`train_head.learning_rat` parameter is unknown. Did you mean" in message
    assert "`train_head.learning_rate`?" in message
    assert "The `backbone.pooling` parameter must be one of avg, max, none." in message
    assert "Got 'mean' instead." in message


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("split", "validation"), 0.95, "`split.test` parameter must be < 0.05 with `validation"),
        (("train_head", "activation"), "sigmoid", "must be binary_crossentropy with `activation"),
        (("download", "url"), "http://x.org/a.zip", "must be null with `source: embedded`"),
        (("download", "sha256"), "0" * 64, "`sha256` is for `source: archive |"),
        (("download", "max_pixels"), 89_478_486, "an integer from 1 to 89478485 (Pillow"),
        (("seed",), 2**63, "an integer ≥ 0 and < 9223372036854775808"),
        (("fine_tune", "unfreeze"), 0, "an integer ≥ 1 with `unfreeze_by: block`. Got 0"),
        (("fine_tune", "unfreeze"), "block_16", "an integer ≥ 1 with `unfreeze_by: block`"),
        (("fine_tune", "unfreeze_by"), "layer", "the name of a layer with `unfreeze_by: layer`"),
        (("fine_tune", "unfreeze_by"), "lone", "one of layer, index, count, block, only. Got"),
        (("download", "sha256"), "ab", "a sha256 of 64 hexadecimal digits or null"),
        (("seed",), True, "Got true instead"),
        (("train_head", "dropout"), 1.0, "a number ≥ 0 and < 1"),
        (("train_head", "learning_rate"), float("nan"), "a number > 0"),
        (("fine_tune", "unfreeze"), 1.5, "a text or an integer"),
    ],
)
def test_values_that_do_not_fit(
    place: tuple[str, ...], value: Any, words: str, tmp_path: Path
) -> None:
    assert words in faults(changed(place, value, tmp_path))


@pytest.mark.parametrize(("value", "fits"), [("a", True), (0, True), ("", False), (-1, False)])
def test_a_single_layer_is_given_by_name_or_number(value: Any, fits: bool, tmp_path: Path) -> None:
    path = changed(("fine_tune", "unfreeze_by"), "only", tmp_path)
    path.write_text(path.read_text().replace("unfreeze: 4", f"unfreeze: {value!r}"))
    if fits:
        assert read_params(path).fine_tune.unfreeze == value
    else:
        said = f"the name of a layer or an integer ≥ 0 with `unfreeze_by: only`. Got {value!r}"
        assert said in faults(path)


@given(st.text(max_size=200))
def test_no_text_at_all_crashes_the_reader(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(ParameterError):
            read_params(path)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (
            ("backbone", "name"),
            "mobilnet_v2",
            (
                f"one of {len(BACKBONES)} names, hub or file. Got 'mobilnet_v2' instead. Did you "
                "mean `mobilenet_v2`"
            ),
        ),
        (
            ("backbone", "alpha"),
            0.4,
            "must be one of 0.35, 0.5, 0.75, 1, 1.3, 1.4 with `name: mobilenet_v2`. Got 0.4",
        ),
        (
            ("backbone", "image_size"),
            31,
            "must be an integer ≥ 32 with `name: mobilenet_v2`. Got 31 instead.",
        ),
        (
            ("backbone", "weights"),
            "shipped",
            "a .weights.h5, .h5 or .npz file with `name: mobilenet_v2`. Got 'shipped' instead.",
        ),
        (("backbone", "weights"), "ImageNet", "Did you mean `imagenet`?"),
        (("backbone", "weights"), "base.keras", "can hold code"),
        (("backbone", "weights"), "none.weights.h5", "that exists with `name: mobilenet_v2`. Got"),
        (("backbone", "weights"), f"{'long' * 2000}.h5", "There is no file"),
        (
            ("backbone", "weights_sha256"),
            "0" * 64,
            f"must be null with `weights: random`. Got '{'0' * 64}' instead.",
        ),
    ],
)
def test_an_impossible_backbone_is_reported_with_its_line(
    place: tuple[str, ...], value: Any, said: str, tmp_path: Path
) -> None:
    path = changed(place, value, tmp_path)
    message = faults(path)
    assert message.startswith("params.yaml has 1 fault; nothing was run.")
    assert f"The `{'.'.join(place)}` parameter " in message
    assert said in message
    line = int(message.rsplit("(params.yaml line ", 1)[1].split(")")[0])
    assert path.read_text().splitlines()[line - 1].strip().startswith(f"{place[-1]}:")


def test_a_file_of_weights_needs_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace("weights: random", "weights: backbone.weights.h5"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "backbone.weights.h5").write_bytes(b"weights")
    message = faults(path)
    assert (
        "must be a sha256 of 64 hexadecimal digits with `weights: backbone.weights.h5`" in message
    )
    assert "Got null instead" in message
    path.write_text(path.read_text().replace("weights_sha256: null", f"weights_sha256: {'a' * 64}"))
    assert read_params(path).backbone.weights_sha256 == "a" * 64


#: The section `backbone` of a module of TensorFlow Hub that is fetched.
MODULE: dict[str, Any] = {
    "name": "hub", "hub": "https://tfhub.dev/x/y/1", "alpha": 1.0, "weights": "hub",
    "weights_sha256": None, "image_size": None, "cut": None, "pooling": "none",
    "gray16_bits": None,
}  # fmt: skip


def test_a_module_of_tensorflow_hub(tmp_path: Path) -> None:
    assert BackboneParams(**MODULE).image_size is None
    (tmp_path / "module").mkdir()
    (tmp_path / "module/saved_model.pb").touch()
    own = {"hub": str(tmp_path / "module"), "weights_sha256": "a" * 64}
    assert BackboneParams(**{**MODULE, **own}).hub == own["hub"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hub": None}, "must be the handle of a module with `name: hub`"),
        ({"hub": "nowhere"}, "There is nothing at"),
        ({"name": "vgg16"}, "must be null with `name: vgg16`"),
        ({"weights": "imagenet"}, "must be hub with `name: hub`"),
        ({"alpha": 0.5}, "must be 1 with `name: hub`"),
        ({"cut": "block_3"}, "A module has no visible layers"),
        ({"name": "vgg16", "hub": None, "weights": "hub", "image_size": 32}, "imagenet, random or"),
        (
            {"name": "vgg16", "hub": None, "weights": "imagenet"},
            "must be an integer with `name: vgg16`",
        ),
    ],
)
def test_a_module_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BackboneParams(**{**MODULE, **given})
    assert said in str(caught.value)


def test_a_module_of_one_s_own_needs_its_hash(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ValidationError, match="headstart show module"):
        BackboneParams(**{**MODULE, "hub": str(tmp_path)})


def test_a_wrong_handle_is_one_fault_and_its_hash_is_none() -> None:
    with pytest.raises(ValidationError) as caught:
        BackboneParams(**{**MODULE, "hub": "nowhere", "weights_sha256": "a" * 64})
    assert [fault["loc"] for fault in caught.value.errors()] == [("hub",)]


def test_an_address_needs_a_hash(tmp_path: Path) -> None:
    text = TEXT.replace("source: embedded", "source: archive").replace(
        "url: null", "url: http://x.org/a.zip"
    )
    (tmp_path / "params.yaml").write_text(text)
    message = faults(tmp_path / "params.yaml")
    assert "The `download.sha256` parameter must be a sha256 of 64 hexadecimal digits wi" in message
    line = next(n for n, each in enumerate(text.splitlines(), 1) if "  sha256:" in each)
    assert f"(params.yaml line {line})" in message


def test_a_fault_hides_no_other_of_its_section(tmp_path: Path) -> None:
    text = TEXT.replace("pooling: avg", "pooling: mean").replace("alpha: 0.35", "alpha: 0.4")
    text = text.replace("weights: random", "weights: no.h5").replace("unfreeze: 4", "unfreeze: x")
    text = text.replace("epochs: 0", "epochs: -1").replace("loss: categorical", "loss: binary")
    (tmp_path / "params.yaml").write_text(text)
    message = faults(tmp_path / "params.yaml")
    assert "has 6 faults" in message
    lines = [int(part.split(")")[0]) for part in message.split("(params.yaml line ")[1:]]
    assert len(lines) == 6
    assert lines == sorted(lines)


@pytest.mark.parametrize("value", ["2020-99-99", "9" * 5000, "!!omap 1", "!!int x"])
def test_a_value_that_yaml_cannot_read_is_no_crash(value: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(f"seed: {value}\n")
    assert "params.yaml holds a value that YAML cannot read: " in faults(tmp_path / "params.yaml")


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace("learning_rate: 0.001", "learning_rate: 1e-3"))
    assert read_params(path).train_head.learning_rate == 0.001


def test_a_wrong_value_stops_a_stage_in_no_time_and_without_tensorflow(tmp_path: Path) -> None:
    path = changed(("backbone", "alpha"), 0.4, tmp_path)
    code = (
        "import sys\n"
        "from headstart.stage import command_line as cli\n"
        "from headstart.stage.parameters import read_params\n"
        "from pathlib import Path\n"
        "try:\n"
        f"    read_params(Path({str(path)!r}))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__)\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in"
        " {'tensorflow', 'keras', 'pandas', 'numpy', 'PIL', 'prefect', 'dvc'}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == ["ParameterError", "[]"]


def test_sections_are_frozen() -> None:
    params = read_params(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.split.validation = 0.5
    assert params_model().model_config["extra"] == "forbid"


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)
)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (f"#{'x' * 10_000_000}\n", "larger than 128 KB"),
        ("".join(f"k{i}: 1\n" for i in range(20_000)), "larger than 128 KB"),
        ("".join(f"k{i}: 1\n" for i in range(4_000)), "more than 2,000 values"),
        ("".join(f"k{i}: 1\n" for i in range(500)), "and 450 further faults"),
        (LAUGHS, "more than 2,000 values"),
        ("x: &x [*x]\n", "more than 2,000 values"),
        (f"x: {'[' * 5000}{']' * 5000}\n", "more than 12 levels"),
    ],
    ids=["comment", "bytes", "keys", "faults", "aliases", "loop", "depth"],
)
def test_little_is_read_of_a_file_that_is_no_parameter_file(
    tmp_path: Path, more: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, built, read = 0, 0, 0

    class Counted(YAML):
        def parse(self, stream: Any) -> Any:
            nonlocal events, read
            read = max(read, len(stream))
            for event in super().parse(stream):
                events += 1
                yield event

        def load(self, stream: Any) -> Any:
            nonlocal built
            built += 1
            return super().load(stream)

    monkeypatch.setattr(parameters, "YAML", Counted)
    path = tmp_path / "params.yaml"
    path.write_text(TEXT + more)
    said = faults(path)
    assert message in said
    assert len(said) < 10_000
    # What it holds is built only if that is within the bounds, and its events end with them.
    assert events < 3_000
    assert read <= 128 << 10
    assert built == ("further faults" in message)


def test_a_merged_key_is_a_fault_of_its_section(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace("gate:", "gate:\n  <<: {x: 1}"))
    line = TEXT.splitlines().index("gate:") + 1
    assert f"The `gate.x` parameter is unknown. (params.yaml line {line})" in faults(path)


def test_an_alias_is_a_value_like_others(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace("seed: 42", "seed: &seed 42") + "other: *seed\n")
    assert "The `other` parameter is unknown" in faults(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("train_head.hidden", [10**9]), ("train_head.hidden", [1] * 17),
        ("train_head.epochs", 10**9), ("train_head.batch_size", 10**9),
        ("train_head.steps_per_epoch", 10**9), ("train_head.early_stopping_patience", 10**9),
        ("fine_tune.epochs", 10**9), ("fine_tune.batch_size", 10**9), ("compute.threads", 10**6),
    ],
)  # fmt: skip
def test_numbers_that_would_fill_the_memory_or_never_end(
    place: str, value: Any, tmp_path: Path
) -> None:
    said = faults(changed(tuple(place.split(".")), value, tmp_path))
    assert f"The `{place}" in said
    assert "≤" in said or "at most" in said


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"backbone": {"cut": "block5_add"}},
            (
                "The `backbone.cut` parameter must be a layer of mobilenet_v2 or null. Got "
                "'block5_add' instead. Did you mean `block_5_add`"
            ),
        ),
        (
            {"fine_tune": {"epochs": 1, "unfreeze_by": "layer", "unfreeze": "block14_expand"}},
            (
                "The `fine_tune.unfreeze` parameter must be a layer of the backbone. Got "
                "'block14_expand' instead. Did you mean `block_14_expand`"
            ),
        ),
        (
            {
                "backbone": {"cut": "block_5_add"},
                "fine_tune": {"epochs": 1, "unfreeze_by": "layer", "unfreeze": "block_14_expand"},
            },
            "54 layers, from input_layer to block_5_add",
        ),
        (
            {"fine_tune": {"epochs": 1, "unfreeze": 18}},
            "The `fine_tune.unfreeze` parameter must be at most 17 with `unfreeze_by: block`",
        ),
        (
            {"fine_tune": {"epochs": 1, "unfreeze_by": "only", "unfreeze": "out_relu"}},
            "must be a layer that can learn with `unfreeze_by: only`. Got 'out_relu' instead",
        ),
    ],
    ids=["cut", "unfreeze", "unfreeze above the cut", "blocks", "nothing to learn"],
)
def test_a_layer_that_the_backbone_lacks_is_found_before_the_run(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(overlay(TEXT, values))
    said = faults(path)
    assert said.startswith("params.yaml has 1 fault; nothing was run.")
    assert message in said
    key = "cut:" if "backbone.cut" in message else "unfreeze:"
    line = next(n for n, each in enumerate(path.read_text().splitlines(), 1) if f"  {key}" in each)
    assert f"(params.yaml line {line})" in said


@pytest.mark.parametrize(
    "values",
    [
        {"fine_tune": {"epochs": 0, "unfreeze_by": "layer", "unfreeze": "nowhere"}},
        {"fine_tune": {"epochs": 1, "unfreeze_by": "layer", "unfreeze": "block_14_expand"}},
        {"backbone": {"cut": "block_13_expand"}, "fine_tune": {"epochs": 1, "unfreeze": 13}},
    ],
    ids=["not fine-tuned", "there", "below a cut"],
)
def test_layers_that_fit(values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(overlay(TEXT, values))
    read_params(tmp_path / "params.yaml")


_OUTPUTS = ("images", "manifest", "metrics", "rejected", "rejected-images")


@pytest.mark.parametrize("command", ["stages.download", "headstart plan", "headstart run"])
def test_an_unknown_layer_stops_a_command_without_tensorflow(command: str, tmp_path: Path) -> None:
    text = overlay(TEXT, {"fine_tune": {"epochs": 1, "unfreeze_by": "layer", "unfreeze": "x"}})
    (tmp_path / "params.yaml").write_text(text)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / ".dvc").mkdir()
    module, *words = command.split()
    if module == "stages.download":
        words = [f"--{each}={tmp_path / each}" for each in _OUTPUTS]
        words += [f"--run-statistics={tmp_path / 'run'}", f"--runtime={ROOT / 'runtime.txt'}"]
    code = (
        "import runpy, sys\n"
        f"sys.argv = {[module, *words]!r}\n"
        "try:\n"
        f"    runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    print(sorted({'tensorflow', 'keras', 'prefect', 'dvc'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == ParameterError.exit_code
    assert "Got 'x' instead." in done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("learning_rate", [0.001, -1], "`fine_tune.learning_rate.1` parameter must be a num"),
        (
            "learning_rate", [],
            "must be a number > 0 or a list of 1 to 8 entries, each a number > 0. Got [] instead",
        ),
        ("learning_rate", "fast", "must be a number > 0 or a list of 1 to 8 entries"),
        ("unfreeze", [2, "two"], "must be an integer ≥ 1 with `unfreeze_by: block`"),
        ("unfreeze", [2, 2.5], "`fine_tune.unfreeze.1` parameter must be a text or an integer"),
    ],
)  # fmt: skip
def test_a_value_or_a_list_that_is_tried(key: str, value: Any, said: str, tmp_path: Path) -> None:
    message = faults(changed(("fine_tune", key), value, tmp_path))
    assert message.startswith("params.yaml has 1 fault; nothing was run.")
    assert said in message


def test_lists_are_tried_in_all_combinations(tmp_path: Path) -> None:
    tuning = read_params(changed(("fine_tune", "learning_rate"), [0.001, 0.01], tmp_path)).fine_tune
    found = [
        (each.unfreeze, each.learning_rate)
        for each in tuning.model_copy(update={"unfreeze": [2, 1]}).trials()
    ]
    assert found == [(2, 0.001), (2, 0.01), (1, 0.001), (1, 0.01)]
