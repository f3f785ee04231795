"""A plain server of ONNX Runtime: FastAPI on uvicorn, one session a model, the protocol's REST with JSON or binary tensors.

Arguments: a folder with a folder for each model, and the port.
"""

import json
import pathlib
import sys

import fastapi
import numpy
import onnxruntime
import uvicorn

app = fastapi.FastAPI()
sessions = {}


def opened(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@app.post("/v2/models/{model}/infer")
async def infer(model: str, request: fastapi.Request):
    body = await request.body()
    length = request.headers.get("inference-header-content-length")
    head = json.loads(body if length is None else body[: int(length)])
    tensor = head["inputs"][0]
    if length is None:
        values = numpy.asarray(tensor["data"], dtype=numpy.float32)
    else:
        values = numpy.frombuffer(body, dtype=numpy.float32, offset=int(length))
    session = sessions[model]
    (output,) = session.run(None, {tensor["name"]: values.reshape(tensor["shape"])})
    described = {"name": session.get_outputs()[0].name, "shape": output.shape, "datatype": "FP32"}
    if length is None:
        described["data"] = output.ravel().tolist()
        return {"model_name": model, "outputs": [described]}
    described["parameters"] = {"binary_data_size": output.nbytes}
    answer = json.dumps({"model_name": model, "outputs": [described]}).encode()
    headers = {"inference-header-content-length": str(len(answer))}
    return fastapi.Response(answer + output.tobytes(), media_type="application/octet-stream", headers=headers)


if __name__ == "__main__":
    for folder in pathlib.Path(sys.argv[1]).iterdir():
        sessions[folder.name] = opened(folder / "model.onnx")
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
