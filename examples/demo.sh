#!/usr/bin/env bash
# Build hello.toml from this machine's own apt sources, run a command in it, and see what a second build costs.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOSIER_STORE="$work/store"
cp examples/hello.toml "$work"
cd "$work"

bold='' plain='' TIMEFORMAT='  (%R seconds)'
if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
step() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; time "$@"; }

step hosier lint hello.toml
step hosier build hello.toml
step hosier run hello -- hello
printf '\nThe second build:\n'
step hosier build hello.toml
step hosier images
