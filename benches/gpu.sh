#!/usr/bin/env bash
# What is checked and measured on a GPU, in two parts, so that nothing is built where the GPU is:
#
#   benches/gpu.sh prepare [sm_90]   anywhere: release binaries into target/gpu; with an architecture all kernels, too (some hundred MB,
#                                    needs NVRTC: tests/emulator/nvrtc.sh), for a machine that has no NVRTC of its own
#   benches/gpu.sh run [OUT]         where the GPU is, with the repository and target/gpu: checks, then times, a table into OUT
#
# The comparison needs a python3 with PyTorch for CUDA (PYTHON names another).
set -uo pipefail
cd "$(dirname "$0")/.."
here=target/gpu
export FGC_CACHE_DIR="$PWD/$here/cache"
benches=(cm-mlp dmd2-mlp cm-unet dmd2-unet meanflow-dit self-forcing-vdit)
large=(cm-edm scm-edm dmd2-edm meanflow-b2 meanflow-xl2 self-forcing-1b)

preset() { if [ -e "benches/$1.ron" ]; then echo "benches/$1.ron"; else echo "benches/gpu/$1.ron"; fi; }
method() { case $1 in self-forcing-*) echo self_forcing ;; *) echo "${1%%-*}" ;; esac; }

prepare() {
  set -e
  local arch=${1:-}
  mkdir -p "$here"
  if [ -z "${FGC_BIN:-}" ]; then
    cargo build --release -p fgc -p parity
    cp "${CARGO_TARGET_DIR:-target}"/release/{fgc,parity} "$here/"
  else
    cp "$FGC_BIN"/{fgc,parity} "$here/"
  fi
  strip "$here"/{fgc,parity}
  if [ -z "$arch" ]; then
    return
  fi
  # NVRTC itself stays here: only what it makes is carried.
  export FGC_CUDA_LIBS="${FGC_CUDA_LIBS:-${XDG_CACHE_HOME:-$HOME/.cache}/fgc/cuda}"
  for bench in "${benches[@]}" "${large[@]}"; do
    for precision in f32 tf32 bf16; do
      echo "$bench, $precision"
      "$here/fgc" build "methods/$(method "$bench").fg" --preset "$(preset "$bench")" \
        --emit cubin --arch "$arch" --precision "$precision" | tail -1
    done
  done
  "$here/parity" --backend cuda --cubins "$arch" tests/cases/*/ | grep -v "kernels are in the cache" || true
  du -sh "$here"
}

run() {
  local out=${1:-${OUT:-$here/out}} python=${PYTHON:-python3} failed=0
  mkdir -p "$out"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$out/gpu.txt"
  # PyTorch's wheels bring cuBLASLt and cuDNN.
  local packages
  packages=$("$python" -c "import sysconfig; print(sysconfig.get_paths()['purelib'])" 2>/dev/null)
  export FGC_CUDA_LIBS="${FGC_CUDA_LIBS:+$FGC_CUDA_LIBS:}$packages"
  "$here/fgc" doctor | tee "$out/doctor.txt"

  # With NVIDIA's libraries for products and convolutions, and with functions of our own alone.
  for libraries in 1 0; do
    echo "== recorded steps on the GPU, FGC_LIBRARIES=$libraries"
    FGC_LIBRARIES=$libraries "$here/parity" --backend cuda tests/cases/*/ >"$out/parity-$libraries.txt" 2>&1 || failed=1
    tail -1 "$out/parity-$libraries.txt"
    grep -E "^(WRONG|ERROR)" -A5 "$out/parity-$libraries.txt" | head -40
  done

  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
      echo "== compute-sanitizer, $tool"
      for case in cm-cd-mlp dmd2-student-unet self-forcing-student-vdit; do
        compute-sanitizer --tool "$tool" --error-exitcode 9 "$here/parity" --backend cuda "tests/cases/$case" \
          >"$out/$tool-$case.txt" 2>&1 || { failed=1; echo "$case fails"; grep -m5 "=====" "$out/$tool-$case.txt"; }
      done
    done
  fi

  echo "== times"
  local modes=eager,compile
  "$python" -c "import torch; assert torch.cuda.is_available()" 2>/dev/null || modes=
  for precision in tf32 bf16; do
    "$python" benches/compare.py --fgc "$here/fgc" --python "$python" --device cuda --precision "$precision" \
      --modes "$modes" --rounds 3 --seconds 2 --wait 0 --out "$out/times-$precision.json" \
      "${benches[@]}" "${large[@]}" >"$out/times-$precision.txt" 2>&1 || failed=1
    sed -n '/^|/p' "$out/times-$precision.txt"
  done
  echo "== times without libraries"
  for bench in "${benches[@]}" "${large[@]}"; do
    FGC_LIBRARIES=0 "$here/fgc" bench "$(preset "$bench")" --device cuda --precision bf16 --warm --steps 20 \
      >>"$out/times-bf16-own.txt" 2>&1 || failed=1
  done
  grep -E "^[a-z]|step " "$out/times-bf16-own.txt"
  echo "== where the time goes: each launch by itself, beside what an H200 needs for its bytes and arithmetic"
  for bench in "${large[@]}"; do
    "$here/fgc" bench "$(preset "$bench")" --device cuda --precision bf16 --warm --steps 20 --profile 30 \
      >"$out/profile-$bench.txt" 2>&1 || failed=1
    sed -n '/^ *ms /,+8p' "$out/profile-$bench.txt" | cut -c1-120
  done
  return $failed
}

case ${1:-} in
  prepare) shift; prepare "$@" ;;
  run) shift; run "$@" ;;
  *) sed -n '2,10p' "$0"; exit 2 ;;
esac
