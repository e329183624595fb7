#!/usr/bin/env bash
# test.sh: builds the wheel, installs it, and runs everything that uses it.
#
# In an environment under target/python-binding: the tests with pytest (conformance, arrays, models, streams, threads), mypy over the package,
# its stubs and the example, the examples with pandas and Ray over a folder of clips; and the README's quick start, as it stands, in an environment of
# its own. PYTHONS="python3.9 python3.13" tests the same wheel with these interpreters, too. Needs Rust, a C compiler and python3 with venv; pip
# fetches the rest (what it cannot is `skipped: REASON`). Ends with `test result: ... N passed; M failed`.
set -euo pipefail
case ${1:-} in -*) sed -n '2,7s/^# \?//p' "$0"; exit 2 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${CARGO_TARGET_DIR:-$root/target}/python-binding
bin=$work/venv/bin
mkdir -p "$work"
log=$work/log
# shellcheck source=bindings/testing.sh
. "$root/bindings/testing.sh"
export PIP_DISABLE_PIP_VERSION_CHECK=1
export MATURIN_PEP517_ARGS="--profile ${PROFILE:-release}"  # of the quick start

# Runs pytest with an interpreter, and counts its tests: `pytest NAME PYTHON`.
pytest() {
    local name=$1 python=$2 last num_failed
    (cd "$here" && "$python" -m pytest -q -p no:cacheprovider) > "$work/pytest" 2>&1 || true
    last=$(tail -n 1 "$work/pytest")
    passed=$((passed + $(count passed "$last")))
    num_failed=$(($(count failed "$last") + $(count 'errors?' "$last")))
    # Tests that did not even begin.
    [[ $last == *passed* ]] || num_failed=$((num_failed + 1))
    failed=$((failed + num_failed))
    [ "$num_failed" = 0 ] || cat "$work/pytest"
    echo "$([ "$num_failed" = 0 ] && echo ok || echo FAILED): $name: $last"
}

count() { grep -oE "[0-9]+ $1" <<< "$2" | grep -oE '[0-9]+' || echo 0; }

install_packages() {
    python3 -c 'import venv, ensurepip' 2> /dev/null && return
    apt_install python3 python3-venv
}

build() {
    rm -rf "$work/wheels"
    (cd "$here" && "$bin/maturin" build --profile "${PROFILE:-release}" --locked --out "$work/wheels")
    "$bin/pip" install -q --force-reinstall --no-deps "$work"/wheels/*.whl
}

quick_start() {
    local folder=$work/quick-start
    rm -rf "$folder" && mkdir -p "$folder" && cd "$folder" && ln -s "$root/models" "$root/bindings" .
    readme_block sh 1 > install.sh
    readme_block python 1 > quick.py
    readme_block sh 2 > run.sh
    bash -e install.sh
    bash -e run.sh > out
    cat out
    [ "$(grep -c ' s: PQ ' out)" -gt 20 ] && grep -q '^file: PQ ' out && grep -q '^array: PQ ' out && tail -n 1 out | grep '^stream: PQ '
}

# A folder of clips, each eight times, and one that is no audio.
make_folder() {
    local file i
    rm -rf "$work/folder" && mkdir -p "$work/folder"
    for file in "$root"/models/starter/golden/*.{wav,flac,ogg,mp3,m4a} "$root"/tests/conformance/clips/*.wav; do
        for i in 1 2 3 4 5 6 7 8; do ln -s "$file" "$work/folder/$i-$(basename "$file")"; done
    done
    echo "no audio" > "$work/folder/bad.wav"
}

score_example() { "$bin/python" "$here/examples/score.py" "$root"/tests/conformance/clips/*.wav; }

score_example_fails() {
    local status=0
    "$bin/python" "$here/examples/score.py" "$work/folder/bad.wav" "$root/none.wav" || status=$?
    [ "$status" = 1 ] && echo "exit code 1"
}

pandas_page() { cd "$root" && readme_block python 1 "$here/RAY.md" | "$bin/python" -; }
with_pandas() { "$bin/python" "$here/examples/pandas_folder.py" "$work/folder" "$work/scores.csv"; }

with_ray() {
    rm -rf "$work/scores"
    RAY_USAGE_STATS_ENABLED=0 timeout 900 "$bin/python" "$here/examples/ray_folder.py" "$work/folder" "$work/scores"
}

other_python() {
    local venv=$work/venv-$(basename "$1")
    [ -x "$venv/bin/python" ] || "$1" -m venv "$venv" || return 1
    "$venv/bin/pip" install -q numpy pytest && "$venv/bin/pip" install -q --force-reinstall --no-deps "$work"/wheels/*.whl
}

install_packages
[ -x "$bin/python" ] || python3 -m venv "$work/venv"
"$bin/pip" install -q -r "$here/tests/requirements.txt"
check "the wheel is built and installed" build
pytest "pytest" "$bin/python"
check "mypy, the package" "$bin/mypy" --config-file "$here/pyproject.toml" -p aesa
check "mypy, the stubs against the library" "$bin/stubtest" aesa --mypy-config-file "$here/pyproject.toml"
check "mypy, examples/score.py" "$bin/mypy" --config-file "$here/pyproject.toml" "$here/examples/score.py"
check "the README's quick start" quick_start
make_folder
check "examples/score.py" score_example
check "examples/score.py, bad files" score_example_fails
if "$bin/pip" install -q -r "$here/examples/requirements.txt"; then
    check "RAY.md's table" pandas_page
    check "examples/pandas_folder.py" with_pandas
    check "examples/ray_folder.py" with_ray
    check "pandas and Ray agree" "$bin/python" "$here/tests/same_scores.py" "$work/scores.csv" "$work/scores"
else
    echo "skipped: pandas and Ray cannot be installed here"
fi
for python in ${PYTHONS:-}; do
    if other_python "$python" > "$log" 2>&1; then
        pytest "pytest, $python" "$work/venv-$(basename "$python")/bin/python"
    else
        echo "skipped: $python: $(tail -n 1 "$log")"
    fi
done
ls -l "$work"/wheels/*.whl | awk '{ print "wheel: " $5 " bytes" }'

report
