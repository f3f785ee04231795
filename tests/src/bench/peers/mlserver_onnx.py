"""MLServer with ONNX Runtime: its own way to add a runtime (docs: custom inference runtimes), as it ships none for ONNX.

Arguments: a folder with a folder for each model, the port of REST, and that of gRPC.
"""

import asyncio
import json
import os
import pathlib
import sys

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        return True

    async def unload(self) -> bool:
        self.session = None
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensor = payload.inputs[0]
        values = NumpyCodec.decode_input(tensor)
        (output,) = self.session.run(None, {tensor.name: values})
        name = self.session.get_outputs()[0].name
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output(name, output)])


def repository(models: pathlib.Path) -> pathlib.Path:
    folder = models.parent / "mlserver"
    for model in models.iterdir():
        target = folder / model.name
        target.mkdir(parents=True, exist_ok=True)
        settings = {
            "name": model.name,
            "implementation": "mlserver_onnx.OnnxModel",
            "parameters": {"uri": str(model / "model.onnx")},
        }
        (target / "model-settings.json").write_text(json.dumps(settings))
    return folder


async def serve(folder: pathlib.Path) -> None:
    from mlserver.cli.serve import load_settings
    from mlserver.server import MLServer

    settings, models = await load_settings(str(folder))
    await MLServer(settings).start(models)


if __name__ == "__main__":
    where = repository(pathlib.Path(sys.argv[1]))
    os.environ.update(
        MLSERVER_HOST="127.0.0.1",
        MLSERVER_HTTP_PORT=sys.argv[2],
        MLSERVER_GRPC_PORT=sys.argv[3],
        MLSERVER_METRICS_ENDPOINT="",
        MLSERVER_METRICS_PORT=str(int(sys.argv[3]) + 1),
        MLSERVER_PARALLEL_WORKERS="0",
        MLSERVER_DEBUG="false",
    )
    asyncio.run(serve(where))
