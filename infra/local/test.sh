#!/usr/bin/env bash
# Tests the AWS shape on this machine, from nothing: holds infra/template.yaml against the programs, then deploys it to an
# engine of its own and runs the end-to-end test over HTTP.
#
#     infra/local/test.sh                 builds what it needs, and tests once
#     infra/local/test.sh --runs 10       ten times, each time from nothing
#     infra/local/test.sh --bin DIR       with the programs in DIR, which it does not build
#
# It needs Python 3.11 or later with its module venv, and a package index for the first time: what Python needs goes into a
# folder of its own under target/. Exit codes: 0 for passed, 75 if it cannot be tried here (it says why), else failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder="${CARGO_TARGET_DIR:-target}/infra"
mkdir -p "$folder"

cannot() {
  printf '%s\n' \
    '' \
    '!!! NOT TESTED: the AWS shape (infra/template.yaml and the stack that it deploys)' \
    "!!! why: $1" \
    "!!! what to do: $2" \
    '' >&2
  printf '%s\n' "$1" > "$folder/not-tested"
  exit 75
}

python=''
for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
  if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python="$candidate"
    break
  fi
done
[ -n "$python" ] || cannot 'there is no Python 3.11 or later with its module venv' \
  'install one (on Debian: apt install python3 python3-venv)'

# Made anew when what is wanted has changed, and noted only once it is whole.
wanted="$(cat infra/requirements.txt infra/constraints.txt; "$python" --version)"
if [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$folder/venv" "$folder/installed"
  "$python" -m venv "$folder/venv"
  if ! "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 --timeout 30 \
    --requirement infra/requirements.txt > "$folder/pip.log" 2>&1; then
    cat "$folder/pip.log" >&2
    # These are pip's words for an index that it has not reached; whatever else it says is a fault of ours.
    if grep -qE 'NewConnectionError|HTTP error|Client Error|Server Error|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|Max retries exceeded|Network is unreachable' "$folder/pip.log"; then
      cannot 'the package index cannot be reached' 'connect this machine, or name an index by PIP_INDEX_URL'
    fi
    exit 1
  fi
  printf '%s\n' "$wanted" > "$folder/installed"
fi
rm -f "$folder/not-tested"

export PYTHONDONTWRITEBYTECODE=1
"$folder/venv/bin/python" infra/check.py
# That it finds what it is there to find.
"$folder/venv/bin/python" infra/planted.py
# In its place, so that a signal reaches what has to end the engine.
exec "$folder/venv/bin/python" infra/local/stack.py test "$@"
