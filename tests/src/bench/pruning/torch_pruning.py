"""Torch-Pruning on the same network, data set and epochs: for each wanted cost, the network before is pruned to it and fine-tuned.
It learns from the same images as the pruner-job, in an order of its own.
Arguments: dense network, data set's folder, mean, deviation, a JSON file with the positions of the images, epochs, learning rate, seed,
folder to write to, and the multiply-accumulates of each network that is wanted. Writes network-1.onnx and so on, and says what it did as JSON."""

import copy
import gzip
import json
import statistics
import sys
import time

import numpy
import onnx
import torch
import torch_pruning
from onnx import helper, numpy_helper
from torch import nn

# Images that the gradient is summed over, by which channels are judged; twice as many as the pruner-job takes.
JUDGED, JUDGED_AT_A_TIME = 2048, 64
# Images a step, as the pruner-job has it, and the multiple of channels that is kept, as it is asked to.
BATCH, MULTIPLE = 128, 8
SETTLING_BATCHES = 16
# As the pruner-job distils.
TEMPERATURE, WEIGHT_OF_LABELS = 4, 0.3
ROUNDS = 5
# The part of the channels without which a network has the wanted operations is looked for up to nearly all, as not all can leave.
MOST_LEAVING = 0.9999
# Ratios are told apart to a sixteen-thousandth: a tenth of a channel of VGG-16 of a quarter of the widths, which has 1056.
HALVINGS = 14


def layer(node, weights):
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    tensors = [weights[name] for name in node.input[1:] if name in weights]
    match node.op_type:
        case "Conv":
            rows, columns = tensors[0].shape[:2]
            padding = attributes.get("pads", [0])[0]
            made = nn.Conv2d(columns, rows, tensors[0].shape[2], attributes["strides"][0], padding, bias=len(tensors) > 1)
        case "BatchNormalization":
            made = nn.BatchNorm2d(len(tensors[0]), attributes.get("epsilon", 1e-5))
            made.running_mean.copy_(tensors[2])
            made.running_var.copy_(tensors[3])
        case "Gemm":
            made = nn.Linear(tensors[0].shape[1], tensors[0].shape[0])
        case "Pad":
            _, _, top, left, _, _, bottom, right = tensors[0].tolist()
            return nn.ZeroPad2d((left, right, top, bottom))
        case "Relu":
            return nn.ReLU()
        case "MaxPool":
            return nn.MaxPool2d(attributes["kernel_shape"][0], attributes["strides"][0], attributes.get("pads", [0])[0])
        case "GlobalAveragePool":
            return nn.AdaptiveAvgPool2d(1)
        case "Flatten":
            return nn.Flatten()
    for parameter, tensor in zip(made.parameters(), tensors):
        parameter.data.copy_(tensor)
    return made


def read_network(path):
    graph = onnx.load(path).graph
    weights = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    return nn.Sequential(*(layer(node, weights) for node in graph.node))


def read_images(folder, mean, deviation, chosen):
    with gzip.open(f"{folder}/train-images-idx3-ubyte.gz") as file:
        pixels = numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(f"{folder}/train-labels-idx1-ubyte.gz") as file:
        labels = numpy.frombuffer(file.read(), numpy.uint8, offset=8)
    images = ((pixels[chosen] / 255 - mean) / deviation).astype(numpy.float32)
    return torch.from_numpy(images), torch.from_numpy(labels[chosen].astype(numpy.int64))


def macs(network, example):
    counted = 0

    def count(module, _inputs, output):
        nonlocal counted
        counted += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in network if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        network.eval()(example)
    for hook in hooks:
        hook.remove()
    return counted


def judge(network, images, labels):
    """Collects the gradients that Taylor importance is made of."""
    network.eval().zero_grad()
    for start in range(0, min(JUDGED, len(labels)), JUDGED_AT_A_TIME):
        part = slice(start, start + JUDGED_AT_A_TIME)
        nn.functional.cross_entropy(network(images[part]), labels[part]).backward()


