#!/usr/bin/env bash
# Build examples/hello.toml from this machine's own apt sources, run a command in it, and see what a second build costs.
set -euo pipefail
cd "$(dirname "$0")/.."
hosier() { .venv/bin/hosier "$@"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOSIER_STORE="$work/store"
cp examples/hello.toml "$work/hello.toml"

step() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }
timed() { local TIMEFORMAT='  (%R seconds)'; printf '\n\033[1m$ %s\033[0m\n' "$*"; time "$@"; }

step hosier lint "$work/hello.toml"
timed hosier build "$work/hello.toml"
timed hosier run hello -- hello
echo; echo "The second build:"
timed hosier build "$work/hello.toml"
step hosier images
