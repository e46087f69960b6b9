#!/usr/bin/env bash
# Counts the instructions of a few pieces of work under callgrind, and compares them with benches/instructions.txt. `--update` writes
# that file anew: do so in the commit that makes something slower or faster on purpose, and say why there.
set -euo pipefail
cd "$(dirname "$0")/.."

# The seeds of hash maps differ from run to run, and with them a little of the work.
tolerance_percent=3
expected=benches/instructions.txt

if ! command -v valgrind >/dev/null; then
    echo 'installing valgrind'
    root=()
    if [ "$(id -u)" -ne 0 ]; then
        root=(sudo)
    fi
    "${root[@]}" apt-get update -q
    "${root[@]}" apt-get install -y -q valgrind
fi
# The profile `bench` is that of a release with the names of functions, which callgrind looks for.
cargo build --quiet --profile bench -p headwater-benches --bin instructions
program=target/release/instructions
version=$(rustc --version | cut -d ' ' -f 2)

measured=$(mktemp)
trap 'rm -f "$measured"' EXIT
echo "rustc $version" >"$measured"
for name in $("$program"); do
    count=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
        --toggle-collect='instructions::measured*' "$program" "$name" 2>&1 | sed -n 's/.*Collected : *\([0-9]*\).*/\1/p')
    echo "$name ${count:?callgrind counted nothing}" >>"$measured"
done
if [ "${1:-}" = --update ]; then
    cp "$measured" "$expected"
    cat "$expected"
    exit
fi
if [ "$(head -n 1 "$expected")" != "rustc $version" ]; then
    echo "the counts in $expected are of $(head -n 1 "$expected"), and this is $version: compare with care"
fi
slower=0
while read -r name count; do
    before=$(sed -n "s/^$name //p" "$expected")
    if [ "$name" = rustc ] || [ -z "$before" ]; then
        continue
    fi
    # In thousandths, because the shell has no fractions.
    change=$(((count - before) * 1000 / before))
    verdict=ok
    if [ "$change" -gt $((tolerance_percent * 10)) ]; then
        verdict=SLOWER
        slower=$((slower + 1))
    elif [ "$change" -lt $((-tolerance_percent * 10)) ]; then
        verdict='faster: note it with --update'
    fi
    printf '%-8s %12d instructions, %12d expected  %+5d ‰  %s\n' "$name" "$count" "$before" "$change" "$verdict"
done <"$measured"
[ "$slower" -eq 0 ]
