#!/usr/bin/env bash
# What is checked and measured on a GPU, in two halves, so that nothing is built where the GPU is.
#
# Anywhere:
#   benches/gpu.sh prepare [sm_90]     release binaries, and losses and gradients of the small benches on the CPU, into target/gpu; with
#                                      an architecture all kernels, too (some hundred MB, needs NVRTC: tests/emulator/nvrtc.sh), for
#                                      a machine that has no NVRTC of its own
# Where the GPU is, with the repository and, in target/gpu, fgc, parity and reference (cache and results grow there):
#   benches/gpu.sh check [OUT] [BENCH...]      recorded steps, then first steps of whole benches, with libraries and without, by precision
#   benches/gpu.sh sanitize [OUT]              recorded steps under compute-sanitizer
#   benches/gpu.sh times [OUT] [--precision P] [BENCH...]      beside PyTorch; the small benches first
#   benches/gpu.sh profile [OUT] [BENCH...]    where the time goes, each launch by itself
#   benches/gpu.sh run [OUT]                   all four in this order
#
# What is found goes to target/gpu/results, and after each step, packed, to OUT: summary.txt and results.tar.gz. So a command that is
# cut off may be given again: it goes on with what has not gone well so far. AGAIN=1 does all of it anew, and so does another binary.
# Benches that are named are measured anew.
#
# LIMIT: seconds that one case, bench or profile may take (240). PYTHON: a python3, with PyTorch for the comparison. MODES: how PyTorch
# runs (eager,compile,reduce-overhead). ROUNDS: measurements of each side (2).
set -uo pipefail
cd "$(dirname "$0")/.." || exit
here=target/gpu
results=$here/results
reference=$here/reference
LIMIT=${LIMIT:-240}
AGAIN=${AGAIN:-}
PYTHON=${PYTHON:-python3}
small=(cm-mlp dmd2-mlp cm-unet dmd2-unet meanflow-dit self-forcing-vdit)
large=(cm-edm scm-edm dmd2-edm meanflow-b2 meanflow-xl2 self-forcing-1b)

preset() { if [ -e "benches/$1.ron" ]; then echo "benches/$1.ron"; else echo "benches/gpu/$1.ron"; fi; }
method() { case $1 in self-forcing-*) echo self_forcing ;; *) echo "${1%%-*}" ;; esac; }
is_bench() { case " ${small[*]} ${large[*]} " in *" $1 "*) true ;; *) false ;; esac; }
is_small() { case " ${small[*]} " in *" $1 "*) true ;; *) false ;; esac; }
limited() { timeout -k 15 "$LIMIT" "$@"; }
# What an exit status of `limited` says.
ended() { case $1 in 124 | 137) echo "stopped after $LIMIT s" ;; *) echo "exit status $1" ;; esac; }
own_cache() { export FGC_CACHE_DIR="$PWD/$here/cache"; }

# --- Anywhere

