#!/usr/bin/env bash
# Installs libtorch 2.13.0 for the CPU into DIRECTORY, from the wheel that PyPI has: a CUDA build, of which only three
# libraries and the headers are kept. The 27 CUDA functions that libtorch_cpu.so names (and never calls without a GPU)
# become stubs of 15 kB. No Python is needed afterwards.
#
# usage: install-libtorch.sh DIRECTORY
set -euo pipefail
version=2.13.0
sha256=60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7
directory=$1
[ "$(cat "$directory/build-version" 2>/dev/null)" = "$version" ] && exit 0

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
echo "libtorch $version: downloading 527 MB" >&2
echo "torch==$version --hash=sha256:$sha256" >"$work/requirements.txt"
python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: --python-version 3.11 \
  --platform manylinux_2_28_x86_64 --dest "$work" --requirement "$work/requirements.txt"

rm -rf "$directory.partial"; mkdir -p "$directory.partial"
python3 - "$work"/torch-*.whl "$directory.partial" <<'PYTHON'
import os, sys, zipfile
wheel, target = sys.argv[1:]
unwanted = ("cuda", "nvshmem", "python", "cusparselt", "cupti", "nccl", "caffe2_nvrtc", "libshm", "global_deps")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.startswith("torch/include/") and not name.endswith("/"):
            to = name.removeprefix("torch/")
        elif name.startswith(("torch/lib/", "torch.libs/")) and ".so" in name and not any(word in name for word in unwanted):
            to = "lib/" + os.path.basename(name)
        else:
            continue
        path = os.path.join(target, to)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with archive.open(name) as source, open(path, "wb") as sink:
            while block := source.read(1 << 20):
                sink.write(block)
PYTHON

lib=$directory.partial/lib
nm -D --undefined-only "$lib/libtorch_cpu.so" | awk '/@libcu[a-z]+\.so/ {split($2, a, "@"); print a[1], a[2]}' | sort -u >"$work/symbols"
for so in $(awk '{print $2}' "$work/symbols" | sort -u); do
  awk -v so="$so" '$2 == so {print "int " $1 "(void){return 999;}"}' "$work/symbols" >"$work/stub.c" # 999: cudaErrorUnknown
  echo "$so { global: *; };" >"$work/stub.map"
  gcc -O1 -shared -fPIC -w -fno-builtin -o "$lib/$so" "$work/stub.c" "-Wl,-soname,$so" "-Wl,--version-script=$work/stub.map"
done
gcc -shared -fPIC -o "$lib/libtorch.so" -xc /dev/null -Wl,-soname,libtorch.so -Wl,--no-as-needed "-L$lib" -ltorch_cpu \
  '-Wl,-rpath,$ORIGIN' -Wl,--allow-shlib-undefined
strip --strip-unneeded "$lib/libtorch_cpu.so"

echo "$version" >"$directory.partial/build-version"
rm -rf "$directory"; mv "$directory.partial" "$directory"
