#!/usr/bin/env bash
# Two devices edit the same coffee bags offline, and a relay merges them field by field. Called by `./dev demo`.
set -euo pipefail
cd "$(dirname "$0")/.."

data=${HEADWATER_DATA:-../shared/data}
target=${CARGO_TARGET_DIR:-target}
directory=$(mktemp -d)
relay_pid=
failures=0

# Ends the relay of this demo, and no other.
clean_up() {
    if [ -n "$relay_pid" ]; then
        kill "$relay_pid" 2>/dev/null || true
        wait "$relay_pid" 2>/dev/null || true
    fi
    rm -rf "$directory"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -t 1 ]; then
    bold=$'\e[1m' plain=$'\e[0m'
else
    bold='' plain=''
fi

headline() {
    printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

headwater() {
    "$target/release/headwater" "$@"
}

# Runs the CLI as device A or B and shows what it says.
on() {
    local device=$1
    shift
    headwater --replica "$directory/$device.redb" "$@" | sed "s/^/  $device: /"
}

# Prints one field of an entity as a device sees it, in JSON.
field() {
    headwater --replica "$directory/$1.redb" get coffees "$2" | sed -n "s/^  \"$3\": \(.*[^,]\),\{0,1\}\$/\1/p"
}

# Compares a field on one device with what it has to be.
check() {
    local device=$1 id=$2 name=$3 expected=$4 found
    found=$(field "$device" "$id" "$name")
    if [ "$found" = "$expected" ]; then
        printf '  %s: %-18s %s\n' "$device" "$name" "$found"
    else
        printf '  %s: %-18s is %s and should be %s\n' "$device" "$name" "$found" "$expected"
        failures=$((failures + 1))
    fi
}

milliseconds() {
    echo $(($(date +%s%N) / 1000000))
}

sample() {
    cat <<'JSON'
{"owner": "Sunrise Cooperative", "country_of_origin": "Ethiopia", "variety": null, "processing_method": "Natural", "aroma": 8.4, "total_cup_points": 88.5}
{"owner": "Finca La Loma", "country_of_origin": "Colombia", "variety": "Caturra", "processing_method": "Washed / Wet", "aroma": 7.9, "total_cup_points": 85.25}
{"owner": "Kiambu Growers", "country_of_origin": "Kenya", "variety": "SL28", "processing_method": "Washed / Wet", "aroma": 8.2, "total_cup_points": 87}
{"owner": "Fazenda Clara", "country_of_origin": "Brazil", "variety": "Catuai", "processing_method": "Pulped natural / honey", "aroma": 7.5, "total_cup_points": 82.75}
{"owner": "Toraja Highlands", "country_of_origin": "Indonesia", "variety": "Typica", "processing_method": null, "aroma": 7.6, "total_cup_points": 83}
JSON
}

headline "Building the binaries"
cargo build --release -p headwater-cli -p headwater-relay
began=$(milliseconds)

headline "1. A relay starts, with an empty store of its own"
"$target/release/headwater-relay" serve --listen 127.0.0.1:0 --data "$directory/relay" >"$directory/relay.out" 2>"$directory/relay.log" &
relay_pid=$!
address=
for _ in $(seq 100); do
    address=$(sed -n 's/^listening on //p' "$directory/relay.out")
    if [ -n "$address" ] || ! kill -0 "$relay_pid" 2>/dev/null; then
        break
    fi
    sleep 0.1
done
if [ -z "$address" ]; then
    echo "the relay did not start:" >&2
    cat "$directory/relay.log" >&2
    exit 1
fi
export HEADWATER_RELAY="ws://$address"
echo "  $HEADWATER_RELAY"

headline "2. Device A imports coffee records, without needing the relay"
if [ -f "$data/coffees.jsonl.gz" ]; then
    gzip -dc "$data/coffees.jsonl.gz" >"$directory/coffees.jsonl"
else
    echo "  (no records in $data: a small sample instead)"
    sample >"$directory/coffees.jsonl"
fi
on A import coffees "$directory/coffees.jsonl"
mapfile -t ids < <(headwater --replica "$directory/A.redb" export coffees | sed -n 's/^{"id":"\([^"]*\)".*/\1/p;3q')
# shellcheck disable=SC2016 # $text is Headwater's
on A set coffees "${ids[0]}" 'notes={"$text": "Tastes of jasmine."}'

headline "3. A syncs, then a new device B does"
on A sync
on B sync

headline "4. Both go offline and edit the same ${#ids[@]} bags: A their points and aroma, B their variety and processing"
for id in "${ids[@]}"; do
    on A set coffees "$id" total_cup_points=91.5 aroma=9
    on B set coffees "$id" 'variety="Heirloom"' 'processing_method="Natural"'
done
echo "  and the same text: A writes in its middle, B at its end"
on A set coffees "${ids[0]}" 'notes="Tastes of bergamot and jasmine."'
on B set coffees "${ids[0]}" 'notes="Tastes of jasmine. Brew at 93 degrees."'

headline "5. Both come back: A, B, and A again"
on A sync
on B sync
on A sync

headline "6. Both edits are alive on both devices"
for device in A B; do
    for id in "${ids[@]}"; do
        echo "  $device: bag $id"
        check "$device" "$id" total_cup_points 91.5
        check "$device" "$id" aroma 9
        check "$device" "$id" variety '"Heirloom"'
        check "$device" "$id" processing_method '"Natural"'
    done
    check "$device" "${ids[0]}" notes '"Tastes of bergamot and jasmine. Brew at 93 degrees."'
    headwater --replica "$directory/$device.redb" export coffees >"$directory/$device.jsonl"
done
if cmp -s "$directory/A.jsonl" "$directory/B.jsonl"; then
    echo "  the exports of A and B are equal: $(wc -l <"$directory/A.jsonl") records, $(wc -c <"$directory/A.jsonl") bytes"
else
    echo "  the exports of A and B differ"
    failures=$((failures + 1))
fi

headline "Result"
printf '  %s ms from the first command to here; files: A %s, B %s, relay %s\n' "$(($(milliseconds) - began))" \
    "$(du -sh "$directory/A.redb" | cut -f1)" "$(du -sh "$directory/B.redb" | cut -f1)" "$(du -sh "$directory/relay" | cut -f1)"
if [ "$failures" -gt 0 ]; then
    echo "  $failures checks failed"
    exit 1
fi
echo "  nothing was lost: every check held"
