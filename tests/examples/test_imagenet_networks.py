"""The networks of the ImageNet comparison are each other's controls."""

import keras
import numpy as np
import pytest

SETTINGS = {
    **{"image_size": 32, "depth": 20, "variant": "cifar", "cutout_size": 16},
    "classes": list("abcdef"),
}


@pytest.fixture
def program(load):
    return load("imagenet_cutout")


@pytest.mark.parametrize(
    ("depth", "variant", "extra"),
    [
        (20, "cifar", 0),
        pytest.param(18, "torchvision", 3, marks=pytest.mark.slow),
    ],
)
def test_networks_are_each_others_controls(program, depth, variant, extra):
    settings = {**SETTINGS, "depth": depth, "variant": variant}
    models = [
        program.build_network(name, settings, seed=1)
        for name in ("plain", "resnet", "resnet-cutout")
    ]
    plain, resnet, cutout = (
        {weight.path: weight for weight in model.weights} for model in models
    )
    # Each projection: a kernel and four weights of batch normalization.
    assert len(resnet) - len(plain.keys() & resnet.keys()) == 5 * extra
    for path, weight in resnet.items():
        values = keras.ops.convert_to_numpy(weight)
        for others in (plain, cutout):
            if path in others and "seed_generator" not in path:
                other = keras.ops.convert_to_numpy(others[path])
                np.testing.assert_array_equal(values, other)
    images = np.full((2, 32, 32, 3), 200, "uint8")
    without = [model.predict_on_batch(images) for model in models]
    np.testing.assert_array_equal(without[1], without[2])  # no patch in inference
    assert np.abs(without[0] - without[1]).max() > 0


def test_logits_are_float32_under_mixed_precision(program):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = program.build_network("resnet", SETTINGS, seed=0)
    assert model.output.dtype == "float32"
    assert model.layers[-2].compute_dtype == "bfloat16"
