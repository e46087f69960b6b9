#!/usr/bin/env bash
# Headwater beside its peers and raw floors, in one run: builds and installs what takes part, measures, and puts the tables and plots
# into docs/. Arguments go to headwater-compare; see `./dev bench compare --help`.
set -euo pipefail
cd "$(dirname "$0")/.."

y_sweet_version=0.9.1
compare=benches/compare
export CARGO_TARGET_DIR=$PWD/target/compare-build

cargo build --quiet --release -p headwater-relay
cargo build --quiet --release --manifest-path "$compare/Cargo.toml" --workspace --locked
if command -v npm >/dev/null; then
    # Not `npm ci`: a registry may lack the prebuilt binaries of optional dependencies that the lock file names.
    npm install --prefix "$compare/npm" --no-audit --no-fund --silent
else
    echo 'npm is not installed: automerge-repo, Hocuspocus and Y-Sweet are left out' >&2
fi
if ! command -v y-sweet >/dev/null && [ -z "${HEADWATER_COMPARE_NO_INSTALL:-}" ]; then
    echo 'installing y-sweet' >&2
    if ! CARGO_TARGET_DIR=$PWD/target/y-sweet-build cargo install --quiet --locked "y-sweet@$y_sweet_version"; then
        echo 'y-sweet could not be installed, and is left out' >&2
    fi
fi
case " $* " in
    *' --quick '* | *' --agree '* | *' --workload '* | *' --system '* | *' --help '*) ;;
    *) set -- --write docs "$@" ;;
esac
exec "$CARGO_TARGET_DIR/release/headwater-compare" "$@"
