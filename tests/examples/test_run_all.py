"""The three experiments together: one that fails is named, and stops no other."""

import subprocess

import pandas as pd
import pytest

pytestmark = pytest.mark.once


def test_one_that_fails_does_not_stop_the_others(run_here, load, tmp_path, monkeypatch):
    commands = []

    def started(command, **_):
        commands.append(command)
        name, out = command[1], command[command.index("--out") + 1]
        failed = name.endswith("sim5_transfer.py")
        if not failed:
            folder = tmp_path / out
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text("{}")
            row = {"hypothesis": "H0", "claim": f"A claim of {folder.name}"}
            row["answer"] = "undecided"
            pd.DataFrame([row]).to_csv(folder / "hypotheses.csv")
        return subprocess.CompletedProcess(command, -9 * failed)

    monkeypatch.setattr(subprocess, "run", started)
    for _ in range(2):  # the same command goes on in the same folder
        status, out, err = run_here("run_all.py", "--preset", "quick", "--jobs", "1")

        assert status == 1
        killed, last = err.splitlines()
        assert killed == "sim5_transfer: killed by SIGKILL"
        assert last == (
            "run_all.py: error: these experiments failed: sim5_transfer; the same "
            "command continues where they stopped"
        )
        assert out.splitlines()[-1] == "Page: runs/all-quick/report.html"
    assert len(commands) == 6
    assert commands[0][2:6] == [
        *("--preset", "quick"),
        *("--out", "runs/all-quick/sim4_residual"),
    ]
    text = (tmp_path / "runs/all-quick/report.md").read_text("utf-8")
    assert "These failed, as their output says: sim5_transfer." in text
    assert "A demonstration" in text
    assert "H0. A claim of sim4_residual: undecided." in text
    assert "A claim of imagenet_cutout: undecided." in text
    assert "[The whole report](imagenet_cutout/report.html)" in text
    html = (tmp_path / "runs/all-quick/report.html").read_text("utf-8")
    assert 'href="imagenet_cutout/report.html"' in html
