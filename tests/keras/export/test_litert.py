from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from headstart.backbones.litert import LiteRTFunction
from headstart.keras.export.litert import write_float16, write_float32, write_int8
from headstart.keras.runtime import configure
from tests.keras.export.networks import classifier, expected, images, written


@pytest.fixture(autouse=True)
def _configured() -> None:
    configure(2)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_all_precisions_say_what_keras_says(activation: str) -> None:
    model, batch = classifier(activation), images(60)
    wanted = expected(model, batch)
    limits = {write_float32: 1e-6, write_float16: 1e-2}
    for write, limit in limits.items():
        content = written(write, model)
        network = LiteRTFunction(content)
        assert network.input_dtype == np.uint8
        assert np.abs(network(batch) - wanted).max() <= limit
    content = written(write_int8, model, images(100))
    found = LiteRTFunction(content)(batch)
    assert np.abs(found - wanted).max() <= 0.15
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.9
    assert content == written(write_int8, model, images(100))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_int8_computes_in_int8_up_to_the_probabilities(activation: str) -> None:
    network = Interpreter(model_content=written(write_int8, classifier(activation), images(20)))
    dtypes = {each["index"]: each["dtype"] for each in network.get_tensor_details()}
    operations = [
        (each["op_name"], {dtypes[place] for place in each["outputs"]})
        for each in network._get_ops_details()
    ]
    last = {"softmax": "SOFTMAX", "sigmoid": "LOGISTIC"}[activation]
    assert (last, {np.float32}) in operations
    assert {name for name, kinds in operations if kinds == {np.int8}} >= {
        "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN",
    }  # fmt: skip
