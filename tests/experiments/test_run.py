"""Running tasks: workers, what is missing, lines, deaths and exit statuses."""

import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys

import dask
import distributed
import engine_tasks
import psutil
import pytest

from keras_residual.experiments import (
    RefusedError,
    RunFolder,
    StoppedError,
    Task,
    cluster,
    run_main,
    run_tasks,
    worker,
)
from keras_residual.experiments import run as module
from keras_residual.experiments.cluster import cluster_workers
from keras_residual.experiments.devices import Devices
from keras_residual.experiments.processes import local_workers
from keras_residual.experiments.run import run_on_devices
from keras_residual.experiments.tasks import check_order, in_order
from keras_residual.experiments.time_left import duration
from keras_residual.experiments.worker import pack

pytestmark = pytest.mark.once

TASKS = [Task(name, {"name": name}) for name in ("one", "two", "three")]


def outputs(shared, tasks=TASKS, one_thread=True):
    with local_workers(pack(engine_tasks.train, shared), 1, one_thread) as workers:
        computed = in_order(tasks, workers, deaths=3)
        return {task.name: result for task, (result, _) in computed}


@pytest.fixture
def shared(tmp_path):
    return {"folder": str(tmp_path)}


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """A run of three tasks by two workers, one of which dies once."""
    path = tmp_path_factory.mktemp("engine")
    shared = {"folder": str(path), "die": {"two": 1}, "diverge": ["three"]}
    before = dict(os.environ)
    listening = set()

    def look(task):
        for process in [psutil.Process(), *psutil.Process().children(True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # the one that dies
                listening.update(
                    connection.laddr.ip
                    for connection in process.net_connections("tcp")
                    if connection.status == psutil.CONN_LISTEN
                )

    folder = RunFolder(path / "run", {})
    store = folder.store
    folder.store = lambda task, output: (look(task), store(task, output))
    tasks = [*TASKS, Task("last", {"name": "last"}, after="three")]
    with folder.locked():
        run_tasks(folder, tasks, engine_tasks.train, shared, 2)
    assert dict(os.environ) == before
    # What Python itself keeps for all spawned processes may stay.
    commands = [" ".join(child.cmdline()) for child in psutil.Process().children(True)]
    assert not [command for command in commands if "resource_tracker" not in command]
    results = {
        task.name: json.loads((folder.units / task.name / "result.json").read_text())
        for task in tasks
    }
    return path, results, listening


@pytest.mark.slow
def test_tasks_run_in_other_processes_with_one_thread(computed):
    _, results, _ = computed

    assert all(result["name"] == name for name, result in results.items())
    assert {result["threads"] for result in results.values()} == {"1"}
    (compiled,) = {result["compiled"] for result in results.values()}
    assert compiled
    assert not os.path.exists(compiled)
    assert os.getpid() not in {result["process"] for result in results.values()}


@pytest.mark.slow
def test_a_task_whose_worker_died_is_computed_again(computed):
    path, results, _ = computed

    assert (path / "two.calls").read_text() == "xx"
    assert results["two"]["accuracy"] == 0.5


@pytest.mark.slow
def test_a_training_that_diverged_is_a_result(computed):
    _, results, _ = computed

    assert results["three"]["diverged"] is True


@pytest.mark.slow
def test_workers_open_no_port(computed):
    _, _, listening = computed

    assert listening == set()


def test_lines_and_what_is_there_already(tmp_path, monkeypatch, capsys, shared):
    names = []

    def in_order(tasks, workers, deaths):
        for task in tasks:
            names.append(task.name)
            diverged = task.name == "three"
            yield task, ({"accuracy": 0.5, "seconds": 1, "diverged": diverged}, {})

    monkeypatch.setattr(module, "in_order", in_order)
    folder = RunFolder(tmp_path / "run", {})
    with folder.locked():
        folder.store(TASKS[1], ({"accuracy": 0.5, "seconds": 1.0}, {}))
        for _ in range(2):
            run_tasks(folder, TASKS, engine_tasks.train, shared, 1)

    assert names == ["one", "three"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"2 tasks, 1 are there already (1 at a time) -> {folder.path}"
    assert lines[1].startswith("[2/3] one: accuracy 0.500, 1 s; about ")
    assert lines[2] == "[3/3] three: diverged, 1 s; about 0 s left"
    assert lines[-1] == "All 3 tasks are there already."


def test_a_bar_on_a_terminal(tmp_path, monkeypatch, shared):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def in_order(tasks, workers, deaths):
        for task in tasks:
            yield task, ({"accuracy": 0.5, "seconds": 1.0}, {})

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(module, "in_order", in_order)
    monkeypatch.setattr(sys, "stdout", Terminal())
    folder = RunFolder(tmp_path / "run", {})
    with folder.locked():
        folder.store(TASKS[1], ({"accuracy": 0.5, "seconds": 1.0}, {}))
        run_tasks(folder, TASKS, engine_tasks.train, shared, 1)

    shown = sys.stdout.getvalue()
    plain = re.sub(r"\x1b\[\d*m", "", shown)
    places = [plain.index(part) for part in ("━ 1/3", "[3/3] three", "━ 3/3 about 0 s")]
    assert places == sorted(places)
    assert shown.endswith("\x1b[2K")  # the bar is gone at the end


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"fail": ["two"]}, RuntimeError, "two failed: .*no such number"),
        ({"die": {"two": 9}}, StoppedError, "two stopped: its process died"),
        ({"stop": ["two"]}, StoppedError, "two stopped: the disk is full"),
    ],
)
def test_a_task_that_fails_is_named(shared, how, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        outputs({**shared, **how})


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (RuntimeError("RESOURCE_EXHAUSTED: 9 bytes"), "stopped", "half of the batch"),
        (StoppedError("no room, but not out of memory"), "stopped", "no room, but"),
        (RuntimeError("another reason"), "failed", "RuntimeError: another reason"),
    ],
)
def test_a_device_without_memory_says_what_to_try(error, kind, words):
    found, message = worker._failure(error)
    assert found == kind
    assert words in message


