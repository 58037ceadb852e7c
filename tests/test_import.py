"""What the package imports, and what it does where a backend is not installed."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_residual

PACKAGE = Path(keras_residual.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
BACKENDS = {"tensorflow", "jax", "torch"}
HEAVY = {"matplotlib", "pandas", "scipy", "jinja2"}
# Each folder may import these, itself and what belongs to no folder.
MAY_IMPORT = {
    "_atomic_file.py": set(),
    "_calls.py": set(),
    "_cores.py": set(),
    "_first_line.py": set(),
    "_functions.py": set(),
    "_image_file.py": set(),
    "_innermost.py": set(),
    "_leaves.py": set(),
    "_model_loss.py": set(),
    "_quiet.py": set(),
    "_unbroken.py": set(),
    "layers": set(),
    "models": {"layers"},
    "callbacks": {"layers"},
    "datasets": {"layers"},
    "analysis": {"layers"},
    "experiments": {"analysis", "datasets", "models", "callbacks", "layers"},
}

# Makes packages look as if they were not installed.
HIDE = """
import sys
from importlib.machinery import PathFinder
find_spec = PathFinder.find_spec
hidden = set(sys.argv[1:])
PathFinder.find_spec = classmethod(
    lambda cls, name, path=None, target=None:
    None if name.split(".")[0] in hidden else find_spec(name, path, target)
)
"""
TRAIN = """
import tempfile

import keras
import numpy as np
from keras_residual import GradientNormCallback, PlainBlock, ResidualBlock

model = keras.Sequential(
    [
        keras.Input((8, 8, 3)),
        PlainBlock(4),
        ResidualBlock(8, strides=2, drop_path=0.5),
        keras.layers.Flatten(),
        keras.layers.Dense(2),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
before = model.get_weights()
norms = GradientNormCallback(ratios=True, tensorboard_dir=tempfile.mkdtemp())
model.fit(
    np.ones((4, 8, 8, 3), "float32"), np.arange(4) % 2, verbose=0, callbacks=[norms]
)
after = model.get_weights()
assert any((new != old).any() for new, old in zip(after, before)), "nothing was learnt"
assert norms.norms.shape == (1, len(model.trainable_variables))
assert not hidden & {name.split(".")[0] for name in sys.modules}
"""


def run_python(code, *arguments, **environment):
    variables = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**variables, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def is_lazy(node):
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def imports(tree):
    """Yield each imported module's name and whether importing the file imports it."""
    lazy = {n for outer in ast.walk(tree) if is_lazy(outer) for n in ast.walk(outer)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in lazy
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module, node not in lazy
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node not in lazy


def by_path(path):
    return str(path.relative_to(PACKAGE))


@pytest.mark.once
@pytest.mark.parametrize("path", MODULES, ids=by_path)
def test_only_public_keras(path):
    tree = ast.parse(path.read_text())
    for name, _ in imports(tree):
        assert not f"{name}.".startswith("keras.src.")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("keras", "src")


@pytest.mark.once
@pytest.mark.parametrize("path", MODULES, ids=by_path)
def test_direction_of_imports(path):
    folder = path.relative_to(PACKAGE).parts[0]
    if folder == "__init__.py":
        return
    everyone = {Path(name).stem for name in MAY_IMPORT if name.endswith(".py")}
    allowed = MAY_IMPORT[folder] | {folder} | everyone
    for name, _ in imports(ast.parse(path.read_text())):
        if name.startswith("keras_residual."):
            assert name.split(".")[1] in allowed
        else:
            assert name != "keras_residual", "the package's front is for its users"


@pytest.mark.once
@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if p.parent.name in {"layers", "models", "callbacks"}],
    ids=by_path,
)
def test_nothing_heavy_at_module_level(path):
    for name, at_import in imports(ast.parse(path.read_text())):
        if at_import:
            assert name.split(".")[0] not in HEAVY | BACKENDS


@pytest.mark.slow
def test_imports_and_trains_where_only_the_dependencies_are_installed():
    backend = keras.backend.backend()
    others = BACKENDS - {backend}
    # JAX itself needs SciPy: what is heavy is hidden only after Keras is there.
    code = f"""
import keras
heavy = {HEAVY}
hidden |= heavy
found = {{m: sys.modules[m] for m in sys.modules if m.split(".")[0] in heavy}}
for module in found:
    sys.modules[module] = None  # Keras itself may have imported it
import keras_residual
for name in keras_residual.__all__:
    getattr(keras_residual, name)
hidden -= heavy
sys.modules.update(found)
"""
    done = run_python(HIDE + code + TRAIN, *others, KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stderr


@pytest.mark.once
@pytest.mark.parametrize(
    ("installed", "advice"),
    [
        ({"jax"}, "KERAS_BACKEND=jax"),
        ({"torch"}, "KERAS_BACKEND=torch"),
        ({"jax", "torch"}, "KERAS_BACKEND=jax or KERAS_BACKEND=torch"),
    ],
    ids=["jax", "torch", "jax-and-torch"],
)
def test_missing_tensorflow_says_which_variable_to_set(installed, advice, tmp_path):
    for name in installed:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    done = run_python(
        HIDE + "import keras_residual",
        *(BACKENDS - installed),
        KERAS_HOME=str(tmp_path),  # without a keras.json that names a backend
    )
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: ")
    assert advice in last_line
    assert done.returncode == 1


@pytest.mark.once
def test_no_backend_at_all_is_the_error_of_keras(tmp_path):
    done = run_python(
        HIDE + "import keras_residual", *BACKENDS, KERAS_HOME=str(tmp_path)
    )
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line == "ModuleNotFoundError: No module named 'tensorflow'"
