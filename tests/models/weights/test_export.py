"""`model.export` gives other runtimes the same outputs, where Keras has the format."""

import importlib.util

import keras
import numpy as np
import pytest

from keras_residual import ResNet, TransferModel, fold_batch_norm, preprocessing_for

# Exporters warn of deprecations in each other; what counts here is their file.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

BACKEND = keras.backend.backend()
NETWORKS = {
    "torchvision": lambda: ResNet(18, 10, input_shape=(48, 32, 3)),
    "folded": lambda: fold_batch_norm(ResNet(8, 10, variant="cifar")),
    "transfer": lambda: TransferModel(
        ResNet(8, variant="cifar", include_top=False, input_shape=(32, 32, 3)),
        2,
        preprocessing="caffe",
    ),
    "preprocessing": lambda: keras.Sequential(
        [
            keras.Input((32, 32, 3), dtype="uint8"),
            preprocessing_for("cifar"),
            ResNet(8, 10, variant="cifar"),
        ]
    ),
}


def need(*packages):
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


@pytest.fixture(params=NETWORKS)
def network(request, random_statistics):
    """A model, a batch of two images, and what the model makes of them."""
    model = NETWORKS[request.param]()
    random_statistics(model)
    generator = np.random.default_rng(1)
    shape = (2, *model.input_shape[1:])
    if request.param == "preprocessing":
        images = generator.integers(0, 256, shape).astype("uint8")
    else:
        images = generator.normal(size=shape).astype("float32")
    # Called, since under JAX `predict` is no call and the ONNX exporter wants one.
    return model, images, keras.ops.convert_to_numpy(model(images))


def signature(images):
    return [keras.InputSpec(shape=images.shape, dtype=images.dtype.name)]


def assert_close(actual, expected):
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.skipif(
    BACKEND == "torch",
    reason="Keras needs torch_xla for it",
)
def test_saved_model(network, tmp_path):
    need("tensorflow")
    import tensorflow as tf

    model, images, expected = network
    model.export(tmp_path / "served", format="tf_saved_model", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    assert_close(served.serve(images).numpy(), expected)
    assert_close(served.serve(images[:1]).numpy(), expected[:1])


def run_onnx(path, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    (inputs,) = session.get_inputs()
    return session.run(None, {inputs.name: images})[0]


def test_onnx(network, tmp_path):
    need("onnx", "onnxruntime")
    need(*{"tensorflow": ["tf2onnx"], "jax": ["jax2onnx"]}.get(BACKEND, ["onnxscript"]))
    model, images, expected = network
    if BACKEND == "jax" and any(layer.name == "stem_pool" for layer in model.layers):
        pytest.skip("jax2onnx 0.17 pools over all axes, which ONNX Runtime does not do")
    path = str(tmp_path / "model.onnx")
    model.export(path, format="onnx", verbose=False)
    assert_close(run_onnx(path, images), expected)
    assert_close(run_onnx(path, images[:1]), expected[:1])


def test_onnx_of_a_fixed_size(network, tmp_path):
    if BACKEND != "torch":
        pytest.skip("one exporter does both sizes")
    need("onnx", "onnxruntime", "onnxscript")
    model, images, expected = network
    path = str(tmp_path / "model.onnx")
    model.export(path, format="onnx", verbose=False, input_signature=signature(images))
    assert_close(run_onnx(path, images), expected)


@pytest.mark.skipif(BACKEND == "jax", reason="Keras has no LiteRT under JAX")
def test_litert(network, tmp_path):
    if BACKEND == "torch":
        need("litert_torch")
        from ai_edge_litert.interpreter import Interpreter
    else:
        import tensorflow as tf

        Interpreter = tf.lite.Interpreter

    model, images, expected = network
    path = str(tmp_path / "model.tflite")
    model.export(
        path, format="litert", verbose=False, input_signature=signature(images)
    )
    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    (inputs,) = interpreter.get_input_details()
    interpreter.set_tensor(inputs["index"], images)
    interpreter.invoke()
    (outputs,) = interpreter.get_output_details()
    assert_close(interpreter.get_tensor(outputs["index"]), expected)


@pytest.mark.skipif(BACKEND != "torch", reason="Keras offers it under PyTorch only")
def test_torch(network, tmp_path):
    import torch

    model, images, expected = network
    path = tmp_path / "model.pt2"
    model.export(path, format="torch", verbose=False, input_signature=signature(images))
    program = torch.export.load(path).module()
    with torch.no_grad():
        assert_close(program(torch.from_numpy(images)).numpy(), expected)
