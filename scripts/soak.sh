#!/usr/bin/env bash
# Everything that looks for broken promises, on seeds that no run before has tried, for about as many minutes as the argument says.
# Called by `./dev soak`. The seeds follow from the clock and are printed, so that a failure can be repeated.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=$1
first_seed=${HEADWATER_SOAK_SEED:-$(($(date +%s) * 1000))}
echo "first seed $first_seed; again with HEADWATER_SOAK_SEED=$first_seed"
share() {
    awk -v minutes="$minutes" -v percent="$1" 'BEGIN { printf "%.3f", minutes * percent / 100 }'
}
# How many of something fit into a share of the time, if one takes so many milliseconds; at least one.
fitting() {
    awk -v minutes="$(share "$1")" -v each="$2" 'BEGIN { n = int(minutes * 60000 / each); print (n < 1 ? 1 : n) }'
}

headline() {
    printf '\n== %s\n' "$*"
}

headline "whole worlds from seeds"
cargo run --quiet --profile sim -p headwater-fuzz -- soak "$(share 60)" --from "$first_seed"
headline "crash images of the stores"
HEADWATER_CRASHES=$(fitting 10 120) HEADWATER_CRASH_SEED=$first_seed \
    cargo test --quiet -p headwater-storage --test crash -- --nocapture
headline "stores against their models"
PROPTEST_CASES=$(fitting 10 30) cargo test --quiet -p headwater-storage --test model -- --nocapture
headline "killed processes, cut connections, full disks"
HEADWATER_KILLS=$(fitting 10 700) HEADWATER_CUTS=$(($(fitting 5 30) < 3000 ? 7 : 1)) \
    cargo test --quiet -p headwater-relay --test crash --test chaos -- --nocapture
headline "nothing was broken"