@pytest.mark.slow
def test_a_process_that_took_all_threads_computes_one_task(shared, capfd):
    results = outputs(shared, TASKS[:2], one_thread=False)

    assert len({result["process"] for result in results.values()}) == 2
    assert {result["threads"] for result in results.values()} != {"1"}
    # What workers say is printed once.
    out, _ = capfd.readouterr()  # TensorFlow writes to the other while it is imported
    assert sorted(out.splitlines()) == ["one is trained", "two is trained"]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([Task("a", {}, after="b"), Task("b", {}, after="a")], "a after b after a"),
        ([Task("a", {}, after="a")], "a after a"),
        ([Task("a", {}), Task("a", {})], "must have different names"),
    ],
)
def test_tasks_that_never_come_to_an_end_are_refused(tasks, message):
    with pytest.raises(ValueError, match=message):
        check_order(tasks)
    check_order([Task("a", {}, after="stored already"), Task("b", {}, after="a")])


def test_a_scheduler_that_does_not_answer_is_refused(monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        refused = pytest.raises(RefusedError, match=f"at --scheduler {address} within")
        with refused, cluster_workers(b"", address, True):
            pass


@pytest.fixture
def certificate(tmp_path):
    """A certificate that is its own authority, in Dask's configuration."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command = "openssl req -x509 -noenc -newkey rsa:2048 -subj /CN=test"
    subprocess.run(
        [*command.split(), "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    places = {"ca-file": certificate, "client.cert": certificate, "client.key": key}
    with dask.config.set({f"distributed.comm.tls.{k}": v for k, v in places.items()}):
        yield certificate, key


@pytest.fixture
def dask_cluster(tmp_path, root, certificate):
    """Address of a scheduler with two workers, all started by the command line."""
    file = tmp_path / "scheduler.json"
    path = os.pathsep.join([str(root), str(root / "tests")])
    local = ("--host", "127.0.0.1", "--scheduler-file", str(file))
    own, key = certificate
    tls = ("--protocol", "tls", *("--tls-ca-file", own))
    tls += (*("--tls-cert", own), *("--tls-key", key))
    programs = [
        ("dask_scheduler", *local, *tls, "--port", "0", "--no-dashboard"),
        *[("dask_worker", *local, *tls, "--nthreads", "1", "--no-nanny")] * 2,
    ]
    with contextlib.ExitStack() as stack:
        for name, *arguments in programs:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{name}", *arguments],
                env={**os.environ, "PYTHONPATH": path},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        client = stack.enter_context(distributed.Client(scheduler_file=str(file)))
        client.wait_for_workers(2, timeout=60)
        yield client.scheduler.address


@pytest.mark.slow
def test_a_cluster_gives_what_this_machine_gives(dask_cluster, tmp_path):
    assert dask_cluster.startswith("tls://127.0.0.1:")
    shared = {"folder": str(tmp_path), "die": {"two": 1, "three": 9}}
    tasks = [*TASKS[:2], Task("last", {"name": "last"}, after="one")]
    work = pack(engine_tasks.train, shared)
    with cluster_workers(work, dask_cluster, True) as workers:
        computed = in_order(tasks, workers, deaths=3)
        results = {task.name: result for task, (result, _) in computed}
        with pytest.raises(StoppedError, match="three stopped: its process died"):
            list(in_order(TASKS[2:], workers, deaths=2))

    assert {name: result["name"] for name, result in results.items()} == {
        name: name for name in ("one", "two", "last")
    }
    assert {result["threads"] for result in results.values()} == {"1"}
    assert (tmp_path / "two.calls").read_text() == "xx"
    assert (tmp_path / "three.calls").read_text() == "xx"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "about 5 s"), (600, "about 10 min"), (9000, "about 2.5 h")],
)
def test_time_left_in_words(seconds, words):
    assert duration(seconds) == words


def test_exit_statuses(capsys):
    def refuse():
        raise RefusedError("no such thing")

    def stop():
        raise StoppedError("no space")

    def interrupt():
        raise KeyboardInterrupt

    for main, status in ((lambda: None, 0), (refuse, 2), (stop, 1), (interrupt, 130)):
        with pytest.raises(SystemExit) as end:
            run_main(main, "program")
        assert end.value.code == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[:2] == ["program: error: no such thing", "program: error: no space"]
    assert lines[-1].startswith("Interrupted. The same command continues")


@pytest.mark.parametrize(
    ("hosts", "index", "expected"),
    [
        ((), 0, [((), True, 3)]),
        (("a:1", "b"), 0, [(("a:1", "b"), False, 1), ((), True, 3)]),
        (("a:1", "b"), 1, [(("a:1", "b"), False, 1)]),
    ],
)
def test_hosts_train_together_and_the_first_one_stores(
    tmp_path, monkeypatch, hosts, index, expected
):
    calls = []

    def compute(folder, tasks, train, shared, processes, **options):
        calls.append((shared, options["writes"], options["deaths"]))
        assert (tmp_path / "run/.lock").exists() == (index == 0)

    monkeypatch.setattr(module, "run_tasks", compute)
    run = Devices(jobs=1, hosts=hosts, host_index=index)
    folder, reports = RunFolder(tmp_path / "run", {}), []
    arguments = (folder, TASKS, engine_tasks.train, lambda run: run.hosts)

    def report():
        reports.append(tmp_path / "report.md")
        return reports[-1]

    run_on_devices(run, *arguments, report)
    assert calls == expected
    assert len(reports) == (index == 0)
