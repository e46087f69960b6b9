#!/usr/bin/env bash
# Builds the simulator once for each planted bug, and counts the seeds that it takes to find it. A bug is planted in the code as
# `cfg!(bug = "its-name")`; in ordinary builds it is not there. Arguments: the names of the bugs to try. Default: all.
set -euo pipefail
cd "$(dirname "$0")/.."

starts=${HEADWATER_MUTANT_STARTS:-5}
work=target/mutants
mkdir -p "$work"
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    mapfile -t names < <(grep -rhoE 'bug = "[a-z-]+"' storage/src core/src relay/src | sed 's/bug = "\(.*\)"/\1/' | sort -u)
fi
missed=0
for name in "${names[@]}"; do
    # A wrapper of its own for each bug, so that only this project's crates are built again, and each bug apart.
    wrapper=$PWD/$work/rustc-$name
    printf '#!/bin/sh\nrustc=$1\nshift\nexec "$rustc" "$@" --cfg "bug=\\"%s\\""\n' "$name" >"$wrapper"
    chmod +x "$wrapper"
    if ! RUSTC_WORKSPACE_WRAPPER=$wrapper cargo build --quiet --profile sim -p headwater-fuzz --target-dir "$work/build"; then
        printf '%-28s does not build\n' "$name"
        exit 1
    fi
    if found=$("$work/build/sim/headwater-sim" find --starts "$starts" 2>/dev/null); then
        printf '%-28s %s\n' "$name" "$(tail -n 1 <<<"$found")"
    else
        printf '%-28s NOT FOUND: %s\n' "$name" "$(tail -n 1 <<<"$found")"
        missed=$((missed + 1))
    fi
done
echo "${#names[@]} planted bugs, $missed not found"
[ "$missed" -eq 0 ]
