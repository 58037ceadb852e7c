"""Run folder, workers and seeded training data that the experiments share."""

import contextlib
import importlib
import json
import os
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.once

TASK_NAMES = ["one", "two", "three"]


@pytest.fixture
def experiment(load):
    return load("_experiment")


@pytest.fixture
def tasks(load):
    return [load("_workers").Task(name, {"name": name}) for name in TASK_NAMES]


class _Frame:
    """Stands for a pandas frame."""

    def to_csv(self, path, **_):
        path.write_text("epoch\n1\n")


OUTPUT = ({"accuracy": 0.5, "seconds": 1.0}, {"history.csv": _Frame()})


def test_looking_at_a_folder_writes_nothing(experiment, tmp_path):
    experiment.RunFolder(tmp_path / "run", {"epochs": 1})

    assert list(tmp_path.iterdir()) == []


def test_config_holds_settings_versions_and_hardware(experiment, tmp_path):
    folder = experiment.RunFolder(tmp_path / "run", {"epochs": 1, "blocks": (2, 3)})
    folder.create(processes=2)

    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["settings"] == {"epochs": 1, "blocks": [2, 3]}
    assert {"python", "keras", "backend", "numpy"} <= set(config["versions"])
    assert config["hardware"]["cores"] >= 1
    assert config["hardware"]["processes"] == 2
    assert config["started"][:2] == "20"


def test_the_same_settings_are_accepted_again(experiment, tasks, tmp_path):
    folder = experiment.RunFolder(tmp_path, {"blocks": (2, 3)})
    folder.create(1)
    before = (tmp_path / "config.json").read_bytes()
    folder.store(tasks[0], OUTPUT)

    again = experiment.RunFolder(tmp_path, {"blocks": (2, 3)})
    again.create(4)

    assert again.has(tasks[0])
    assert not again.has(tasks[1])
    assert (tmp_path / "config.json").read_bytes() == before


def test_other_settings_are_refused_by_name(experiment, tmp_path):
    experiment.RunFolder(tmp_path, {"epochs": 15, "width": 18}).create(1)

    with pytest.raises(
        experiment.RefusedError, match=r"settings: epochs is 15 there and 3 here\. "
    ):
        experiment.RunFolder(tmp_path, {"epochs": 3, "width": 18})


def test_other_versions_are_refused_by_name(experiment, tmp_path, monkeypatch):
    experiment.RunFolder(tmp_path, {}).create(1)
    other = {**experiment.versions(), "backend": "abacus 1.0"}
    monkeypatch.setattr(experiment, "versions", lambda: other)

    with pytest.raises(
        experiment.RefusedError, match=r"backend is .* abacus 1\.0 here"
    ):
        experiment.RunFolder(tmp_path, {})


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": 3}', '{"settings": {}}'])
def test_a_broken_config_is_refused(experiment, tmp_path, text):
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(experiment.RefusedError, match="cannot be read"):
        experiment.RunFolder(tmp_path, {})


def test_a_folder_of_something_else_is_refused(experiment, tmp_path):
    (tmp_path / "thesis.tex").write_text("")

    with pytest.raises(experiment.RefusedError, match="is not empty and holds no run"):
        experiment.RunFolder(tmp_path, {})


@pytest.mark.parametrize("path", ["file", "file/below/it"])
def test_an_output_path_that_is_a_file_is_refused(experiment, tmp_path, path):
    (tmp_path / "file").write_text("")

    with pytest.raises(experiment.RefusedError, match="file is a file"):
        experiment.RunFolder(tmp_path / path, {})


def test_one_process_at_a_time(experiment, tmp_path):
    with experiment.RunFolder(tmp_path / "run", {}).locked():
        other = experiment.RunFolder(tmp_path / "run", {})
        with (
            pytest.raises(experiment.RefusedError, match=r"another process.*run$"),
            other.locked(),
        ):
            pass
    with other.locked():
        other.create(1)


def test_leftovers_of_a_killed_run_are_removed(experiment, tasks, tmp_path):
    experiment.RunFolder(tmp_path, {}).create(1)
    (tmp_path / ".one.tmp").mkdir()
    (tmp_path / ".one.tmp" / "result.json").write_text("{")
    (tmp_path / ".config.json.tmp").write_text("{")

    folder = experiment.RunFolder(tmp_path, {})
    folder.create(1)
    folder.store(tasks[0], OUTPUT)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "units"]
    assert json.loads((tmp_path / "units/one/result.json").read_text()) == OUTPUT[0]


def train_in_worker(arguments, shared):
    """Runs in a worker: says what it sees."""
    if arguments["name"] in shared.get("fail", ()):
        raise ArithmeticError("no such number")
    if arguments["name"] in shared.get("die", ()):
        os._exit(1)
    if arguments["name"] in shared.get("abort", ()):
        os.abort()
    if arguments["name"] in shared.get("stop", ()):
        raise importlib.import_module("_workers").StoppedError("the disk is full")
    threads = os.environ["TF_NUM_INTRAOP_THREADS"]
    result = {"accuracy": 0.5, "seconds": 0.0, "process": os.getpid()}
    return {**result, "threads": threads, "name": arguments["name"]}, {}


@pytest.fixture
def importable_train(monkeypatch, root):
    """`train_in_worker` as a worker finds it: in a module on the path."""
    monkeypatch.syspath_prepend(str(root / "tests" / "examples"))
    yield importlib.import_module("test_experiment").train_in_worker
    sys.modules.pop("test_experiment", None)


