#!/usr/bin/env bash
# Installs the servers that serving is compared with, each in an environment of its own below the folder that is named.
# The ONNX Runtime is the runtime's own build, except for Triton's environment, whose NumPy is older.
set -euo pipefail
environments=$1
install() {
    local environment=$environments/$1
    shift
    [ "$(cat "$environment/installed" 2>/dev/null)" = "$*" ] && return
    echo "installing $*"
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    echo "$*" >"$environment/installed"
}
install plain fastapi==0.163.2 'uvicorn[standard]==0.54.0' numpy onnxruntime==1.31.1
install mlserver mlserver==1.7.1 onnxruntime==1.31.1
install triton nvidia-pytriton==0.7.0 onnxruntime==1.31.1
