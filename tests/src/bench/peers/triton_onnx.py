"""Triton with ONNX Runtime, as PyTriton brings the two together: Triton's server, and one Python function a model.

Arguments: a folder with a folder for each model, the port of REST, and that of gRPC.
"""

import pathlib
import sys

import numpy
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def function(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (given,), (wanted,) = session.get_inputs(), session.get_outputs()

    @batch
    def infer(**inputs):
        return session.run(None, inputs)

    inputs = [Tensor(name=given.name, dtype=numpy.float32, shape=tuple(given.shape[1:]))]
    outputs = [Tensor(name=wanted.name, dtype=numpy.float32, shape=tuple(wanted.shape[1:]))]
    return infer, inputs, outputs


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(sys.argv[2]),
        grpc_address="127.0.0.1",
        grpc_port=int(sys.argv[3]),
        allow_metrics=False,
        log_verbose=0,
    )
    with Triton(config=config) as server:
        for folder in pathlib.Path(sys.argv[1]).iterdir():
            infer, inputs, outputs = function(folder / "model.onnx")
            server.bind(folder.name, infer, inputs, outputs, config=ModelConfig(max_batch_size=8))
        server.serve()
