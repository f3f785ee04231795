"""Writes every_field.onnx, a model in which every field of every message of onnx-ml.proto has a value of its own.

    pip install onnx==1.23.2 && python every_field.py every_field.onnx
"""

import itertools
import sys

import onnx
from google.protobuf.descriptor import FieldDescriptor as Field

numbers = itertools.count(1)


def value(field):
    match field.type:
        case Field.TYPE_STRING:
            return f"{field.name}{next(numbers)}"
        case Field.TYPE_BYTES:
            return f"{field.name}{next(numbers)}".encode()
        case Field.TYPE_ENUM:
            return field.enum_type.values[-1].number
        case Field.TYPE_FLOAT | Field.TYPE_DOUBLE:
            return next(numbers) / 2
        case _:
            return next(numbers)


def fill(message, choice=0, above=()):
    """Sets all fields; of those that exclude each other, the one that is chosen. A message within its own kind stays empty."""
    kind = message.DESCRIPTOR
    if kind in above:
        return message
    for field in kind.fields:
        group = field.containing_oneof
        if group and group.fields[choice] is not field:
            continue
        if field.message_type and field.is_repeated:
            for each in range(max((len(group.fields) for group in field.message_type.oneofs), default=1)):
                fill(getattr(message, field.name).add(), each, (*above, kind))
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), 0, (*above, kind))
        elif field.is_repeated:
            getattr(message, field.name).extend([value(field), value(field)])
        else:
            setattr(message, field.name, value(field))
    return message


def found(message):
    """Names of all fields that have a value."""
    for field, held in message.ListFields():
        yield field.full_name
        if field.message_type:
            for each in held if field.is_repeated else [held]:
                yield from found(each)


def declared(kinds):
    """Names of all fields that there are."""
    for kind in kinds:
        yield from (field.full_name for field in kind.fields)
        yield from declared(kind.nested_types)


model = fill(onnx.ModelProto())

# What a network needs: an operator set, one input and one output of float32, nodes that read what is there.
model.opset_import.add(version=17)
graph, node = model.graph, model.graph.node[0]
for end in (graph.input[0], graph.output[0]):
    end.type.CopyFrom(onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, ["batch", 4], ["DATA_BATCH", "DATA_FEATURE"]))
    end.type.denotation = "TENSOR"
node.input[:] = [graph.input[0].name, graph.initializer[0].name, graph.sparse_initializer[0].values.name]
graph.output[0].name = graph.value_info[0].name = node.output[0]

assert set(found(model)) == set(declared(onnx.ModelProto.DESCRIPTOR.file.message_types_by_name.values()))
with open(sys.argv[1], "wb") as file:
    file.write(model.SerializeToString(deterministic=True))
