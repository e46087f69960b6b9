#!/usr/bin/env bash
# Runs every fuzz target with libFuzzer, each for as many seconds as the first argument says; more arguments name the targets to run.
# What it finds goes to target/cargo-fuzz/{corpus,artifacts}; a crash that is fixed belongs into fuzz/corpus/TARGET/.
# HEADWATER_FUZZ_SANITIZER: `address` (the default), `none` (faster), or another that the toolchain knows.
set -euo pipefail
cd "$(dirname "$0")/.."

usage='usage: scripts/fuzz.sh SECONDS [TARGET...]'
seconds=${1:?$usage}
case $seconds in
    *[!0-9]* | 0)
        # libFuzzer takes 0 for no end.
        echo "$usage" >&2
        exit 2
        ;;
esac
shift
sanitizer=${HEADWATER_FUZZ_SANITIZER:-address}
work=$PWD/target/cargo-fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
# A build for each sanitizer. `--release`: the merge engine as it ships; Headwater's own crates are checked by their profile.
options=(--fuzz-dir fuzz/cargo-fuzz --release --sanitizer "$sanitizer" --target "$triple" --target-dir "$work/build-$sanitizer")

if ! rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    echo 'installing the nightly toolchain'
    rustup toolchain install nightly --profile minimal
fi
if ! command -v cargo-fuzz >/dev/null; then
    echo 'installing cargo-fuzz'
    cargo install cargo-fuzz --locked
fi
# A lock file that does not fit is a failure of its own, before cargo-fuzz writes a new one.
cargo +nightly metadata --manifest-path fuzz/cargo-fuzz/Cargo.toml --locked --format-version 1 >/dev/null
cargo +nightly fuzz build "${options[@]}"

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    mapfile -t targets < <(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' fuzz/cargo-fuzz/Cargo.toml)
fi
crashed=0
for target in "${targets[@]}"; do
    found=$work/corpus/$target artifacts=$work/artifacts/$target log=$work/$target.log
    mkdir -p "$found" "$artifacts"
    # The first folder is the one that new inputs go to.
    result=ok
    RUST_BACKTRACE=1 cargo +nightly fuzz run "${options[@]}" "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 \
        -artifact_prefix="$artifacts/" >"$log" 2>&1 || result=FAILED
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
    coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1) || true
    printf '%-14s %-6s %10s executions  %5s MiB  %s\n' \
        "$target" "$result" "${executions:-?}" "${peak:-?}" "${coverage:-cov: ?}"
    if [ "$result" != ok ]; then
        crashed=$((crashed + 1))
        echo "    see $log; the input:"
        grep -oE "$artifacts/[a-z]+-[0-9a-f]+" "$log" | sort -u | sed 's/^/    /' || true
    fi
done
# cargo-fuzz makes it, whatever it is told.
rmdir fuzz/cargo-fuzz/artifacts/* fuzz/cargo-fuzz/artifacts 2>/dev/null || true
echo "${#targets[@]} targets, $crashed failed"
[ "$crashed" -eq 0 ]
