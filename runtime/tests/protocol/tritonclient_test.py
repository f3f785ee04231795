"""The runtime, asked by a real client: the PyPI package `tritonclient`, over HTTP and gRPC.

    python3 -m venv VENV && VENV/bin/pip install 'tritonclient[http,grpc]'
    VENV/bin/python runtime/tests/protocol/tritonclient_test.py target/release/dnnshifter-runtime

Serves two variants of the network in `runtime/fixtures` (its scores are the first value, the second, and the sum plus one) on a
port of the loopback interface, plainly and by mutual TLS, then networks of other types; fails with a traceback at the first thing
that is not as it should be. Certificates are made with the program `openssl`.
"""

import contextlib
import http.client
import json
import pathlib
import shutil
import socket
import ssl
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


# All but BF16, which numpy does not have.
TYPES = {
    "BOOL": (9, numpy.bool_), "UINT8": (2, numpy.uint8), "UINT16": (4, numpy.uint16), "UINT32": (12, numpy.uint32),
    "UINT64": (13, numpy.uint64), "INT8": (3, numpy.int8), "INT16": (5, numpy.int16), "INT32": (6, numpy.int32),
    "INT64": (7, numpy.int64), "BYTES": (8, numpy.object_), "FP16": (10, numpy.float16), "FP32": (1, numpy.float32), "FP64": (11, numpy.float64),
}


def identity(element_type):
    """An ONNX network whose output is its input, of three values an item (`onnx.proto3`)."""
    def field(tag, content):
        return bytes([tag << 3 | 2, len(content)]) + content

    shape = field(1, field(2, b"n")) + field(1, bytes([8, 3]))
    tensor = bytes([8, element_type]) + field(2, shape)
    x, y = (field(1, name) + field(2, field(1, tensor)) for name in (b"x", b"y"))
    node = field(1, b"x") + field(2, b"y") + field(4, b"Identity")
    graph = field(1, node) + field(2, b"graph") + field(11, x) + field(12, y)
    return bytes([8, 8]) + field(7, graph) + field(8, bytes([16, 13]))


def write_identity(directory, datatype):
    folder = directory / "only"
    folder.mkdir(parents=True)
    network = identity(TYPES[datatype][0])
    check = ["", "zwölf", "1"] if datatype == "BYTES" else [0, 1, 1]
    (folder / "model.onnx").write_bytes(network)
    description = {
        "version": "dnnshifter.io/variant/v1", "name": "only", "revision": "1", "accuracy": "1", "parameters": 0,
        "bytes": len(network), "macs": 0, "input": {"name": "x", "shape": [3], "datatype": datatype},
        "output": {"name": "y", "shape": [3], "datatype": datatype}, "check": {"input": check, "output": check},
    }
    (folder / "variant.json").write_text(json.dumps(description))


def write_certificates(directory):
    """An authority, and certificates of it for the server and a client."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority")
    for name in ("server", "client"):
        signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]
        openssl("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}", *signed)


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def is_ready(address, context):
    plain, secure = http.client.HTTPConnection, http.client.HTTPSConnection
    connection = secure(address, timeout=1, context=context) if context else plain(address, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def serving(program, directory, *arguments, context=None):
    port = free_port()
    address = f"localhost:{port}" if context else f"127.0.0.1:{port}"
    command = [program, "serve", str(directory), "--name", MODEL, "--listen", f"127.0.0.1:{port}", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready(address, context):
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


def check_repository(over_http, over_grpc):
    """Triton's clients name a variant by the only parameter that they have."""
    serves = lambda: over_http.infer(MODEL, tensors(tritonclient.http, [[[1, 2], [3, 4]]])).get_response()["model_version"]
    for client in (over_http, over_grpc):
        for version in ("big", "small"):
            client.load_model(MODEL, config=json.dumps({"version": version}))
            assert serves() == version
        expect_refusal('no version "x"', lambda: client.load_model(MODEL, config='{"version": "x"}'))
        expect_refusal("no variant is named", lambda: client.unload_model(MODEL))
    rows = [(row["version"], row["state"]) for row in over_http.get_model_repository_index()]
    assert rows == [("big", "READY"), ("small", "READY")], rows
    assert rows == [(row.version, row.state) for row in over_grpc.get_model_repository_index().models]


def check_types(program, directory):
    for datatype, (_, dtype) in TYPES.items():
        write_identity(directory / datatype, datatype)
        values = numpy.array([[0, 1, 1], [1, 0, 1]], dtype=dtype)
        if datatype == "BYTES":
            values = numpy.array([[b"", "zwölf".encode(), b"a" * 1000], [b"\n", b"1", b"\""]], dtype=dtype)
        with serving(program, directory / datatype) as address:
            for library in (tritonclient.http, tritonclient.grpc):
                client = library.InferenceServerClient(address)
                tensor = library.InferInput("x", [2, 3], datatype)
                tensor.set_data_from_numpy(values)
                numpy.testing.assert_array_equal(client.infer(MODEL, [tensor]).as_numpy("y"), values)
                client.close()


def check_tls(program, directory, variants):
    directory.mkdir()
    write_certificates(directory)
    path = lambda name: str(directory / name)
    arguments = ["--variant", "big", "--tls-certificate", path("server.crt"), "--tls-key", path("server.key"),
                 "--tls-client-ca", path("ca.crt")]
    # As the kubelet asks: it has no certificate to show, and does not look at the server's.
    kubelet = ssl.create_default_context()
    kubelet.check_hostname, kubelet.verify_mode = False, ssl.CERT_NONE
    with serving(program, variants, *arguments, context=kubelet) as address:
        files = {"root_certificates": path("ca.crt"), "private_key": path("client.key"), "certificate_chain": path("client.crt")}
        over_grpc = tritonclient.grpc.InferenceServerClient(address, ssl=True, **files)
        check(tritonclient.grpc, over_grpc, "big")
        over_grpc.close()
        unknown = tritonclient.grpc.InferenceServerClient(address, ssl=True, root_certificates=path("ca.crt"))
        expect_refusal("show one in the TLS handshake", unknown.is_server_live)
        unknown.close()
        known = ssl.create_default_context(cafile=path("ca.crt"))
        known.load_cert_chain(path("client.crt"), path("client.key"))
        over_http = tritonclient.http.InferenceServerClient(address, ssl=True, ssl_context_factory=lambda: known)
        check(tritonclient.http, over_http, "big")
        over_http.close()


def main(program):
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        directory = root / "variants"
        write_variants(directory, ["big", "small"])
        check_types(program, root / "types")
        check_tls(program, root / "tls", directory)
        with serving(program, directory, "--variant", "big") as address:
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
            check_repository(over_http, over_grpc)
            over_http.close()
            over_grpc.close()
    print("ok: tritonclient over HTTP and gRPC, plainly and by TLS, with tensors of many types")


if __name__ == "__main__":
    main(sys.argv[1])