@pytest.mark.slow
def test_tasks_run_in_processes_with_one_thread(load, tasks, importable_train):
    before = dict(os.environ)

    computed = load("_workers").compute(tasks, importable_train, {}, 2)
    outputs = {task.name: output for task, (output, _) in computed}

    assert sorted(outputs) == sorted(TASK_NAMES)
    assert all(output["name"] == name for name, output in outputs.items())
    assert {output["threads"] for output in outputs.values()} == {"1"}
    processes = {output["process"] for output in outputs.values()}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert dict(os.environ) == before


@pytest.mark.slow
def test_a_task_waits_until_another_is_stored(load, importable_train):
    workers = load("_workers")
    tasks = [
        workers.Task("early", {"name": "early"}, after="late"),
        workers.Task("late", {"name": "late"}),
        workers.Task("other", {"name": "other"}),
    ]

    names = [task.name for task, _ in workers.compute(tasks, importable_train, {}, 3)]

    assert sorted(names) == ["early", "late", "other"]
    assert names.index("early") > names.index("late")


@pytest.mark.slow
def test_a_task_after_one_that_is_stored_already_runs(load, importable_train):
    workers = load("_workers")
    task = workers.Task("second", {"name": "second"}, after="first")

    computed = list(workers.compute([task], importable_train, {}, 1))

    assert len(computed) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shared", "error", "message"),
    [
        ({"fail": ["two"]}, "RuntimeError", "two failed: .*no such number"),
        ({"die": ["two"]}, "StoppedError", "two .* died"),
        ({"abort": ["two"]}, "StoppedError", "two .* aborted; the lines .* say why"),
        ({"stop": ["two"]}, "StoppedError", "two stopped: the disk is full"),
    ],
)
def test_a_task_that_fails_is_named(
    load, tasks, importable_train, shared, error, message
):
    workers = load("_workers")
    expected = getattr(workers, error, RuntimeError)
    with pytest.raises(expected, match=f"(?s){message}"):
        list(workers.compute(tasks, importable_train, shared, 1))


def test_only_missing_tasks_are_computed(
    experiment, tasks, tmp_path, monkeypatch, capsys
):
    computed = []

    def compute(tasks, train, shared, processes, one_thread):
        for task in tasks:
            computed.append(task.name)
            yield task, OUTPUT

    monkeypatch.setattr(experiment, "compute", compute)
    folder = experiment.RunFolder(tmp_path, {})
    folder.create(1)
    folder.store(tasks[1], OUTPUT)

    for _ in range(2):
        experiment.run_tasks(folder, tasks, None, None, processes=1)

    assert computed == ["one", "three"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("[2/3] one: accuracy 0.500, 1 s; about ")
    assert lines[-1] == "All 3 trainings are there already."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "about 5 s"), (600, "about 10 min"), (9000, "about 2.5 h")],
)
def test_time_left_in_words(experiment, seconds, words):
    assert experiment.duration(seconds) == words


def test_exit_statuses(experiment, capsys):
    def refuse():
        raise experiment.RefusedError("no such thing")

    def interrupt():
        raise KeyboardInterrupt

    for main, status in ((lambda: None, 0), (refuse, 2), (interrupt, 130)):
        with pytest.raises(SystemExit) as stop:
            experiment.run_main(main, "program")
        assert stop.value.code == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[0] == "program: error: no such thing"
    assert lines[-1].startswith("Interrupted. The same command goes on")


def test_what_a_failed_import_wrote_is_shown(load, capfd):
    quiet_import = load("_workers").quiet_import

    with quiet_import():
        os.write(2, b"noise\n")
    with contextlib.suppress(ImportError), quiet_import():
        os.write(2, b"reason\n")
        raise ImportError

    assert capfd.readouterr().err == "reason\n"


def test_each_epoch_has_another_order_that_the_seed_decides(load):
    make = load("_training").ShuffledBatches
    images, labels = np.arange(10), np.arange(10)

    def epochs(seed):
        batches = make(images, labels, batch_size=4, seed=seed)
        seen = []
        for _ in range(3):
            seen.append([batches[index][0].tolist() for index in range(len(batches))])
            batches.on_epoch_end()
        return seen

    first = epochs(0)
    assert first == epochs(0)
    assert first != epochs(1)
    assert len({str(epoch) for epoch in first}) == 3
    for epoch in first:
        numbers = [number for batch in epoch for number in batch]
        assert [len(batch) for batch in epoch] == [4, 4]
        assert len(set(numbers)) == 8


def test_split_by_seed(load):
    split = load("_training").split
    train, validation = split(10, 0.8, seed=0)

    assert (len(train), len(validation)) == (8, 2)
    assert sorted([*train, *validation]) == list(range(10))
    assert split(10, 0.8, seed=0)[1].tolist() == validation.tolist()
    assert len({str(sorted(split(10, 0.8, seed=seed)[1])) for seed in range(20)}) > 5


def test_standardized_by_the_training_images_alone(load):
    generator = np.random.default_rng(0)
    train = generator.normal([1, 2, 3], [4, 5, 6], (50, 8, 8, 3))

    ours, other = load("_training").standardized(train, train + np.array([4, 10, 18]))

    np.testing.assert_allclose(ours.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(ours.std((0, 1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(other.mean((0, 1, 2)), [1, 2, 3], atol=0.1)


def test_a_constant_channel_does_not_divide_by_zero(load):
    train, _ = load("_training").standardized(
        np.ones((2, 4, 4, 3)), np.ones((1, 4, 4, 3))
    )

    assert (train == 0).all()
