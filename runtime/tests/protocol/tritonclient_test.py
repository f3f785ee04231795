"""The runtime, asked by a real client: the PyPI package `tritonclient`, over HTTP and gRPC.

    python3 -m venv VENV && VENV/bin/pip install 'tritonclient[http,grpc]'
    VENV/bin/python runtime/tests/protocol/tritonclient_test.py target/release/dnnshifter-runtime

Serves two variants of the network in `runtime/fixtures` (its scores are the first value, the second, and the sum plus one) on a
port of the loopback interface, and fails with a traceback at the first thing that is not as it should be.
"""

import contextlib
import http.client
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import numpy
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

NETWORK = pathlib.Path(__file__).parents[2] / "fixtures" / "tiny.onnx"
MODEL = "tiny"
READY_SECONDS = 30


def write_variants(directory, names):
    for index, name in enumerate(names):
        folder = directory / name
        folder.mkdir(parents=True)
        shutil.copy(NETWORK, folder / "model.onnx")
        description = {
            "version": "dnnshifter.io/variant/v1", "name": name, "revision": "1", "accuracy": "0.9",
            "parameters": 15, "bytes": NETWORK.stat().st_size, "macs": 12 - index,
            "input": {"name": "image", "shape": [2, 2]}, "output": {"name": "scores", "shape": [3]},
            "check": {"input": [1, 2, 3, 4], "output": [1, 2, 11]},
        }
        (folder / "variant.json").write_text(json.dumps(description))


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def is_ready(address):
    connection = http.client.HTTPConnection(address, timeout=1)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def serving(program, directory):
    address = f"127.0.0.1:{free_port()}"
    command = [program, "serve", str(directory), "--name", MODEL, "--listen", address, "--variant", "big"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready(address):
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not become ready"
            time.sleep(0.05)
        yield address
    finally:
        server.kill()
        server.wait()


def tensors(library, values):
    data = numpy.array(values, dtype=numpy.float32)
    tensor = library.InferInput("image", list(data.shape), "FP32")
    tensor.set_data_from_numpy(data)
    return [tensor]


def expect_refusal(words, call):
    try:
        call()
    except InferenceServerException as error:
        assert words in error.message(), error
    else:
        raise AssertionError(f"was not refused: {words}")


def check(library, client, variant):
    """What holds over both ways."""
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(MODEL) and client.is_model_ready(MODEL, variant)
    one, many = [[[1, 2], [3, 4]]], [[[row, 1], [1, 1]] for row in range(128)]
    for values in (one, many):
        result = client.infer(MODEL, tensors(library, values), request_id="7")
        array = numpy.array(values, dtype=numpy.float32).reshape(len(values), 4)
        expected = numpy.stack([array[:, 0], array[:, 1], array.sum(axis=1) + 1], axis=1)
        numpy.testing.assert_allclose(result.as_numpy("scores"), expected)
    wanted = [library.InferRequestedOutput("scores")]
    result = client.infer(MODEL, tensors(library, one), model_version=variant, outputs=wanted, timeout=10_000_000)
    numpy.testing.assert_allclose(result.as_numpy("scores"), [[1, 2, 11]])
    expect_refusal("there is no model", lambda: client.infer("x", tensors(library, one)))
    expect_refusal("does not serve now", lambda: client.infer(MODEL, tensors(library, one), model_version="x"))
    expect_refusal("send [n, 2, 2]", lambda: client.infer(MODEL, tensors(library, [[1, 2, 3]])))
    wrong = library.InferInput("image", [1, 2, 2], "INT8")
    wrong.set_data_from_numpy(numpy.zeros((1, 2, 2), dtype=numpy.int8))
    expect_refusal("send FP32", lambda: client.infer(MODEL, [wrong]))
    unknown = [library.InferRequestedOutput("x")]
    expect_refusal("no output", lambda: client.infer(MODEL, tensors(library, one), outputs=unknown))


def check_http(address):
    library = tritonclient.http
    client = library.InferenceServerClient(address)
    check(library, client, "big")
    assert client.get_server_metadata()["name"] == "dnnshifter-runtime"
    metadata = client.get_model_metadata(MODEL)
    assert metadata["versions"] == ["big", "small"] and metadata["inputs"][0]["shape"] == [-1, 2, 2], metadata
    text = library.InferInput("image", [1, 2, 2], "FP32")
    text.set_data_from_numpy(numpy.array([[[1, 2], [3, 4]]], dtype=numpy.float32), binary_data=False)
    result = client.infer(MODEL, [text], request_id="7", outputs=[library.InferRequestedOutput("scores", binary_data=False)])
    response = result.get_response()
    assert (response["id"], response["model_version"], response["parameters"]["variant"]) == ("7", "big", "big"), response
    numpy.testing.assert_allclose(result.as_numpy("scores"), [[1, 2, 11]])
    return client


def check_grpc(address):
    library = tritonclient.grpc
    client = library.InferenceServerClient(address)
    check(library, client, "big")
    metadata = client.get_model_metadata(MODEL)
    assert list(metadata.versions) == ["big", "small"] and list(metadata.inputs[0].shape) == [-1, 2, 2], metadata
    response = client.infer(MODEL, tensors(library, [[[1, 2], [3, 4]]]), request_id="7").get_response()
    assert (response.id, response.model_version) == ("7", "big"), response
    assert response.parameters["variant"].string_param == "big", response
    return client


def main(program):
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory) / "variants"
        write_variants(directory, ["big", "small"])
        with serving(program, directory) as address:
            over_http, over_grpc = check_http(address), check_grpc(address)
            connection = http.client.HTTPConnection(address)
            body = json.dumps({"parameters": {"version": "small"}})
            connection.request("POST", f"/v2/repository/models/{MODEL}/load", body)
            assert connection.getresponse().status == 200
            one = [[[1, 2], [3, 4]]]
            after = over_http.infer(MODEL, tensors(tritonclient.http, one)).get_response()
            assert after["model_version"] == "small", after
            after = over_grpc.infer(MODEL, tensors(tritonclient.grpc, one)).get_response()
            assert after.model_version == "small", after
            over_http.close()
            over_grpc.close()
    print("ok: tritonclient over HTTP and gRPC")


if __name__ == "__main__":
    main(sys.argv[1])
