#!/usr/bin/env bash
# Installs the servers that serving is compared with, each in an environment of its own below the folder that is named.
# Triton embeds an interpreter that starts with the standard library of Debian's Python, and not with that of a later 3.11.
# The ONNX Runtime is the runtime's own build, except for Triton's environment, whose NumPy is older.
set -euo pipefail
environments=$1
install() {
    local environment=$environments/$1 python=$2
    [ "$(cat "$environment/installed" 2>/dev/null)" = "$*" ] && return
    echo "installing $*"
    rm -rf "$environment"
    "$python" -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "${@:3}"
    echo "$*" >"$environment/installed"
}
install plain python3 fastapi==0.163.2 'uvicorn[standard]==0.54.0' numpy onnxruntime==1.31.1
install mlserver python3 mlserver==1.7.1 onnxruntime==1.31.1
install triton /usr/bin/python3 nvidia-pytriton==0.7.0 onnxruntime==1.31.1
