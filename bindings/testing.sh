# testing.sh: what the test.sh of all bindings have in common. They source it with `here`, their own folder, and `log`, a file for what a command says.
# All but the web's, which is always a release, build with the Cargo profile that PROFILE names; release unless it is set.
passed=0
failed=0

# Runs a check: a name, then a command.
check() {
    local name=$1
    shift
    if "$@" > "$log" 2>&1; then
        passed=$((passed + 1))
        echo "ok: $name: $(tail -n 1 "$log")"
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        tail -n 60 "$log"
    fi
}

# Block number $2 in the language $1 of the README, or of the file $3.
readme_block() {
    awk -v first="\`\`\`$1" -v number="$2" '$0 == first && ++seen == number { on = 1; next } /^```$/ { if (on) exit } on' "${3:-$here/README.md}"
}

# Installs Debian packages.
apt_install() {
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" > /dev/null
}

# The last line; fails if a check has.
report() {
    local result=ok
    [ "$failed" = 0 ] || result=FAILED
    echo "test result: $result. $passed passed; $failed failed"
    [ "$failed" = 0 ]
}
