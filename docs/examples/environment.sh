# What the examples need, in every terminal: `. ./environment.sh` here, `. ../environment.sh` in an example's folder.
export EVERWATCH_DATA_DIR="${TMPDIR:-/tmp}/everwatch-examples"
export EVERWATCH_KAFKA_PORT=19192
# the examples watch, call and publish on this machine only
export EVERWATCH_ALLOW_NETWORKS=127.0.0.0/8
export EVERWATCH_PUBLISH_TOPICS=greetings

# wait_for TEXT COMMAND…: asks until the command's output has the text, and prints those lines; after 60 seconds
# (WAIT_FOR_S) in vain it shows what the command says, and fails
wait_for() {
    local text="$1" end=$((SECONDS + ${WAIT_FOR_S:-60}))
    shift
    until "$@" 2>/dev/null | grep -F -- "$text"; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "waited in vain for '$text' in what '$*' says, which is:" >&2
            "$@" >&2 || true
            return 1
        fi
        sleep 0.5
    done
}
