#!/usr/bin/env bash
# PostgreSQL for tests.
#
#   scripts/postgres.sh ensure   makes sure that its programs are there: as root on Debian it installs the distribution's package
#   scripts/postgres.sh serve    starts an empty server, prints its address, and removes it with all its data when stdin ends; for each line of
#                                stdin, "fast" or "immediate", it is stopped in that way and started again, and the line is printed
#
# The end of stdin is what a test process leaves behind however it ends, killed or not. The server listens on a socket in a directory of its
# own, which only its user can enter, and flushes what it commits as any other does. Where the caller is root, who may not run it,
# another user does.
#
#   STEPSEAL_TEST_POSTGRES_URL=postgres://...   a server that is there: nothing is installed or started
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }
die() { say "postgres: $*"; exit 1; }

# Where the server's programs are: in PATH, where pg_config says, or where Debian puts them, the newest first.
programs() {
  local dir path
  path=$(command -v initdb || true)
  for dir in "$(dirname "$(readlink -f "${path:-/}")")" "$(pg_config --bindir 2>/dev/null || true)" \
    $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
    if [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ] && [ -x "$dir/postgres" ]; then
      printf '%s\n' "$dir"
      return
    fi
  done
}

ensure() {
  [ -z "${STEPSEAL_TEST_POSTGRES_URL:-}" ] || return 0
  [ -z "$(programs)" ] || return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "postgres: installing the distribution's package"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends postgresql >&2 ||
      { apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends postgresql >&2; } ||
      die "the package postgresql could not be installed"
    [ -z "$(programs)" ] || return 0
  fi
  die "tests need PostgreSQL, and there is none. Install it (Debian: apt-get install postgresql), or name a server on which they may make" \
    "schemas: STEPSEAL_TEST_POSTGRES_URL=postgres://user@host/name"
}

# Runs a command as a user that may run a server.
unprivileged() {
  if [ "$(id -u)" != 0 ]; then "$@"; else setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- "$@"; fi
}

remove() {
  unprivileged "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || true
  rm -rf "$dir"
}

serve() {
  ensure
  bin=$(programs)
  user=postgres
  id -u "$user" >/dev/null 2>&1 || user=nobody
  # A socket's path may have a hundred characters.
  dir=$(mktemp -d /tmp/stepseal-postgres-XXXXXX)
  # Ctrl-c is for the tests; this goes on to its end when they are gone.
  trap '' INT TERM HUP
  trap remove EXIT
  [ "$(id -u)" != 0 ] || chown "$user" "$dir"
  cd "$dir"
  unprivileged "$bin/initdb" -D "$dir/data" --username=stepseal --auth=trust --encoding=UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 ||
    { cat "$dir/initdb.log" >&2; die "no database cluster could be made"; }
  unprivileged "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -s \
    -o "-c listen_addresses= -c unix_socket_directories=$dir -c max_connections=300 -c fsync=on" start </dev/null >/dev/null ||
    { cat "$dir/log" >&2; die "the server did not start"; }
  printf 'postgres:///postgres?host=%s&user=stepseal\n' "$(printf %s "$dir" | sed 's|/|%2F|g')"
  local how
  while read -r how; do
    unprivileged "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -s -m "$how" restart </dev/null >/dev/null ||
      { cat "$dir/log" >&2; die "the server did not start again"; }
    printf '%s\n' "$how"
  done
}

case ${1:-} in
  ensure) ensure ;;
  serve) serve ;;
  *) die "say ensure or serve" ;;
esac