def pruned(judged, example, ratio):
    """A copy of the network without the part `ratio` of its channels, and the seconds that it took."""
    network = copy.deepcopy(judged)
    for own, other in zip(network.parameters(), judged.parameters()):
        own.grad = other.grad.clone()
    start = time.perf_counter()
    torch_pruning.pruner.MetaPruner(
        network,
        example,
        importance=torch_pruning.importance.GroupTaylorImportance(),
        global_pruning=True,
        pruning_ratio=ratio,
        round_to=MULTIPLE,
        ignored_layers=[network[-1]],
    ).step()
    return network, time.perf_counter() - start


def ratio_for(judged, example, wanted):
    """The part of the channels without which the network comes closest to the wanted operations."""
    low, high, best = 0.0, MOST_LEAVING, None
    for _ in range(HALVINGS):
        ratio = (low + high) / 2
        network, _ = pruned(judged, example, ratio)
        reached = macs(network, example)
        distance = abs(numpy.log(reached / wanted))
        if best is None or distance < best[0]:
            best = (distance, ratio)
        low, high = (ratio, high) if reached > wanted else (low, ratio)
    return best[1]


def distilled(answers, labels, taught):
    """The loss of answers that are to be as the labels and as a teacher's."""
    softened = [nn.functional.log_softmax(logits / TEMPERATURE, -1) for logits in (answers, taught)]
    divergence = TEMPERATURE**2 * nn.functional.kl_div(*softened, reduction="batchmean", log_target=True)
    return WEIGHT_OF_LABELS * nn.functional.cross_entropy(answers, labels) + (1 - WEIGHT_OF_LABELS) * divergence


def train(network, teacher, images, labels, epochs, peak, seed):
    batch = min(BATCH, len(labels))
    generator = torch.Generator().manual_seed(seed)
    groups = [
        {"params": [p for p in network.parameters() if p.dim() > 1], "weight_decay": 5e-4},
        {"params": [p for p in network.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=peak, momentum=0.9, nesterov=True)
    steps = epochs * (len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak, total_steps=steps)
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=generator)
        for start in range(0, len(labels) - batch + 1, batch):
            part = order[start : start + batch]
            optimizer.zero_grad()
            with torch.no_grad():
                taught = teacher(images[part])
            distilled(network(images[part]), labels[part], taught).backward()
            optimizer.step()
            schedule.step()
    settle(network, images[order[: SETTLING_BATCHES * batch]], batch)


def settle(network, images, batch):
    """Running statistics become means over batches with the final weights."""
    norms = [module for module in network if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for part in images.split(batch):
            network(part)
    for norm in norms:
        norm.momentum = 0.1


def write(network, example, path):
    names = {"input_names": ["input"], "output_names": ["output"]}
    batch = {"input": {0: "batch"}, "output": {0: "batch"}}
    torch.onnx.export(network.eval(), (example,), path, dynamic_axes=batch, dynamo=False, **names)


dense, folder, mean, deviation, positions, epochs, peak, seed, output, *wanted = sys.argv[1:]
network = read_network(dense).to(memory_format=torch.channels_last)
teacher = copy.deepcopy(network).eval()
with open(positions) as file:
    images, labels = read_images(folder, float(mean), float(deviation), json.load(file))
images = images.contiguous(memory_format=torch.channels_last)
example = images[:1]
made = []
for position, goal in enumerate(map(int, wanted), 1):
    start = time.perf_counter()
    judge(network, images, labels)
    judging = time.perf_counter() - start
    ratio = ratio_for(network, example, goal)
    removals = [pruned(network, example, ratio)[1] for _ in range(ROUNDS)]
    network, _ = pruned(network, example, ratio)
    start = time.perf_counter()
    train(network, teacher, images, labels, int(epochs), float(peak), int(seed) + position)
    fine_tuning = time.perf_counter() - start
    path = f"{output}/network-{position}.onnx"
    write(network, example, path)
    made.append(
        {
            "path": path,
            "macs": macs(network, example),
            "judgingSeconds": judging,
            "removalSeconds": statistics.median(removals),
            "fineTuningSeconds": fine_tuning,
        }
    )
print(json.dumps(made))
