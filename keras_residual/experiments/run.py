"""Runs the tasks that a folder lacks, and shows how far it is."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from keras_residual.experiments.cluster import cluster_workers
from keras_residual.experiments.devices import Devices
from keras_residual.experiments.processes import SHARING, local_workers
from keras_residual.experiments.run_folder import RunFolder
from keras_residual.experiments.settings import Run
from keras_residual.experiments.tasks import (
    RefusedError,
    StoppedError,
    Task,
    Train,
    check_order,
    in_order,
)
from keras_residual.experiments.time_left import TimeLeft
from keras_residual.experiments.worker import pack

AnyDevices = TypeVar("AnyDevices", bound=Devices)


def run_tasks(
    folder: RunFolder,
    tasks: Sequence[Task],
    train: Train,
    shared: Any,
    processes: int,
    *,
    scheduler: str | None = None,
    measure: str = "accuracy",
    one_thread: bool = True,
    deaths: int = 3,
    writes: bool = True,
) -> None:
    """Computes and stores the tasks that the folder lacks.

    A worker process computes each task, with a single thread unless it has the machine
    for itself. Its numbers then depend neither on the number of workers nor on earlier
    tasks. A training that diverges is a result like any other, with
    `result["diverged"]`. A terminal shows a progress bar, and a log a line for each
    task.

    Args:
        folder: The run folder, locked.
        tasks: All tasks of the run.
        train: Function of a module or of the program itself, from a task's arguments
            and `shared` to its output.
        shared: What all tasks use, such as the data.
        processes: Number of worker processes of this machine.
        scheduler: Address of a Dask scheduler whose workers compute in their place.
        measure: The result that a finished task's line shows.
        one_thread: Whether each process has one thread, or all that there are.
        deaths: How often the process of one task may die before the run stops.
        writes: Whether to store what comes; one of several hosts does.

    Raises:
        ValueError: If tasks have equal names or wait for each other.
        RefusedError: If the scheduler does not answer or has no worker.
        StoppedError: If a task cannot go on, or a result cannot be stored.

    Example:
        ```python
        import tempfile
        from keras_residual.experiments import RunFolder, Task, run_tasks

        def train(arguments, shared):
            return {"accuracy": shared[arguments["seed"]]}, {}

        if __name__ == "__main__":  # workers import the program
            folder = RunFolder(tempfile.mkdtemp(), {"epochs": 2})
            tasks = [Task(f"seed{seed}", {"seed": seed}) for seed in range(2)]
            with folder.locked():
                run_tasks(folder, tasks, train, [0.7, 0.8], processes=1)
            print(all(folder.has(task) for task in tasks))  # True
        ```
    """
    check_order(tasks)
    missing = [task for task in tasks if not folder.has(task)]
    done = len(tasks) - len(missing)
    if not missing:
        print(f"All {len(tasks)} tasks are there already.", flush=True)
        return
    processes = min(processes, len(missing))
    where = f"on {scheduler}" if scheduler else f"{processes} at a time"
    print(
        f"{len(missing)} task{'s' * (len(missing) > 1)}"
        + (f", {done} are there already" if done else ""),
        f"({where}) -> {folder.path}",
        flush=True,
    )
    work = pack(train, shared)
    if scheduler is None:
        computing = local_workers(work, processes, one_thread)
    else:
        computing = cluster_workers(work, scheduler, one_thread)
    console = Console(file=sys.stdout)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    # On a terminal, where it moves what is printed above itself.
    progress = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        refresh_per_second=2,
    )
    with progress, computing as workers:
        words = "the first result takes longest"
        bar = progress.add_task(words, total=len(tasks), completed=done)
        time_left = TimeLeft([task.weight for task in missing], processes)
        for task, output in in_order(missing, workers, deaths):
            if writes:
                folder.store(task, output)
            result = output[0]
            values = []
            if result.get("diverged"):
                values.append("diverged")
            elif measure in result:
                values.append(f"{measure} {result[measure]:.3f}")
            if "seconds" in result:
                values.append(f"{result['seconds']:.0f} s")
            value = ", ".join(values) or "done"
            done += 1
            place = f"{done:{len(str(len(tasks)))}d}/{len(tasks)}"
            left = f"{time_left.after_one()} left"
            print(f"[{place}] {task.name}: {value}; {left}", flush=True)
            progress.update(bar, completed=done, description=left)


def run_experiment(
    run: Run,
    folder: RunFolder,
    tasks: Sequence[Task],
    train: Train,
    shared: Any,
    report: Callable[[], Path],
    **options: Any,
) -> None:
    """Computes what the folder lacks, then reports and deletes checkpoints.

    Args:
        run: Number of jobs, scheduler, and whether to write the report only.
        folder: The run folder.
        tasks: All tasks of the run.
        train: See `run_tasks`.
        shared: See `run_tasks`.
        report: Writes the report and returns its path.
        **options: More arguments of `run_tasks`.

    Raises:
        RefusedError: If the folder is in use, or the scheduler does not answer.
        StoppedError: If a task cannot go on.

    Example:
        ```python
        import pathlib, tempfile
        from keras_residual.experiments import Run, RunFolder, Task, run_experiment

        def train(arguments, shared):
            return {"accuracy": 0.8}, {}

        def report():
            path = folder.path / "report.md"
            path.write_text("One training, one result.")
            return path

        if __name__ == "__main__":  # workers import the program
            run = Run(out=pathlib.Path(tempfile.mkdtemp()), jobs=1)
            folder = RunFolder(run.out, run.identity())
            tasks = [Task("seed0", {"seed": 0})]
            run_experiment(run, folder, tasks, train, None, report)
        ```
    """
    if run.report_only:
        _name_report(report())
        return
    with folder.locked(run.jobs):
        run_tasks(
            folder, tasks, train, shared, run.jobs, scheduler=run.scheduler, **options
        )
        _finish(folder, report)


def _finish(folder: RunFolder, report: Callable[[], Path]) -> None:
    """Reports; nothing needs the checkpoints after that."""
    _name_report(report())
    shutil.rmtree(folder.states, ignore_errors=True)


def _name_report(path: Path) -> None:
    # A browser shows it with its figures; report.md is for GitHub.
    print(f"Report: {path.with_suffix('.html')}", flush=True)


def run_on_devices(
    run: AnyDevices,
    folder: RunFolder,
    tasks: Sequence[Task],
    train: Train,
    prepare: Callable[[AnyDevices], Any],
    report: Callable[[], Path],
    **options: Any,
) -> None:
    """Like `run_experiment`, with all devices of one or of several hosts for a task.

    All hosts train together; what comes of it are checkpoints, with which the first
    host alone then computes the tasks once more and stores them.

    Args:
        run: Devices and hosts, number of jobs, scheduler.
        folder: The run folder.
        tasks: All tasks of the run.
        train: See `run_tasks`.
        prepare: From `run` to what all tasks use, once the folder is locked. The
            second time the settings name no hosts.
        report: Writes the report and returns its path.
        **options: More arguments of `run_tasks`.

    Raises:
        RefusedError: If the folder is in use, or the scheduler does not answer.
        StoppedError: If a task cannot go on.
    """
    if run.report_only:
        _name_report(report())
        return

    def compute(run: AnyDevices, writes: bool) -> None:
        run_tasks(
            *(folder, tasks, train, prepare(run), run.jobs),
            scheduler=run.scheduler,
            # One training alone has the machine for itself.
            one_thread=run.jobs > 1,
            # A host whose process died cannot go on without the others.
            deaths=1 if run.hosts else 3,
            writes=writes,
            **options,
        )

    coordinates = run.host_index == 0
    with folder.locked(run.jobs) if coordinates else contextlib.nullcontext():
        if run.hosts:
            compute(run, writes=False)
        if coordinates:
            compute(run.replace(hosts=()), writes=True)
            _finish(folder, report)


def run_main(main: Callable[[], None], program: str) -> NoReturn:
    """Runs the main function of a program, and ends the process.

    The status is 2 if the run was refused, 1 if a training stopped, 130 if interrupted.
    The reason is one line on standard error. Images have their channels last. On an
    accelerator the process takes the memory that it needs, unless the variables of the
    backend say otherwise.

    Args:
        main: The function.
        program: Name of the program, for its messages.

    Raises:
        SystemExit: Always.

    Example:
        ```python
        from keras_residual.experiments import RefusedError, run_main

        def main():
            raise RefusedError("there are no images")

        try:
            run_main(main, "mine.py")  # prints "mine.py: error: there are no images"
        except SystemExit as end:
            print(end.code)  # 2
        ```
    """
    for name, value in SHARING.items():
        os.environ.setdefault(name, value)
    # As in the workers, whatever a keras.json of this machine says.
    keras.config.set_image_data_format("channels_last")
    try:
        main()
    except (RefusedError, StoppedError) as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, RefusedError) else 1)
    except KeyboardInterrupt:
        print(
            "\nInterrupted. The same command continues where this one stopped.",
            file=sys.stderr,
        )
        sys.exit(130)
    sys.exit(0)