prepare() {
  local arch=${1:-} from bench precision failed=0
  mkdir -p "$here" "$reference"
  if [ -z "${FGC_BIN:-}" ]; then
    cargo build --release -p fgc -p parity || return 1
    from=${CARGO_TARGET_DIR:-target}/release
  else
    from=$FGC_BIN
  fi
  cp "$from"/{fgc,parity} "$here/" && strip "$here"/{fgc,parity} || return 1
  references || failed=1
  if [ -n "$arch" ]; then
    # NVRTC itself stays here: only what it makes is carried.
    own_cache
    export FGC_CUDA_LIBS="${FGC_CUDA_LIBS:-${XDG_CACHE_HOME:-$HOME/.cache}/fgc/cuda}"
    for precision in f32 tf32 bf16; do
      for bench in "${small[@]}" "${large[@]}"; do
        echo "$bench, $precision"
        "$here/fgc" build "methods/$(method "$bench").fg" --preset "$(preset "$bench")" \
          --emit cubin --arch "$arch" --precision "$precision" | tail -1
      done
      "$here/parity" --methods methods --backend cuda --precision "$precision" --cubins "$arch" tests/cases/*/ |
        grep -v "kernels are in the cache"
    done
  fi
  sizes "$arch"
  return $failed
}

# What the CPU says of the small benches' first steps; kept as long as the binary is the same.
references() {
  local bench file binary
  binary=$(sha256sum <"$here/fgc")
  if [ "$binary" != "$(cat "$reference/binary" 2>/dev/null)" ]; then
    rm -f "$reference"/*.json
  fi
  echo "$binary" >"$reference/binary"
  for bench in "${small[@]}"; do
    file=$reference/$bench.json
    [ -s "$file" ] && continue
    echo "reference: $bench"
    limited "$here/fgc" bench "$(preset "$bench")" --steps 1 --warm --json >"$file.new" || { ended $?; rm "$file.new"; return 1; }
    grep -q '"grad_norms"' "$file.new" || { echo "this fgc tells no losses and gradients"; rm "$file.new"; return 1; }
    mv "$file.new" "$file"
  done
}

# What has to be carried to the GPU.
sizes() {
  local carried=("$here/fgc" "$here/parity" "$reference") repository all
  [ -n "${1:-}" ] && carried+=("$here/cache")
  du -sh "${carried[@]}"
  repository=$(git ls-files -co --exclude-standard -z | xargs -0 -r du -b 2>/dev/null | awk '{s += $1} END {print s + 0}')
  all=$(du -cb "${carried[@]}" | tail -1 | cut -f1)
  all=$(((all + repository) >> 20))
  echo "$((repository >> 20)) MiB of repository, $all MiB together"
  if [ "$all" -gt 60 ]; then
    echo "warning: more than 60 MiB is much to carry"
  fi
}

# --- What is known so far: a line for each thing done, in results/notes/PART/KEY, which begins with ok, FAIL or -

note() { # PART KEY STATUS TEXT
  local text
  text=$(echo "$4" | tr -s ' ' | sed 's/^ //; s/[; ]*$//')
  mkdir -p "$results/notes/$1"
  echo "$3 $text" >"$results/notes/$1/$2"
  printf '%-5s %s %s: %s\n' "$3" "$1" "$2" "$text"
  pack
}

# Whether to do something in the first or second turn: what went well before is not done again, what did not go well then comes
# after what was not tried yet.
declare -A tried
due() { # PART KEY TURN
  local before=$results/notes/$1/$2
  if [ -z "$AGAIN" ] && [ -e "$before" ]; then
    grep -q '^ok' "$before" && return 1
    [ "$3" = 1 ] && return 1
  fi
  [ -z "${tried[$2]:-}" ] && tried[$2]=1
}

count() { cat "$results/notes/$1"/* 2>/dev/null | grep -c -e "^$2"; }

summary() {
  local part file
  cat "$results/gpu.txt" 2>/dev/null
  for part in check sanitize times profile; do
    [ -d "$results/notes/$part" ] || continue
    echo
    echo "$part: $(count "$part" ok) ok, $(count "$part" FAIL) failed, $(count "$part" -) not run"
    for file in "$results/notes/$part"/*; do
      echo "  $(basename "$file"): $(head -1 "$file")"
    done
  done
  for file in "$results"/times-*.txt; do
    [ -e "$file" ] || continue
    printf '\n%s\n\n' "$(basename "$file" .txt)"
    cat "$file"
  done
}

# Few files come back where it is cut off: all in one, replaced whole.
pack() {
  summary >"$out/.summary" && mv "$out/.summary" "$out/summary.txt"
  tar -C "$here" -czf "$out/.results" results && mv "$out/.results" "$out/results.tar.gz"
}

# The end of a part: how it went, and whether without failures.
close() {
  pack
  echo "$1: $(count "$1" ok) ok, $(count "$1" FAIL) failed, $(count "$1" -) not run; see $out/summary.txt"
  [ "$(count "$1" FAIL)" = 0 ]
}

# --- Where the GPU is

# Arguments of a part: [OUT], [--precision P], [BENCH...].
arguments() {
  out='' precisions=(tf32 bf16) named=()
  while [ $# -gt 0 ]; do
    if [ "$1" = --precision ]; then
      case ${2:-} in f32 | tf32 | bf16) precisions=("$2") ;; *) echo "--precision f32|tf32|bf16" >&2; exit 2 ;; esac
      shift
    elif is_bench "$1"; then
      named+=("$1")
    elif [ -z "$out" ] && [ -n "$1" ] && [ "${1#-}" = "$1" ] && [ ${#named[@]} = 0 ]; then
      out=$1
    else
      echo "there is no bench $1: ${small[*]} ${large[*]}" >&2
      exit 2
    fi
    shift
  done
  out=${out:-${OUT:-$here/out}}
  mkdir -p "$out" "$results" || exit 1
}

# Libraries, a cache of its own, and results that are this binary's.
begin() {
  local binary packages
  [ -x "$here/fgc" ] && [ -x "$here/parity" ] || { echo "$here has no fgc and parity: benches/gpu.sh prepare makes them" >&2; exit 1; }
  own_cache
  binary=$(cat "$here/fgc" "$here/parity" | sha256sum)
  if [ -e "$results/binary" ] && [ "$binary" != "$(cat "$results/binary")" ]; then
    echo "other binaries: earlier results are in $results.before"
    rm -rf "$results.before"
    mv "$results" "$results.before"
    mkdir -p "$results"
  fi
  echo "$binary" >"$results/binary"
  # PyTorch's wheels bring NVRTC, cuBLASLt and cuDNN.
  packages=$("$PYTHON" -c "
import importlib.util as u, os
s = u.find_spec('nvidia')
print(':'.join(os.path.dirname(p) for p in s.submodule_search_locations) if s else '')" 2>/dev/null)
  if [ -n "$packages" ]; then
    export FGC_CUDA_LIBS="${FGC_CUDA_LIBS:+$FGC_CUDA_LIBS:}$packages"
  fi
  timeout 30 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >"$results/gpu.txt" 2>&1 ||
    echo "nvidia-smi tells nothing" >"$results/gpu.txt"
  cat "$results/gpu.txt"
}

check() {
  arguments "$@"
  begin
  doctor || { close check; return 1; }
  [ "$(sha256sum <"$here/fgc")" = "$(cat "$reference/binary" 2>/dev/null)" ] || echo "warning: $reference is not of this binary"
  local bench spec turn
  for bench in "${named[@]}"; do
    rm -f "$results/agree/$bench"-*
    agree "$bench"
  done
  for turn in 1 2; do
    [ ${#named[@]} = 0 ] || break
    # With NVIDIA's libraries for products and convolutions, and with functions of our own alone.
    for spec in f32-1 f32-0 tf32-1 bf16-1; do
      due check "recorded-$spec" $turn && recorded "${spec%-*}" "${spec#*-}"
    done
    for bench in "${small[@]}" "${large[@]}"; do
      due check "agree-$bench" $turn && agree "$bench"
    done
  done
  close check
}

doctor() {
  limited "$here/fgc" doctor >"$results/doctor.txt" 2>&1
  if grep -q '^NVRTC .*is not there' "$results/doctor.txt"; then
    echo "no NVRTC: trying pip"
    timeout "$LIMIT" "$PYTHON" -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 15 \
      --target "$FGC_CACHE_DIR/cuda" nvidia-cuda-nvrtc-cu12 nvidia-cublas-cu12 nvidia-cudnn-cu12 >"$results/pip.txt" 2>&1 ||
      echo "pip does not help, $(ended $?): $(tail -1 "$results/pip.txt")"
    limited "$here/fgc" doctor >"$results/doctor.txt" 2>&1
  fi
  cat "$results/doctor.txt"
  if grep -q '^GPU [0-9]' "$results/doctor.txt"; then
    note check doctor ok "$(grep -m1 '^GPU [0-9]' "$results/doctor.txt"); $(grep -m1 '^NVRTC' "$results/doctor.txt" | tr -s ' ')"
  else
    note check doctor FAIL "no GPU: $(grep -m1 '^GPU' "$results/doctor.txt" || tail -1 "$results/doctor.txt")"
    return 1
  fi
}

# All recorded steps, a few in a process: where one hangs or crashes, the rest goes on behind it.
recorded() { # PRECISION LIBRARIES
  local precision=$1 libraries=$2 key=recorded-$1-$2 file=$results/recorded-$1-$2.txt
  local left=() some=() dir name status stopped=0 at all=0 ok
  echo "== recorded steps, $precision, FGC_LIBRARIES=$libraries"
  touch "$file"
  # What agreed before is not run again.
  grep '^ok ' "$file" >"$file.new"
  [ -n "$AGAIN" ] && : >"$file.new"
  mv "$file.new" "$file"
  for dir in tests/cases/*/; do
    all=$((all + 1))
    said "$file" "$(basename "$dir")" || left+=("$dir")
  done
  while [ ${#left[@]} -gt 0 ]; do
    some=("${left[@]:0:8}")
    left=("${left[@]:8}")
    FGC_LIBRARIES=$libraries limited "$here/parity" --methods methods --backend cuda --precision "$precision" "${some[@]}" \
      >"$results/some.txt" 2>&1
    status=$?
    # Without the last line, and without what bash says of a crash.
    grep -v -e ' agree, .* do not' -e '^benches/gpu.sh: line' "$results/some.txt" >>"$file"
    rm -f "$results/some.txt"
    if [ $status = 2 ]; then # parity does not know an option
      break
    elif [ $status -lt 124 ]; then
      stopped=0
      pack
      continue
    fi
    for at in "${!some[@]}"; do
      name=$(basename "${some[$at]}")
      said "$file" "$name" && continue
      echo "ERROR $name  $(ended $status)" >>"$file"
      left=("${some[@]:at+1}" "${left[@]}")
      break
    done
    stopped=$((stopped + 1))
    if [ $stopped -ge 2 ]; then
      echo "ERROR two stopped in a row: the other ${#left[@]} are not tried" >>"$file"
      break
    fi
    pack
  done
  ok=$(grep -c '^ok ' "$file")
  if [ "$ok" = "$all" ]; then
    note check "$key" ok "all $all agree"
  else
    note check "$key" FAIL "$ok of $all agree; $(grep -v '^ok ' "$file" | head -3 | cut -c1-160 | tr -s ' ' | paste -sd';')"
    grep -v '^ok ' "$file" | head -40 | cut -c1-200
  fi
}

# Whether a case has its line in a file.
said() { awk -v name="$2" '$2 == name && /^(ok|WRONG|ERROR|-) / {found = 1} END {exit !found}' "$1"; }

# A bench's first step against the CPU's; of a large one against that in f32 without libraries.
agree() {
  local bench=$1 precision libraries file expected=$reference/$1.json files=() status last
  echo "== first step of $bench"
  mkdir -p "$results/agree"
  [ -n "$AGAIN" ] && rm -f "$results/agree/$bench"-*
  is_small "$bench" || expected=$results/agree/$bench-f32-0.json
  for precision in f32 tf32 bf16; do
    for libraries in 0 1; do
      file=$results/agree/$bench-$precision-$libraries.json
      if [ ! -s "$file" ]; then
        FGC_LIBRARIES=$libraries limited "$here/fgc" bench "$(preset "$bench")" --steps 1 --warm --json \
          --device cuda --precision "$precision" >"$file.new" 2>"${file%.json}.err"
        status=$?
        if [ $status = 0 ]; then
          mv "$file.new" "$file"
        else
          rm -f "$file.new"
          # Its own words last: they say what it was.
          [ -s "${file%.json}.err" ] && [ $status -lt 124 ] || ended $status >>"${file%.json}.err"
        fi
        pack
      fi
      [ "$file" = "$expected" ] || files+=("$file")
      # Nothing to compare the others with.
      [ "$file" != "$expected" ] || [ -s "$file" ] || break 2
    done
  done
  "$PYTHON" benches/agree.py "$expected" "${files[@]:-$expected}" >"$results/agree/$bench.txt" 2>&1
  status=$?
  cat "$results/agree/$bench.txt"
  last=$(grep -v '^ok' "$results/agree/$bench.txt" | head -2 | cut -c1-160 | tr -s ' ' | paste -sd';')
  case $status in
    0) note check "agree-$bench" ok "$(grep -c '^ok' "$results/agree/$bench.txt") agree" ;;
    3) note check "agree-$bench" - "not run: ${last#- }" ;;
    *) note check "agree-$bench" FAIL "$last" ;;
  esac
}

