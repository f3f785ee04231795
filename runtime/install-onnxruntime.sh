#!/usr/bin/env bash
# Installs ONNX Runtime 1.31.1 (one shared library and its licences) into DIRECTORY, from the wheel that PyPI has.
#
# usage: install-onnxruntime.sh DIRECTORY
set -euo pipefail
version=1.31.1
sha256=5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f
directory=$1
[ -e "$directory/libonnxruntime.so.1" ] && exit 0

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
echo "ONNX Runtime $version: downloading" >&2
echo "onnxruntime==$version --hash=sha256:$sha256" >"$work/requirements.txt"
python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: --python-version 3.11 \
  --platform manylinux_2_28_x86_64 --dest "$work" --requirement "$work/requirements.txt"

rm -rf "$directory.partial"; mkdir -p "$directory.partial"
python3 - "$work"/onnxruntime-*.whl "$directory.partial" <<'PYTHON'
import os, sys, zipfile
wheel, target = sys.argv[1:]
wanted = {"onnxruntime/LICENSE": "LICENSE", "onnxruntime/ThirdPartyNotices.txt": "ThirdPartyNotices.txt"}
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.startswith("onnxruntime/capi/libonnxruntime.so."):
            wanted[name] = "libonnxruntime.so.1"
    for name, to in wanted.items():
        with open(os.path.join(target, to), "wb") as sink:
            sink.write(archive.read(name))
PYTHON
[ -e "$directory.partial/libonnxruntime.so.1" ] || { echo "ONNX Runtime $version: the wheel holds no libonnxruntime.so" >&2; exit 1; }
chmod +x "$directory.partial/libonnxruntime.so.1"
rm -rf "$directory"; mv "$directory.partial" "$directory"
