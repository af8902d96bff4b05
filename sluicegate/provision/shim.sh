#!/bin/sh
# Parent of a pipeline's process: waits for it, since no later worker can, and writes down how it ended.
#
#   shim.sh FOLDER ATTEMPT COOKIE LABELS COMMAND...
#
# Standard output is the pipeline's log, opened for append. The shim leaves its starter at once, so that no
# worker has to reap it, and holds no descriptor of the lock. The status is the shell's: 128 + n for signal n.

folder=$1 attempt=$2 cookie=$3 labels=$4
shift 4

# A stop signals the program; the shim must stay to tell the end. The launcher restores these.
trap '' HUP INT QUIT TERM

watch() {
    SLUICEGATE_DEPLOYMENT=$cookie "$@" &
    # The shell would report a fatal signal in the pipeline's log in its own words.
    { wait "$!"; status=$?; } 2>/dev/null
    record=$folder/attempts/$attempt.exit
    if grep -q "\"attempt\": \"$attempt\"" "$folder/control.json" 2>/dev/null; then
        printf '[manager] %s INFO provision: the pipeline process ended with status %d  %s\n' \
            "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$status" "$labels"
    fi
    printf '%d\n' "$status" >"$record.new" && mv -f "$record.new" "$record"
}

watch "$@" </dev/null &
