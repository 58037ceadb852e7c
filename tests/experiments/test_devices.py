"""Several devices and hosts train as one device does, and lose a host with a word."""

import json
import subprocess
import sys
from contextlib import ExitStack

import keras
import pytest
from programs import devices_of_jax

from keras_residual.experiments import RefusedError, StoppedError, devices

BACKEND = keras.backend.backend()
DEVICES = pytest.mark.skipif(
    BACKEND == "torch", reason="Keras trains on one device there"
)
HOSTS = pytest.mark.skipif(BACKEND != "jax", reason="Keras has several hosts on JAX")
HEARTBEAT = 20  # seconds: a busy machine must not look like a lost host


@pytest.fixture(scope="module")
def start(root):
    """A function that starts a training with the arguments of train_on_devices.py."""
    with ExitStack() as stack:

        def start(folder, options=None, devices=1, **arguments):
            variables = {"PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
            arguments = {
                "folder": str(folder),
                "options": options or {},
                "logical": devices,
                **arguments,
            }
            program = root / "tests/experiments/train_on_devices.py"
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(program), json.dumps(arguments)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**devices_of_jax(devices), **variables},
                )
            )
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture(scope="module")
def start_hosts(start, reserve_port):
    """A function that starts two hosts on this machine, of two devices each."""

    def start_hosts(folder, *differences):
        address = f"127.0.0.1:{reserve_port().getsockname()[1]}"
        options = {
            "devices": "all",
            "hosts": [address, "second"],
            "host_timeout": HEARTBEAT,
            "jobs": 1,
        }
        return [
            start(folder, {**options, "host_index": index}, devices=2, **different)
            for index, different in enumerate(differences)
        ]

    return start_hosts


@pytest.fixture(scope="module")
def one_device(start, tmp_path_factory):
    return computed(start(tmp_path_factory.mktemp("one")))


def computed(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def assert_same(result, expected, epochs):
    updates = 4 * len(epochs)
    assert len(result["norms"]) == updates
    for row, other in zip(result["norms"], expected["norms"][-updates:], strict=True):
        assert row == pytest.approx(other, rel=1e-4, abs=1e-5)
    assert result["history"].keys() == expected["history"].keys()
    for name, values in expected["history"].items():
        assert result["history"][name] == pytest.approx(
            [values[epoch] for epoch in epochs], rel=1e-4
        )
    for row, other in zip(result["outputs"], expected["outputs"], strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-4)


@pytest.fixture(scope="module")
def four_devices(start, tmp_path_factory):
    """The same on four devices, after a batch that they do not divide."""
    folder = tmp_path_factory.mktemp("four")
    return computed(start(folder, {"devices": "all"}, devices=4, refused_batch=6))


@pytest.mark.slow
@DEVICES
def test_four_devices_train_as_one(one_device, four_devices):
    assert (one_device["replicas"], four_devices["replicas"]) == (1, 4)
    assert_same(four_devices, one_device, epochs=range(3))
    assert "4 CPU devices of one host" in four_devices["describe"]


@pytest.mark.slow
@DEVICES
def test_batch_that_the_devices_do_not_divide(four_devices):
    message = "the batch of 6 images cannot be divided among 4 devices"
    assert message in four_devices["refused"]
    assert "a batch size of 4 or 8 can" in four_devices["refused"]


@pytest.mark.slow
@HOSTS
def test_hosts_that_disagree_lost_host_and_resumed_training(
    start_hosts, one_device, tmp_path
):
    survivor, killed = start_hosts(
        tmp_path, {"setting": "a"}, {"setting": "b", "end": "killed"}
    )
    errors = [process.communicate(timeout=600)[1] for process in (survivor, killed)]

    for error in errors:
        assert 'data: setting is "a" on host 0 and "b" on host 1\n' in error
    assert survivor.returncode == 1
    assert "StoppedError: host 0 of 2 lost another host" in errors[0]

    results = [computed(process) for process in start_hosts(tmp_path, {}, {})]

    for result in results:
        assert_same(result, one_device, epochs=[1, 2])
        assert "4 CPU devices of 2 hosts (jax.distributed)" in result["describe"]


@pytest.mark.slow
@HOSTS
def test_silent_host(start_hosts, tmp_path):
    survivor, stopped = start_hosts(tmp_path, {}, {"end": "silent"})

    _, err = survivor.communicate(timeout=600)
    stopped.kill()

    assert survivor.returncode != 0
    assert "JAX distributed service detected fatal errors" in err
    assert "another task died" in err


@pytest.mark.parametrize(
    ("backend", "options", "batch_size", "message"),
    [
        ("torch", {"devices": "all"}, 8, "one device under the torch backend; for all"),
        ("torch", {"hosts": ("a:1", "b")}, 8, "several hosts need KERAS_BACKEND=jax"),
        ("tensorflow", {"hosts": ("a:1", "b")}, 8, "cannot train over hosts under the"),
        ("jax", {"devices": "two"}, 8, "must be 'one' or 'all', not 'two'"),
        ("jax", {"hosts": ("a:1",)}, 8, "at least two"),
        ("jax", {"hosts": ("a", "b")}, 8, "address:port, .* not 'a'"),
        ("jax", {"hosts": ("a:0", "b")}, 8, "address:port, .* not 'a:0'"),
        ("jax", {"hosts": ("a:1", "b"), "host_index": 2}, 8, "from 0 to 1, not 2"),
        ("jax", {"host_index": 1}, 8, "host index is 1, but no hosts were named"),
        ("jax", {"hosts": ("a:1", "b"), "host_timeout": 0}, 8, "at least 1 sec"),
        ("jax", {"hosts": ("a:1", "b"), "jobs": 2}, 8, "one training at a time"),
        ("jax", {"hosts": ("a:1", "b"), "scheduler": "c"}, 8, "exclude each other"),
        ("jax", {"hosts": ("a:1", "b", "c")}, 8, "among 3 hosts; .* 6 or 9 can"),
    ],
)
def test_refused(monkeypatch, backend, options, batch_size, message):
    monkeypatch.setattr(keras.config, "backend", lambda: backend)

    with pytest.raises(RefusedError, match=message):
        devices.check_devices(devices.Devices(**{"jobs": 1, **options}), batch_size)


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("torch", {}),
        ("tensorflow", {"devices": "all"}),
        ("jax", {"devices": "all", "hosts": ("[::1]:80", "b"), "host_index": 1}),
    ],
)
def test_accepted(monkeypatch, backend, options):
    monkeypatch.setattr(keras.config, "backend", lambda: backend)

    assert devices.check_devices(devices.Devices(jobs=1, **options), 8) is None


@HOSTS
def test_hosts_with_other_values():
    connection = devices.connect(devices.Devices(devices="all"), {"batch_size": 1})

    # JAX's words, where a variable of several hosts is assigned.
    words = "ndarray passed to device_put is not the same on each process."
    stopped = pytest.raises(StoppedError, match="do not hold the same values")
    with stopped, connection.scope():
        raise AssertionError(words)
    with pytest.raises(AssertionError, match="another"), connection.scope():
        raise AssertionError("another")


def test_one_device_needs_nothing():
    connection = devices.connect(devices.Devices(), {"batch_size": 7})
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    assert connection.is_writer
    assert connection.shard == (0, 1)
    assert connection.validation("dataset", 5, 7) == "dataset"
    assert connection.local_copy(model) is model
    connection.agree({"setting": "value"})
    with connection.scope(), connection.alone():
        connection.close()
    assert BACKEND in connection.describe()
