from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.serving import rest
from headstart.serving.requests import RefusedError

SIZE = 2
B64 = {"b64": base64.b64encode(b"an image").decode()}
ARRAY = [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 255]]]


def _anything() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers(-1, 256) | st.floats() | st.text(max_size=5)
    some = leaves | st.just(B64) | st.just(ARRAY)
    names = st.sampled_from(["b64", "content", "pixels"])
    return st.recursive(
        some, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=2)
    )


def understood(document: Any) -> rest.Asked:
    return rest.understand(json.dumps(document).encode(), SIZE, 3)


@pytest.mark.parametrize(
    ("document", "columnar"),
    [
        ({"instances": [B64]}, False),
        ({"instances": [{"content": B64}]}, False),
        ({"inputs": [B64]}, True),
        ({"inputs": {"content": [B64]}}, True),
        ({"signature_name": "serving_default", "instances": [B64]}, False),
        ({"signature_name": "", "instances": [B64]}, False),
    ],
)
def test_encoded_images_in_rows_and_columns(document: Any, columnar: bool) -> None:
    assert understood(document) == rest.Asked([b"an image"], columnar)


@pytest.mark.parametrize(
    "text", ["YW4gaW1hZ2U=", "YW4gaW1hZ2U", " YW4g\naW1h\r\n\tZ2U = ", "YW4gaW1hZ2U\n"]
)
def test_base64_is_taken_as_tensorflow_serving_takes_it(text: str) -> None:
    assert understood({"instances": [{"b64": text}]}).items == [b"an image"]


@pytest.mark.parametrize("text", ["YW4gaW1hZ2U==", "YW4g=aW1", "Y", "Y-4_", "YW4g\u00a0", "YW4gü"])
def test_what_is_no_base64_is_an_error(text: str) -> None:
    with pytest.raises(RefusedError, match="image 0"):
        understood({"instances": [{"b64": text}]})


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [ARRAY]},
        {"instances": [{"pixels": ARRAY}]},
        {"inputs": [ARRAY]},
        {"inputs": {"pixels": [ARRAY]}},
    ],
)
def test_arrays_of_pixels(document: dict[str, Any]) -> None:
    (item,) = understood({"signature_name": "pixels", **document}).items
    assert isinstance(item, np.ndarray)
    assert item.dtype == np.uint8
    assert item.tolist() == ARRAY


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "JSON object"),
        ({}, "one of `instances`"),
        ({"instances": [B64], "inputs": [B64]}, "one of `instances`"),
        ({"instances": []}, "at least one"),
        ({"instances": B64}, "at least one"),
        ({"instances": ["text"]}, "image 0: expected"),
        ({"instances": [ARRAY]}, '"signature_name": "pixels"'),
        ({"instances": [B64, {"b64": "%%%"}]}, "image 1"),
        ({"instances": [{"b64": 5}]}, "image 0"),
        ({"signature_name": "other", "instances": [B64]}, "no signature 'other'"),
        ({"signature_name": "pixels", "instances": [ARRAY[:1]]}, "shape"),
        ({"signature_name": "pixels", "instances": [[[1], [2, 3]]]}, "shape"),
        ({"signature_name": "pixels", "instances": ["text"]}, "shape"),
        ({"signature_name": "pixels", "instances": [np.full((2, 2, 3), 0.5).tolist()]}, "integers"),
        ({"signature_name": "pixels", "instances": [np.full((2, 2, 3), 256).tolist()]}, "0 to 255"),
        ({"signature_name": "pixels", "instances": [np.full((2, 2, 3), -1).tolist()]}, "0 to 255"),
        ({"signature_name": "pixels", "instances": [[[[True] * 3] * 2] * 2]}, "integers"),
    ],
)
def test_an_invalid_request_is_an_error(document: Any, message: str) -> None:
    with pytest.raises(RefusedError) as error:
        understood(document)
    assert error.value.status == 400
    assert message in error.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"a": 1' + b"0" * 9999])
def test_an_invalid_json_is_an_error(body: bytes) -> None:
    with pytest.raises(RefusedError) as error:
        rest.understand(body, SIZE, 3)
    assert error.value.status == 400


@pytest.mark.parametrize("instances", [[B64] * 4, [[]] * 200, [{}] * 200])
def test_too_many_images_are_refused(instances: list[Any]) -> None:
    with pytest.raises(RefusedError) as error:
        understood({"instances": instances})
    assert error.value.status == 413


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "signature_name": st.sampled_from(["pixels", "serving_default", ["pixels"], 5, None]),
            "instances": _anything(),
            "inputs": _anything(),
        },
    )
)
def test_any_document_is_understood_or_refused(document: dict[str, Any]) -> None:
    refused = None
    try:
        asked = understood(document)
    except RefusedError as error:
        refused = error
    assert refused.status in {400, 413} if refused else 0 < len(asked.items) <= 3


def test_a_deeply_nested_document_is_an_error() -> None:
    with pytest.raises(RefusedError) as error:
        rest.understand(b"[" * 100_000, 224, 64)
    assert error.value.status == 400


def test_answers_have_the_outputs_of_the_saved_model() -> None:
    rows = [np.array([0.1, 0.9], np.float32), np.array([0.75, 0.25], np.float32)]
    by_row = rest.answered(rows, ("a", "b"), columnar=False)
    assert by_row["predictions"][0] == {
        "label": "b",
        "probability": 0.9,
        "probabilities": [0.1, 0.9],
        "classes": ["a", "b"],
    }
    by_column = rest.answered(rows, ("a", "b"), columnar=True)
    assert by_column == {
        "outputs": {
            "label": ["b", "a"],
            "probability": [0.9, 0.75],
            "probabilities": [[0.1, 0.9], [0.75, 0.25]],
            "classes": [["a", "b"], ["a", "b"]],
        }
    }


def test_metadata_describes_both_signatures() -> None:
    said = rest.metadata("pets", 224, 2)
    assert said["model_spec"] == {"name": "pets", "signature_name": "", "version": "1"}
    signatures = said["metadata"]["signature_def"]["signature_def"]
    pixels = signatures["pixels"]["inputs"]["pixels"]
    assert pixels["dtype"] == "DT_UINT8"
    assert [dim["size"] for dim in pixels["tensor_shape"]["dim"]] == ["-1", "224", "224", "3"]
    assert set(signatures["serving_default"]["outputs"]) == {
        "label",
        "probability",
        "probabilities",
        "classes",
    }


def test_a_long_name_of_a_signature_is_not_sent_back() -> None:
    with pytest.raises(RefusedError) as refused:
        understood({"signature_name": "A" * 100_000, "instances": [B64]})
    assert len(refused.value.message) < 300
