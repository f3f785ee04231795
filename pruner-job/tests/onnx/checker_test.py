"""What `dnnshifter-pruner-job compact` writes, judged by `onnx.checker`, with the shapes that `onnx` infers.

    python3 -m venv VENV && VENV/bin/pip install onnx
    VENV/bin/python pruner-job/tests/onnx/checker_test.py target/release/dnnshifter-pruner-job FOLDER

FOLDER holds networks. Each is compacted as it is, and with the shapes of all its values noted, as exporters note them; fails at the
first that is not accepted.
"""

import pathlib
import subprocess
import sys
import tempfile

import onnx


def compacted(program, network, directory):
    """The network as the program leaves it."""
    before, after = directory / "before.onnx", directory / "after.onnx"
    onnx.save(network, before)
    subprocess.run([program, "compact", before, after], check=True, stdout=subprocess.DEVNULL)
    onnx.checker.check_model(str(after), full_check=True)
    return onnx.load(after)


def noted(network):
    """The sizes of inner values, 0 where one is open."""
    values = network.graph.value_info
    return {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values}


def check(program, path, directory):
    network = onnx.load(path)
    onnx.checker.check_model(network, full_check=True)
    small = compacted(program, network, directory)
    described = compacted(program, onnx.shape_inference.infer_shapes(network, strict_mode=True), directory)
    # What was noted of inner values is what is inferred of them now, and nothing of them was lost.
    notes, inferred = noted(described), noted(onnx.shape_inference.infer_shapes(small, strict_mode=True))
    assert notes == inferred, f"{path.name}: {dict(notes.items() ^ inferred.items())}"


program, folder = sys.argv[1:]
paths = sorted(pathlib.Path(folder).glob("*.onnx"))
assert paths, f"{folder} holds no network"
with tempfile.TemporaryDirectory() as directory:
    for path in paths:
        check(program, path, pathlib.Path(directory))
print(f"onnx.checker accepts what compaction leaves of {len(paths)} networks")
