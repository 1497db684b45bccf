#!/usr/bin/env bash
# Puts NVRTC, from NVIDIA's wheel on PyPI, where fgc looks for it: the cache directory. Needs pip, or python3 to get it.
set -euo pipefail
version=12.9.86
cache="${FGC_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/fgc}/cuda"
if compgen -G "$cache/nvidia/cuda_nvrtc/lib/libnvrtc.so*" >/dev/null; then
  exit 0
fi
wheel=$(mktemp -d)
trap 'rm -rf "$wheel"' EXIT
python3 -m pip download --quiet --no-deps --only-binary=:all: --platform manylinux2014_x86_64 \
  --dest "$wheel" "nvidia-cuda-nvrtc-cu12==$version"
mkdir -p "$cache"
python3 -m zipfile -e "$wheel"/*.whl "$cache"
