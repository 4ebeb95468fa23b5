#!/usr/bin/env bash
# What the bundled guests promise: the same toolchain gives the same bytes in any directory, no byte tells of the
# machine they were built on, and each imports what its code uses and nothing else. Wants target/guests to be built.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
fail() { printf 'guests: %s\n' "$*" >&2; exit 1; }

interfaces() { grep -aoE 'wasi:[a-z]+/[a-z-]+' "target/guests/$1.wasm" | sort -u | tr '\n' ' ' || true; }
imports() { [ "$(interfaces "$1")" = "$2" ] || fail "$1 imports $(interfaces "$1")instead of ${2:-nothing}"; }
imports jq ''
imports spending-limit ''
imports ledger 'wasi:keyvalue/store wasi:logging/logging '

for guest in "$@"; do
  for place in "$PWD" "$HOME/" "${CARGO_HOME:-$HOME/.cargo}"; do
    ! grep -aqF "$place" "target/guests/$guest.wasm" || fail "$guest tells where it was built: $place"
  done
done

# Another checkout, of what is here now, in a directory of another depth.
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
mkdir -p "$elsewhere/another/place"
git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- | tar -x -C "$elsewhere/another/place"
"$elsewhere/another/place/scripts/build-guest.sh" "$@"
for guest in "$@"; do
  cmp "target/guests/$guest.wasm" "$elsewhere/another/place/target/guests/$guest.wasm" ||
    fail "$guest has other bytes when it is built in another directory"
done
printf 'guests: the same bytes in another directory, and no import too many\n' >&2
