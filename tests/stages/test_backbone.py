"""The stage as DVC runs it: files, record, run statistics, refusals before TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import CorruptFileError, HeadstartError, ParameterError
from headstart._utils.files import sha256_file, sha256_tree
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.record import MODULE, NETWORK, RECORD, WEIGHTS, read_backbone
from headstart.keras.networks import prepare as stage
from headstart.stage.run_statistics import RunStatistics
from stages.backbone import main
from tests.conftest import ROOT
from tests.stages.small_run import extract_params

SMALL: dict[str, Any] = {
    "name": "mobilenet", "hub": None, "alpha": 0.25, "weights": "random", "weights_sha256": None,
    "image_size": 32, "cut": None, "pooling": "avg", "gray16_bits": None,
}  # fmt: skip


def run(folder: Path, engine: str = "litert", seed: int = 42, **changes: Any) -> RunStatistics:
    run_statistics = RunStatistics(folder.parent / "run_statistics", "backbone")
    main(
        runtime=ROOT / "runtime.txt",
        backbone_folder=folder,
        seed=seed,
        backbone=BackboneParams(**{**SMALL, **changes}),
        extract_features=extract_params(engine=engine),
        run_statistics=run_statistics,
    )
    return run_statistics


def test_writes_the_base_the_network_and_their_record(tmp_path: Path) -> None:
    from headstart.backbones.litert import LiteRTFunction
    from headstart.keras.networks.backbone import feature_model, load_backbone
    from headstart.keras.networks.conversion import TOLERANCE, images
    from tests.keras.networks.compared import compare

    run_statistics = run(tmp_path / "backbone")
    folder = tmp_path / "backbone"
    assert sorted(path.name for path in folder.iterdir()) == [RECORD, NETWORK, WEIGHTS]
    record = read_backbone(folder)
    assert record.random_weights
    assert record.feature_shape == (256,)
    assert record.parameters == 218_544
    assert record.parity is not None
    assert record.parity.images == 16
    assert record.parity.max_difference_in_std in {1e-6, 1e-5, 1e-4}
    assert (
        run_statistics.counters["parity_difference_in_std"] <= record.parity.max_difference_in_std
    )
    assert run_statistics.counters["conversion_seconds"] > 0
    # The rebuilt backbone is the network's function.
    model = feature_model(load_backbone(record, folder), record.cut, "avg", record.preprocessing)
    assert compare(model, LiteRTFunction(folder / NETWORK), images(32)) <= TOLERANCE
    # Run again, the same bytes; another seed, others.
    before = sha256_tree(folder)
    run(folder)
    assert sha256_tree(folder) == before
    run(folder, seed=43)
    assert sha256_tree(folder) != before


def test_a_network_from_a_file_is_kept_with_its_record(tmp_path: Path) -> None:
    from headstart.backbones.litert import LiteRTFunction
    from headstart.backbones.record import FILE_FOLDER
    from headstart.keras.networks.backbone import feature_model, load_backbone
    from headstart.keras.networks.conversion import TOLERANCE, images
    from tests.keras.networks import network_files
    from tests.keras.networks.compared import compare

    path, _ = network_files.recorded(network_files.onnx_file(tmp_path / "own"), license="MIT")
    section: dict[str, Any] = {"name": "file", "alpha": 1.0, "image_size": None, "pooling": "none"}
    section |= {"weights": str(path), "weights_sha256": sha256_file(path)}
    folder = tmp_path / "backbone"
    run(folder, **section)
    assert sorted(each.name for each in folder.iterdir()) == [RECORD, NETWORK, FILE_FOLDER]
    record = read_backbone(folder)
    assert (record.name, record.weights, record.image_size) == ("file", "own.onnx", 32)
    assert (record.license, record.random_weights) == ("MIT", False)
    assert record.weights_sha256 == sha256_tree(folder / FILE_FOLDER)
    model = feature_model(load_backbone(record, folder), None, "none", record.preprocessing)
    assert compare(model, LiteRTFunction(folder / NETWORK), images(32)) <= TOLERANCE
    before = sha256_tree(folder)
    run(folder, **section)
    assert sha256_tree(folder) == before
    with pytest.raises(HeadstartError, match=r"backbone.weights_sha256. names"):
        run(folder, **{**section, "weights_sha256": "0" * 64})
    (folder / FILE_FOLDER / "own.onnx").write_bytes(b"damaged")
    with pytest.raises(CorruptFileError, match=r"is not what backbone\.json names"):
        read_backbone(folder)


def test_a_network_that_enlarges_rounding_errors_may_differ_by_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from headstart.keras.networks import conversion

    monkeypatch.setattr(conversion, "difference_in_std", lambda *_: 0.0006)
    for own, refusal in (
        (1e-6, r"differs by 0\.0006 .*; 0\.0001 is accepted"),
        (1.0, r"differs by 0\.06 .*; 0\.01 is accepted"),
    ):
        monkeypatch.setattr(conversion, "rounding", lambda *_, own=own: own)
        with pytest.raises(HeadstartError, match=refusal):
            run(tmp_path / "backbone")
        monkeypatch.setattr(conversion, "difference_in_std", lambda *_: 0.06)
    monkeypatch.setattr(conversion, "difference_in_std", lambda *_: 0.0006)
    monkeypatch.setattr(conversion, "rounding", lambda *_: 0.0001)
    run(tmp_path / "backbone")
    parity = read_backbone(tmp_path / "backbone").parity
    assert parity is not None
    assert parity.max_difference_in_std == 0.001
    assert "change by 0.0001 of a standard deviation" in capsys.readouterr().out


def test_engine_keras_writes_no_network(tmp_path: Path) -> None:
    run(tmp_path / "backbone", engine="keras", cut="conv_pw_6_relu", pooling="none")
    record = read_backbone(tmp_path / "backbone")
    assert not (tmp_path / "backbone" / NETWORK).exists()
    assert record.tflite_sha256 is None
    assert record.parity is None
    assert record.feature_shape == (2, 2, 128)
    assert record.cut == "conv_pw_6_relu"


def test_what_differs_from_keras_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.keras.networks import conversion

    real = conversion.difference_in_std
    monkeypatch.setattr(conversion, "difference_in_std", lambda a, b: real(a, b * 1.01))
    monkeypatch.setattr(conversion, "rounding", lambda *_: 1e-6)
    with pytest.raises(HeadstartError, match=r"differs by 0\.\d+.*`extract_features\.engine`"):
        run(tmp_path / "backbone")
    assert not (tmp_path / "backbone").exists()


def test_what_does_not_convert_names_the_other_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.keras.networks import conversion

    def broken(model: Any) -> bytes:
        raise ValueError("an operation is not supported")

    monkeypatch.setattr(conversion, "to_tflite", broken)
    with pytest.raises(HeadstartError, match=r"(?s)not supported.*`extract_features\.engine`"):
        run(tmp_path / "backbone")
    assert not (tmp_path / "backbone").exists()


def test_unknown_cut(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="conv_pw_6_relu"):
        run(tmp_path / "backbone", cut="conv_pw_6_rel")
    assert not (tmp_path / "backbone").exists()


def test_a_file_of_weights_is_the_one_that_was_named(tmp_path: Path) -> None:
    from headstart.keras.networks.backbone import build_backbone

    path = tmp_path / "own.weights.h5"
    build_backbone("mobilenet", 0.25, 32).save_weights(path)
    given: dict[str, Any] = {"weights": str(path), "weights_sha256": sha256_file(path)}
    run(tmp_path / "backbone", engine="keras", **given)
    record = read_backbone(tmp_path / "backbone")
    assert record.weights == path.name
    assert given["weights_sha256"] in record.origin
    with path.open("ab") as file:
        file.write(b"changed")
    with pytest.raises(HeadstartError) as caught:
        run(tmp_path / "other", engine="keras", **given)
    assert f"expected {given['weights_sha256']}, got {sha256_file(path)}" in str(caught.value)
    assert not (tmp_path / "other").exists()


def test_a_file_of_weights_that_changes_while_it_is_read_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.keras.networks import pretrained
    from headstart.keras.networks.backbone import build_backbone

    path = tmp_path / "own.weights.h5"
    build_backbone("mobilenet", 0.25, 32).save_weights(path)
    given: dict[str, Any] = {"weights": str(path), "weights_sha256": sha256_file(path)}
    obtain = pretrained.obtain

    def late(*args: Any) -> Any:
        with path.open("ab") as file:
            file.write(b"changed")
        return obtain(*args)

    monkeypatch.setattr(pretrained, "obtain", late)
    with pytest.raises(HeadstartError, match=r"is not the one that `backbone\.weights_sha256`"):
        run(tmp_path / "backbone", engine="keras", **given)
    assert not (tmp_path / "backbone").exists()


def test_a_file_of_weights_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "own.h5"
    path.write_bytes(b"")
    given: dict[str, Any] = {"weights": str(path), "weights_sha256": sha256_file(path)}
    params = BackboneParams(**{**SMALL, **given})
    path.unlink()
    with pytest.raises(HeadstartError, match="cannot be read: No such file"):
        stage.check_weights_file(params)


HUB: dict[str, Any] = {
    "name": "hub", "alpha": 1.0, "weights": "hub", "image_size": None, "pooling": "none",
    "gray16_bits": None,
}  # fmt: skip


def test_a_module_is_kept_with_its_network_and_its_record(tmp_path: Path) -> None:
    from headstart.backbones.litert import LiteRTFunction
    from headstart.keras.networks.backbone import feature_model, load_backbone
    from headstart.keras.networks.conversion import TOLERANCE, images
    from tests.keras.networks.compared import compare
    from tests.keras.networks.hub_modules import reusable

    module = reusable(tmp_path / "own-module")
    digest = sha256_tree(module)
    own = {**HUB, "hub": str(module), "weights_sha256": digest}
    folder = tmp_path / "backbone"
    run(folder, **own)
    assert sorted(path.name for path in folder.iterdir()) == [RECORD, NETWORK, MODULE]
    record = read_backbone(folder)
    assert (record.name, record.weights, record.preprocessing) == ("hub", "own-module", "unit")
    assert (record.image_size, record.feature_shape, record.parameters) == (32, (24,), 1872)
    assert record.weights_sha256 == sha256_tree(folder / MODULE) == digest
    assert str(tmp_path) not in (folder / RECORD).read_text()
    model = feature_model(load_backbone(record, folder), None, "none", "unit")
    assert compare(model, LiteRTFunction(folder / NETWORK), images(32)) <= TOLERANCE
    before = sha256_tree(folder)
    run(folder, **own)
    assert sha256_tree(folder) == before
    (folder / MODULE / "saved_model.pb").write_bytes(b"")
    with pytest.raises(CorruptFileError, match="is not what"):
        read_backbone(folder)


def test_a_module_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    from tests.keras.networks.hub_modules import reusable

    module = reusable(tmp_path / "module")
    own = {**HUB, "hub": str(module), "weights_sha256": sha256_tree(module)}
    with pytest.raises(ParameterError, match=r"must be none: this module gives a feature vector"):
        run(tmp_path / "backbone", **{**own, "pooling": "avg"})
    with pytest.raises(ParameterError, match=r"must be 32, or null"):
        run(tmp_path / "backbone", **{**own, "image_size": 64})
    with pytest.raises(HeadstartError, match="is not the one that"):
        run(tmp_path / "backbone", **{**own, "weights_sha256": "0" * 64})
    assert not (tmp_path / "backbone").exists()


def test_impossible_parameters_are_reported_before_tensorflow(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("name: headstart-small", "name: mobilnet_v2")
    (tmp_path / "params.yaml").write_text(text)
    done = subprocess.run(
        [
            sys.executable, "-X", "importtime", "-m", "stages.backbone",
            "--params", str(tmp_path / "params.yaml"), "--runtime", "runtime.txt",
            "--backbone-folder", str(tmp_path / "out"),
            "--run-statistics", str(tmp_path / "run_statistics"),
        ],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "`mobilenet_v2`" in done.stderr
    assert "(params.yaml line " in done.stderr
    assert "tensorflow" not in done.stderr
    assert not list(tmp_path.glob("out*"))
