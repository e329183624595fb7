#!/usr/bin/env bash
# setup-libtorch.sh [DIR]: CPU libtorch 2.11.0 for tch 0.24, taken from PyPI wheels with pip; about 544 MB to
# download, 498 MB on disk. Does nothing when DIR already holds it. Afterwards: source DIR/env.sh
#
# Whoever has libtorch 2.11.0 or Python's torch 2.11.0 already needs none of this: set LIBTORCH, or
# LIBTORCH_USE_PYTORCH=1, as tch documents.
set -euo pipefail

version=2.11.0
dir=${1:-${LIBTORCH_DIR:-$HOME/.cache/libtorch-$version-cpu}}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
stamp=$dir/.ok-$version-1

for tool in python3 gcc g++ ldd; do
    command -v "$tool" >/dev/null || { echo "missing: $tool (apt-get install build-essential python3-pip)" >&2; exit 1; }
done

fetch() {
    local tmp=$1
    # The hashes pin the content; cp311 is named so that any python3 fetches the same files.
    cat > "$tmp/requirements.txt" <<'R'
torch==2.11.0 --hash=sha256:7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti==13.0.85 --hash=sha256:4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
R
    python3 -m pip download -q --disable-pip-version-check --no-deps --no-cache-dir --only-binary=:all: \
        --implementation cp --python-version 3.11 --abi cp311 --abi none \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux2014_x86_64 \
        --require-hashes -r "$tmp/requirements.txt" -d "$tmp"
    python3 - "$tmp" "$dir" <<'P'
import glob
import os
import sys
import zipfile

tmp, out = sys.argv[1:]
# This wheel's libtorch_cpu.so needs libcudart and libcupti only; the parts that need all of CUDA stay out.
keep = (
    "torch/lib/libtorch_cpu.so",
    "torch/lib/libc10.so",
    "torch/lib/libgomp.so.1",
    "torch/version.py",
    "nvidia/cu13/lib/libcudart.so.13",
    "nvidia/cu13/lib/libcupti.so.13",
)
for wheel in glob.glob(tmp + "/*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for item in archive.infolist():
            name = item.filename
            if name in keep or (name.startswith("torch/include/") and not item.is_dir()):
                archive.extract(item, out)
missing = [name for name in keep if not os.path.exists(os.path.join(out, name))]
if missing:
    sys.exit(f"not in the wheels: {missing}")
P
    # torch-sys always links -ltorch: an empty library that only pulls in the two real ones.
    echo 'int aesa_libtorch_stub;' > "$tmp/stub.c"
    gcc -shared -fPIC -Wl,-soname,libtorch.so -o "$dir/torch/lib/libtorch.so" "$tmp/stub.c" -Wl,--no-as-needed \
        -L"$dir/torch/lib" -l:libtorch_cpu.so -l:libc10.so -Wl,-rpath,'$ORIGIN' -Wl,--allow-shlib-undefined
    echo "$version" > "$dir/torch/build-version"
    if ldd "$dir/torch/lib/libtorch.so" "$dir/torch/lib/libtorch_cpu.so" | grep 'not found'; then
        echo 'libtorch has unresolved libraries' >&2
        exit 1
    fi
}

if [ ! -e "$stamp" ]; then
    tmp=$(mktemp -d "$dir/.download.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    fetch "$tmp"
    touch "$stamp"
fi

cat > "$dir/env.sh" <<E
export LIBTORCH="$dir/torch"
case ":\${LD_LIBRARY_PATH:-}:" in *":$dir/torch/lib:"*) ;; *) export LD_LIBRARY_PATH="$dir/torch/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}";; esac
# libgomp's spinning costs more than it saves on shared cores
export OMP_WAIT_POLICY=\${OMP_WAIT_POLICY:-PASSIVE}
E
echo "libtorch $version (CPU) is in $dir; now: source $dir/env.sh"
