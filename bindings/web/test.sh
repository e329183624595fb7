#!/usr/bin/env bash
# test.sh: builds the npm package and the page, and tests them in Node and in headless Chromium.
#
# Fetches what is missing: Rust's target wasm32-unknown-unknown (rustup), Chromium (apt-get; CHROMIUM=PATH names another), puppeteer-core
# and typescript (npm). Without Node 20 nothing can run, without Chromium the page's tests cannot; both are said as `skipped: REASON`.
# LINT=1 also lints what is compiled for WebAssembly alone. Ends with `test result: ... N passed; M failed`.
set -euo pipefail
case ${1:-} in -*) sed -n '2,6s/^# \?//p' "$0"; exit 2 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${CARGO_TARGET_DIR:-$root/target}/web
export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
mkdir -p "$out"
log=$out/log
# shellcheck source=bindings/testing.sh
. "$root/bindings/testing.sh"

skip_all() {
    echo "skipped: $*"
    report
    exit
}

# A file of Node's test runner; its tests are counted one by one.
node_tests() {
    local status=0
    node --test --test-reporter=tap "$here/tests/$1" > "$log" 2>&1 || status=$?
    grep -E '^(ok|not ok) ' "$log" | sed -E 's/^ok [0-9]+ -/ok:/; s/^not ok [0-9]+ -/FAILED:/'
    local good bad
    good=$(sed -n 's/^# pass //p' "$log")
    bad=$(sed -n 's/^# fail //p' "$log")
    passed=$((passed + ${good:-0}))
    failed=$((failed + ${bad:-1}))
    [ "$status" = 0 ] || { sed -n '/^not ok/,/^  \.\.\.$/p' "$log" | head -n 120; [ "${bad:-1}" != 0 ] || failed=$((failed + 1)); }
}

install_target() {
    rustup target list --installed 2> /dev/null | grep -qx wasm32-unknown-unknown ||
        ls "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib/"libcore-*.rlib > /dev/null 2>&1 ||
        rustup target add wasm32-unknown-unknown
}

install_chromium() {
    [ -x "$CHROMIUM" ] && return
    apt_install chromium
}

install_npm_packages() {
    local lock=$here/tests/package-lock.json
    cmp -s "$lock" "$here/tests/node_modules/.installed" && return
    (cd "$here/tests" && npm ci --silent --no-audit --no-fund) && cp "$lock" "$here/tests/node_modules/.installed"
}

# The kernels' own tests as WebAssembly: every table against the scalar one.
kernel_suite() {
    local module
    module=$(CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C target-feature=+simd128" \
        cargo test --release --locked --manifest-path "$root/Cargo.toml" -p aesa-kernels --lib --no-run \
        --target wasm32-unknown-unknown --target-dir "$out/simd" --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\.wasm\)".*/\1/p')
    node "$here/tests/run-wasm-tests.mjs" "$module" &&
        echo "$(cat $(find "$root/engine/kernels/src" -name '*.rs') | grep -c '#\[test\]') tests, every table against the scalar one"
}

# What is compiled for WebAssembly alone escapes the workspace's lints.
lints() {
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C target-feature=+simd128" \
        cargo clippy --release --locked --manifest-path "$root/Cargo.toml" -p aesa-kernels -p aesa-web \
        --target wasm32-unknown-unknown --target-dir "$out/simd" -- -D warnings
}

# The README's commands and its program, as they stand, but that what is built is not built again.
quick_start() {
    local folder=$out/quick-start
    rm -rf "$folder" && mkdir -p "$folder/target" && cd "$folder"
    ln -s "$root/models" models && ln -s "$out" target/web
    readme_block sh 1 | grep -v 'bindings/web/build.sh' > install.sh
    echo "cd web-quick" | cat - <(readme_block sh 2) > run.sh
    bash -e install.sh && readme_block js 1 > web-quick/quick.mjs
    bash -e run.sh > printed && [ "$(grep -c ' s: PQ ' printed)" -gt 20 ] && tail -n 1 printed | grep '^clip: PQ '
}

install_package() {
    rm -rf "$out/user" && mkdir -p "$out/user" && cd "$out/user"
    echo '{ "private": true, "type": "module" }' > package.json
    npm install --silent --no-audit --no-fund "$out"/aesa-*.tgz && ls node_modules/aesa | paste -sd' '
}

types_hold() {
    cd "$out/user" && cp "$here/tests/types.ts" . &&
        "$here/tests/node_modules/.bin/tsc" --noEmit --strict --target es2022 --lib es2022,dom --module nodenext types.ts && echo "tsc is content"
}

# What the starter and the engine take, so that it does not grow unseen.
is_small() {
    local bytes
    bytes=$(stat -c %s "$out/aesa/aesa_web_bg.wasm")
    echo "$bytes bytes"
    [ "$bytes" -lt 2000000 ]
}

command -v node > /dev/null || skip_all "Node is not installed"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || skip_all "Node is older than 20"
command -v npm > /dev/null || skip_all "npm is not installed"
install_target || skip_all "Rust's target wasm32-unknown-unknown cannot be installed here"
install_npm_packages || skip_all "puppeteer-core and typescript cannot be installed here"
"$here/build.sh"

check "the kernels' suite as WebAssembly" kernel_suite
[ -z "${LINT:-}" ] || check "lints" lints
check "the module's size" is_small
check "the package is installed" install_package
check "its types" types_hold
check "the README's quick start in Node" quick_start
node_tests node.test.mjs
node_tests files.test.mjs
if install_chromium; then
    node_tests page.test.mjs
else
    echo "skipped: Chromium cannot be installed here"
fi
report
