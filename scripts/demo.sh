#!/usr/bin/env bash
# Ada's phone and Ben's laptop keep one list of coffees, offline and live, and lose no edit. Called by `./dev demo`; ends by itself.
set -euo pipefail
cd "$(dirname "$0")/.."

data=${HEADWATER_DATA:-../shared/data}
target=${CARGO_TARGET_DIR:-target}
directory=$(mktemp -d)
relay_pid=
watch_pid=
build_pid=
failures=0
# In tenths of a second: long enough for a loaded machine, short enough to see that something hangs.
patience=300

# Ends what this demo started, and nothing else.
clean_up() {
    local pid
    for pid in $watch_pid $build_pid $relay_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$directory"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -t 1 ]; then
    bold=$'\e[1m' faint=$'\e[2m' plain=$'\e[0m'
else
    bold='' faint='' plain=''
fi

headline() {
    printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

say() {
    printf '  %s\n' "$*"
}

failed() {
    printf '  FAILED: %s\n' "$*"
    failures=$((failures + 1))
}

milliseconds() {
    echo $(($(date +%s%N) / 1000000))
}

# Waits until a command succeeds; fails once there is no more patience, or the process $1 is gone.
wait_until() {
    local pid=$1
    shift
    for _ in $(seq "$patience"); do
        if "$@"; then
            return 0
        fi
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

headwater() {
    "$target/release/headwater" "$@"
}

name_of() {
    case $1 in
        ada) echo "Ada's phone" ;;
        ben) echo "Ben's laptop" ;;
    esac
}

# Runs the command line as a device, shows what it was asked and what it said. Coffees are called by their names, not by their ids.
on() {
    local device=$1
    shift
    printf '  %-13s %s\n' "$(name_of "$device"):" "${faint}headwater $(called "$*")${plain}"
    headwater --replica "$directory/$device.redb" "$@" >"$directory/said"
    sed 's/^/                → /' <<<"$(called "$(cat "$directory/said")")"
}

# Puts names in the place of ids, and leaves out where the demo keeps its files.
called() {
    local text=$1 number
    for number in "${!ids[@]}"; do
        text=${text//${ids[number]}/${names[number]}}
    done
    echo "${text//$directory\//}"
}

# Prints one field of a coffee as a device has it now, in JSON.
field() {
    headwater --replica "$directory/$1.redb" get coffees "$2" | sed -n "s/^  \"$3\": \(.*[^,]\),\{0,1\}\$/\1/p"
}

row() {
    printf '  %-18s %-16s %-16s %-16s %s\n' "$@" | sed 's/ *$//'
}

# One row of the table after the merge: what was there, what either wrote, and what both have now.
merged() {
    local id=$1 name=$2 before=$3 by_ada=$4 by_ben=$5 expected=$6 ada ben
    ada=$(field ada "$id" "$name")
    ben=$(field ben "$id" "$name")
    row "$name" "$before" "$by_ada" "$by_ben" "$ada"
    if [ "$ada" != "$expected" ] || [ "$ben" != "$expected" ]; then
        failed "$name is $ada on Ada's phone and $ben on Ben's laptop, and should be $expected"
    fi
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

# Builds without a word, apart from one line that counts; shows all that cargo said if it fails.
build() {
    local began compiled
    if [ ! -x "$target/release/headwater" ] || [ ! -x "$target/release/headwater-relay" ]; then
        say "The first build compiles about 230 crates in 12 minutes of processor time: about 6 minutes on two cores, 2 on eight."
        say "The demo itself takes seconds."
    fi
    began=$(milliseconds)
    cargo build --release -p headwater-cli -p headwater-relay >"$directory/build.log" 2>&1 &
    build_pid=$!
    while kill -0 "$build_pid" 2>/dev/null; do
        if [ -t 1 ]; then
            compiled=$(grep -c '^ *Compiling' "$directory/build.log" || true)
            printf '\r  %s s, %s crates begun' $((($(milliseconds) - began) / 1000)) "$compiled"
        fi
        sleep 0.5
    done
    if [ -t 1 ]; then
        printf '\r\e[K'
    fi
    if ! wait "$build_pid"; then
        build_pid=
        cat "$directory/build.log" >&2
        exit 1
    fi
    build_pid=
    say "built in $((($(milliseconds) - began) / 1000)) s"
}

ids=()
names=()

headline "Building Headwater"
build
began=$(milliseconds)

headline "1. A relay starts. It has nothing yet"
"$target/release/headwater-relay" serve --listen 127.0.0.1:0 --data "$directory/relay" >"$directory/relay.out" 2>"$directory/relay.log" &
relay_pid=$!
if ! wait_until "$relay_pid" grep -q '^listening on ' "$directory/relay.out"; then
    echo "the relay did not start:" >&2
    cat "$directory/relay.log" >&2
    exit 1
fi
HEADWATER_RELAY=ws://$(sed -n 's/^listening on //p' "$directory/relay.out")
export HEADWATER_RELAY
say "$HEADWATER_RELAY"

headline "2. Ada's phone imports coffees, without needing the relay, and writes about one of them"
if [ -f "$data/coffees.jsonl.gz" ]; then
    gzip -dc "$data/coffees.jsonl.gz" >"$directory/coffees.jsonl"
else
    say "(no records in $data: a small sample instead)"
    sample >"$directory/coffees.jsonl"
fi
on ada import coffees "$directory/coffees.jsonl"
headwater --replica "$directory/ada.redb" export coffees | sed -n '1,2p' >"$directory/first.jsonl"
mapfile -t ids < <(sed -n 's/^{"id":"\([^"]*\)".*/\1/p' "$directory/first.jsonl")
for id in "${ids[@]}"; do
    country=$(field ada "$id" country_of_origin)
    names+=("${country//\"/}-$((${#names[@]} + 1))")
    say "${names[-1]} stands for $id from here on: of $(field ada "$id" owner), $(field ada "$id" total_cup_points) points"
done
story=${ids[0]}
# shellcheck disable=SC2016 # $text and $counter are Headwater's
on ada set coffees "$story" 'notes={"$text": "Tastes of jasmine."}' 'cups={"$counter": 0}'

headline "3. Ada's phone syncs, and Ben's laptop, which is new, gets everything"
on ada sync
on ben sync

headline "4. Live: Ben's laptop watches while Ada edits"
# Not through the function above: then this would be the id of a shell in between.
"$target/release/headwater" --replica "$directory/ben.redb" watch coffees >"$directory/watch.out" 2>"$directory/watch.err" &
watch_pid=$!
if ! wait_until "$watch_pid" grep -q '^up to date' "$directory/watch.err"; then
    cat "$directory/watch.err" >&2
    exit 1
fi
printf '  %-13s %s\n' "Ben's laptop:" "${faint}headwater watch coffees${plain}"
say "              → $(grep -m 1 '^up to date' "$directory/watch.err")"
on ada set coffees "${ids[1]}" aroma=8.9
saved=$(milliseconds)
on ada sync
if wait_until "$watch_pid" grep -q . "$directory/watch.out"; then
    arrived=$(called "$(head -n 1 "$directory/watch.out")")
    printf "  %-13s → %s%s%s   (by itself, %s ms after Ada's sync began)\n" "Ben's laptop:" "$bold" "$arrived" "$plain" \
        $(($(milliseconds) - saved))
else
    failed "Ben's laptop did not hear of the edit"
fi
kill "$watch_pid"
wait "$watch_pid" || true
watch_pid=
aroma=$(field ben "${ids[1]}" aroma)
[ "$aroma" = 8.9 ] || failed "aroma is $aroma on Ben's laptop and should be 8.9"

headline "5. Both go offline and edit the same coffee, ${names[0]}, and the same text in it"
points=$(field ada "$story" total_cup_points)
variety=$(field ada "$story" variety)
notes=$(field ada "$story" notes)
cups=$(field ada "$story" cups)
on ada set coffees "$story" total_cup_points=91.5 'notes="Tastes of bergamot and jasmine."' cups=2
on ben set coffees "$story" 'variety="Heirloom"' 'notes="Tastes of jasmine. Brew at 93 degrees."' cups=1
echo
say "Before they meet, each has only what it wrote itself:"
row '' "on Ada's phone" "on Ben's laptop" '' ''
for name in total_cup_points variety cups; do
    row "$name" "$(field ada "$story" "$name")" "$(field ben "$story" "$name")" '' ''
done
for device in ada ben; do
    say "notes, $(printf '%-14s' "$(name_of "$device"):") $(field "$device" "$story" notes)"
done

headline "6. Both come back: Ada's phone, Ben's laptop, and Ada's phone again"
on ada sync
on ben sync
on ada sync

headline "7. Now both have both edits of ${names[0]}"
row field before 'Ada wrote' 'Ben wrote' 'on both devices'
merged "$story" total_cup_points "$points" 91.5 '' 91.5
merged "$story" variety "$variety" '' '"Heirloom"' '"Heirloom"'
merged "$story" cups "$cups" '2 more' '1 more' 3
expected='"Tastes of bergamot and jasmine. Brew at 93 degrees."'
say "notes, before:        $notes"
for device in ada ben; do
    found=$(field "$device" "$story" notes)
    say "notes, $(printf '%-14s' "$(name_of "$device"):") $found"
    [ "$found" = "$expected" ] || failed "they should be $expected"
done

headline "8. Everything else, compared"
for device in ada ben; do
    headwater --replica "$directory/$device.redb" export coffees >"$directory/$device.jsonl"
done
imported=$(grep -c . "$directory/coffees.jsonl")
if [ "$(wc -l <"$directory/ada.jsonl")" -ne "$imported" ]; then
    failed "Ada's phone has $(wc -l <"$directory/ada.jsonl") coffees, and $imported were imported"
fi
if cmp -s "$directory/ada.jsonl" "$directory/ben.jsonl"; then
    say "The exports of both devices are equal: $(wc -l <"$directory/ada.jsonl") coffees, $(wc -c <"$directory/ada.jsonl") bytes."
else
    failed "the exports of the two devices differ"
fi
say "$(($(milliseconds) - began)) ms from the start of the relay to here. On disk: Ada's phone $(du -sh "$directory/ada.redb" | cut -f1)," \
    "Ben's laptop $(du -sh "$directory/ben.redb" | cut -f1), relay $(du -sh "$directory/relay" | cut -f1)."

headline "Result"
if [ "$failures" -gt 0 ]; then
    say "$failures checks failed"
    exit 1
fi
say "nothing was lost: every check held"
