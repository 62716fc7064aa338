#!/usr/bin/env bash
# Runs a program as on a disk whose sync takes so many milliseconds longer:
#
#     tests/slow_disk.sh 5 target/release/baton bench --only lifecycle
#
# Needs a C compiler, and a system whose programs load libc (LD_PRELOAD).
set -euo pipefail
if [ $# -lt 2 ] || ! [[ $1 =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
  echo "expected milliseconds and a program with its arguments, such as: $0 5 target/release/baton bench" >&2
  exit 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cc -O2 -shared -fPIC -o "$folder/slow_sync.so" "$(dirname "$0")/slow_sync.c" -ldl
ms=$1
shift
SLOW_SYNC_MS=$ms LD_PRELOAD="$folder/slow_sync.so" "$@"
