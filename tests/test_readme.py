"""What the README shows is what the project does."""

import re
import tomllib

import pytest
from code_blocks import python_blocks, run_blocks

import keras_residual


@pytest.fixture
def readme(root):
    return (root / "README.md").read_text()


@pytest.mark.slow
def test_quickstart_runs_and_is_short(readme, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks(readme)
    assert len(blocks[0].splitlines()) <= 15
    run_blocks(blocks, "README.md")
    assert capsys.readouterr().out


@pytest.mark.once
def test_quickstart_is_the_example(readme, root):
    example = (root / "examples/quickstart.py").read_text()
    assert python_blocks(readme)[0] in example


@pytest.mark.once
@pytest.mark.parametrize("name", ["simulation", "tests", "transfer", "imagenet"])
def test_set_up_is_one_line(readme, name):
    # The form that .ci/run looks for.
    commands = re.findall(
        rf"^<!-- command: {name} -->\n```bash\n(.*?)```$", readme, re.M | re.S
    )
    assert len(commands) == 1
    assert commands[0].count("\n") == 1
    assert commands[0].startswith("python -m venv .venv && .venv/bin/pip install ")


@pytest.mark.once
def test_commands_begin_with_an_experiment_and_the_tests(readme):
    commands = re.findall(r"^<!-- command: (\w+) -->$", readme, re.M)
    assert commands == ["simulation", "tests", "transfer", "imagenet"]
    assert readme.index("command: tests") < readme.index("## What is in it")


@pytest.mark.once
def test_extras_in_the_readme_exist(readme, root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    for group in re.findall(r"(?:\.|keras-residual)\[([a-z,]+)\]", readme):
        assert set(group.split(",")) <= extras


@pytest.mark.once
def test_oldest_keras_is_the_one_that_is_required(readme, root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    (keras,) = [d for d in project["dependencies"] if d.startswith("keras>")]
    oldest = keras.removeprefix("keras>=")
    assert f"Keras {oldest}" in readme
    assert oldest in (root / ".github/workflows/ci.yml").read_text()


@pytest.mark.once
def test_changelog_describes_this_version(root):
    changelog = (root / "CHANGELOG.md").read_text()
    assert f"## [{keras_residual.__version__}]" in changelog


@pytest.mark.once
def test_files_that_the_readme_links_exist(readme, root):
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        if "://" not in target:
            assert (root / target).exists(), target
