#!/usr/bin/env bash
# An object store with Amazon's S3 interface for tests: moto, which checks signatures and permissions as the real one does.
#
#   scripts/s3.sh ensure   fetches it from PyPI into target/s3, where that was not done yet
#   scripts/s3.sh serve    starts one with an empty bucket, prints how to get in as JSON, obeys what it reads (scripts/s3.py), and ends with stdin
set -euo pipefail

die() { printf 's3: %s\n' "$*" >&2; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/target/s3

ensure() {
  mkdir -p "$root/target"
  # Tests that begin at once wait for the first of them.
  exec 9>"$root/target/s3.lock"
  flock 9
  cmp -s "$root/scripts/s3-requirements.txt" "$venv/ready" && return 0
  python3 -m venv --clear "$venv" || die "python3 has no venv; on Debian: apt-get install python3-venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$root/scripts/s3-requirements.txt" >&2 ||
    die "moto could not be fetched from PyPI, and what needs an object store cannot be tested without it"
  cp "$root/scripts/s3-requirements.txt" "$venv/ready"
}

case ${1:-} in
  ensure) ensure ;;
  serve) ensure; exec 9>&-; exec "$venv/bin/python" -B "$root/scripts/s3.py" ;;
  *) die "say ensure or serve" ;;
esac
