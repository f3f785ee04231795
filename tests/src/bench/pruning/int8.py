"""Quantises a network to int8 as ONNX Runtime's documentation advises for CPUs: static, QDQ, per channel, calibrated on
images of the training set. Arguments: network, data set's folder, mean, deviation, where to write."""

import gzip
import sys

import numpy
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

IMAGES = 512


class Images(CalibrationDataReader):
    def __init__(self, folder, mean, deviation):
        with gzip.open(f"{folder}/train-images-idx3-ubyte.gz") as file:
            pixels = numpy.frombuffer(file.read(16 + IMAGES * 28 * 28), numpy.uint8, offset=16)
        images = ((pixels / 255 - mean) / deviation).astype(numpy.float32).reshape(-1, 1, 1, 28, 28)
        self.batches = iter([{"input": image} for image in images])

    def get_next(self):
        return next(self.batches, None)


network, folder, mean, deviation, output = sys.argv[1:]
quant_pre_process(network, output + ".prepared")
quantize_static(
    output + ".prepared",
    output,
    Images(folder, float(mean), float(deviation)),
    quant_format=QuantFormat.QDQ,
    per_channel=True,
    activation_type=QuantType.QUInt8,
    weight_type=QuantType.QInt8,
)
