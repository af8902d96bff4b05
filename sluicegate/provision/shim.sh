#!/bin/sh
# Parent of a pipeline's process: waits for it, since no later worker can, and writes down how it ended.
#
#   shim.sh FOLDER ATTEMPT COOKIE LABELS COMMAND...
#   shim.sh '' '' COOKIE '' COMMAND...          a member of the warm pool, which says later what it becomes
#
# Standard output is the pipeline's log, opened for append; that of a member is the end of a pipe into which it
# writes FOLDER, ATTEMPT and LABELS, whose other end is the standard error; its standard input is the member's
# connection to the worker. The shim leaves its starter at once, so that no worker has to reap it, and holds no
# descriptor of the lock. The status is the shell's: 128 + n for signal n.

folder=$1 attempt=$2 cookie=$3 labels=$4
shift 4

# A stop signals the program; the shim must stay to tell the end. The launcher restores these.
trap '' HUP INT QUIT TERM

watch() {
    SLUICEGATE_DEPLOYMENT=$cookie "$@" 5<&- &
    exec 3<&- 4<&-
    # The shell would report a fatal signal in the pipeline's log in its own words.
    { wait "$!"; status=$?; } 2>/dev/null
    if [ -z "$folder" ]; then
        # Nobody writes into the pipe any more: what is there is all, and nothing if it became no pipeline.
        { IFS= read -r folder && IFS= read -r attempt && IFS= read -r labels; } <&5 || return
    fi
    record=$folder/attempts/$attempt.exit
    if grep -q "\"attempt\": \"$attempt\"" "$folder/control.json" 2>/dev/null; then
        printf '[manager] %s INFO provision: the pipeline process ended with status %d  %s\n' \
            "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$status" "$labels" >>"$folder/pipeline.log"
    fi
    printf '%d\n' "$status" >"$record.new" && mv -f "$record.new" "$record"
}

if [ -z "$folder" ]; then
    exec 3<&0 4>&1 5<&2 </dev/null >/dev/null 2>&1
fi
watch "$@" </dev/null &