sanitize() {
  arguments "$@"
  begin
  local program tool case key file status turn
  program=$(PATH="$PATH:${CUDA_HOME:-/usr/local/cuda}/bin" command -v compute-sanitizer) || {
    note sanitize all - "not run: there is no compute-sanitizer"
    close sanitize
    return
  }
  rm -f "$results/notes/sanitize/all"
  for turn in 1 2; do
    for key in {memcheck,racecheck}-{cm-cd-mlp,dmd2-student-unet,self-forcing-student-vdit}; do
      tool=${key%%-*} case=${key#*-} file=$results/$key.txt
      due sanitize "$key" $turn || continue
      # Of functions of our own; libraries' are not ours to check.
      FGC_LIBRARIES=0 limited "$program" --tool "$tool" --error-exitcode 9 \
        "$here/parity" --methods methods --backend cuda --precision f32 "tests/cases/$case" >"$file" 2>&1
      status=$?
      if grep -qi "device not supported" "$file"; then
        note sanitize "$key" - "not run: compute-sanitizer does not support this device"
      elif [ $status = 0 ]; then
        note sanitize "$key" ok "$(grep -m1 -E 'SUMMARY' "$file" | tr -d '=' | tr -s ' ')"
      else
        note sanitize "$key" FAIL "$(ended $status); $(grep -m1 -E 'Invalid|hazard|ERROR SUMMARY' "$file" | tr -d '=' | cut -c1-160)"
        grep -A8 -m1 -E "Invalid|hazard|ERROR SUMMARY" "$file" || tail -3 "$file"
      fi
    done
  done
  close sanitize
}

times() {
  arguments "$@"
  begin
  local bench precision key keys=() log status turn modes=${MODES-eager,compile,reduce-overhead}
  if [ -n "$modes" ] && ! limited "$PYTHON" -c "import torch; assert torch.cuda.is_available()" 2>"$results/torch.txt"; then
    echo "no PyTorch for this GPU, fgc alone: $(tail -1 "$results/torch.txt")"
    modes=
  fi
  AGAIN=${AGAIN:-${named:+1}}
  [ ${#named[@]} -gt 0 ] || named=("${small[@]}" "${large[@]}")
  for bench in "${named[@]}"; do
    for precision in "${precisions[@]}"; do
      keys+=("$bench-$precision")
    done
  done
  for turn in 1 2; do
    for key in "${keys[@]}"; do
      precision=${key##*-} bench=${key%-*} log=$results/times-$key.log
      due times "$key" $turn || continue
      # An answer that does not come leaves time for the other sides.
      limited "$PYTHON" benches/compare.py --fgc "$here/fgc" --python "$PYTHON" --device cuda --precision "$precision" \
        --modes "$modes" --own --rounds "${ROUNDS:-2}" --seconds 2 --wait 0 --limit "$((LIMIT / 2))" \
        --out "$results/times-$precision.json" --keep "$bench" >"$log" 2>&1
      status=$?
      grep "^| $bench " "$results/times-$precision.txt" 2>/dev/null | awk -F'|' 'NF > 10'
      case $status in
        0) note times "$key" ok "$(grep -m1 "^$bench " "$log" | cut -d' ' -f2- | cut -c1-160)" ;;
        124 | 137) note times "$key" FAIL "$(ended $status); what was measured until then is kept" ;;
        *) note times "$key" FAIL "$( (grep -m1 "^$bench " "$log" || tail -1 "$log") | cut -d' ' -f2- | cut -c1-300)" ;;
      esac
    done
  done
  close times
}

profile() {
  arguments "$@"
  begin
  local bench file status turn
  AGAIN=${AGAIN:-${named:+1}}
  [ ${#named[@]} -gt 0 ] || named=("${large[@]}")
  echo "== where the time goes: each launch by itself, beside what an H200 needs for its bytes and arithmetic"
  for turn in 1 2; do
    for bench in "${named[@]}"; do
      due profile "$bench" $turn || continue
      file=$results/profile-$bench.txt
      limited "$here/fgc" bench "$(preset "$bench")" --device cuda --precision bf16 --warm --steps 20 --profile 30 >"$file" 2>&1
      status=$?
      sed -n '/^ *ms /,+8p' "$file" | cut -c1-120
      if [ $status = 0 ]; then
        note profile "$bench" ok "$(grep -m1 '^ *step ' "$file" | tr -s ' ')"
      else
        note profile "$bench" FAIL "$(ended $status); $(tail -1 "$file" | cut -c1-200)"
      fi
    done
  done
  close profile
}

run() {
  local failed=0 part
  arguments "$@"
  [ ${#named[@]} = 0 ] || { echo "run takes no benches: its parts do" >&2; exit 2; }
  for part in check sanitize times profile; do
    # A process for each, so that what ends one does not end the others.
    benches/gpu.sh "$part" "$out" || failed=1
  done
  cat "$out/summary.txt"
  return $failed
}

case ${1:-} in
  prepare | check | sanitize | times | profile | run) "$@" ;;
  *)
    sed -n '2,/^set /p' "$0" | sed '$d'
    exit 2
    ;;
esac
