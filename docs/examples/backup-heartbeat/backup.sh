#!/bin/sh
# Backs this folder up and reports: backup.sh MONITOR. Whatever fails ends it before it can report.
set -e
tar -czf "${TMPDIR:-/tmp}/everwatch-example-backup.tgz" .
everwatch signal shop "$1"
echo "backup done"
