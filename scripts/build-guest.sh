#!/usr/bin/env bash
# Builds guests of this workspace into WebAssembly components, one line of progress each.
#
#   scripts/build-guest.sh ledger jq        into target/guests/ledger.wasm and target/guests/jq.wasm
#   scripts/build-guest.sh --prepare        only makes sure that a compiler is there
#   scripts/build-guest.sh --check PACKAGE  only makes sure that a library compiles for guests
#
# The target is always wasm32-unknown-unknown, so that a guest imports what its own code asks for and nothing
# else, and the linker is wasm-component-ld, which rustup ships with every toolchain: its output already is a
# component. The compiler is
#   1. the active toolchain, where `rustup target add wasm32-unknown-unknown` was run;
#   2. else, on Debian, the distribution's rustc and std sources, unpacked into a cache. Nothing is installed.
# The same toolchain and Cargo.lock give the same bytes in any directory.
#
#   STEPSEAL_GUEST_TOOLCHAIN=distribution   takes 2 even where 1 would do
#   STEPSEAL_GUEST_CACHE=<dir>              where 2 is unpacked (about 500 MB)
#   STEPSEAL_GUEST_BUILD=<dir>              cargo's target directory, target/guest-build by default
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }
die() { say "build-guest: $*"; exit 1; }
no_compiler() { die "cannot build guests: $1. Run: rustup target add wasm32-unknown-unknown"; }

target=wasm32-unknown-unknown
workspace=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${STEPSEAL_GUEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stepseal/guest-toolchain}
build=${STEPSEAL_GUEST_BUILD:-$workspace/target/guest-build}
out=$workspace/target/guests
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# What the caller set for the host's build must not reach the guests.
unset RUSTC RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTC_BOOTSTRAP RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET

cd "$workspace"
sysroot=$(rustc --print sysroot) || die "rustc was not found; install Rust from https://rustup.rs"
host=$(rustc -vV | sed -n 's/^host: //p')
tools=$sysroot/lib/rustlib/$host/bin
[ -x "$tools/wasm-component-ld" ] ||
  die "the Rust toolchain in $sysroot has no wasm-component-ld; use one that rustup installed"

# --- The distribution's compiler -----------------------------------------------------------------------------

debian_packages=(rustc-web rust-web-src libstd-rust-web-dev)
apt_options=()
# As root, apt would warn that its own user cannot write into the cache.
[ "$(id -u)" != 0 ] || apt_options=(-o APT::Sandbox::User=root)
candidate() { apt-cache "${apt_options[@]}" policy "$1" | sed -n 's/^  Candidate: //p'; }
dependency() { apt-cache "${apt_options[@]}" depends "$1" | sed -n "s/.*Depends: \($2\)\$/\1/p" | head -n1; }
download() { apt-get "${apt_options[@]}" download -qq "$@" >&2; }

# True if the lists offer all packages in one version that is new enough for this workspace.
lists_will_do() {
  local needed version package
  needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  version=$(candidate rustc-web)
  for package in "${debian_packages[@]}"; do [ "$(candidate "$package")" = "$version" ] || return 1; done
  [ -n "$version" ] && [ "$version" != '(none)' ] && dpkg --compare-versions "$version" ge "$needed"
}

# Debian's package lists may be empty or old. Without root, lists of our own are kept in the cache.
refresh_lists() {
  if [ "$(id -u)" != 0 ]; then
    mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial"
    apt_options=(-o "Dir::State::Lists=$cache/apt/lists" -o "Dir::Cache=$cache/apt")
    if lists_will_do; then return; fi
  fi
  say "build-guest: the package lists are empty or old: apt-get update"
  apt-get "${apt_options[@]}" update -qq >&2 || no_compiler "apt-get update failed"
}

unpack_compiler() { # into $root
  local std llvm library
  std=$(dependency "libstd-rust-web-dev=$version" 'libstd-rust-web-[0-9.]*')
  llvm=$(dependency "$std=$version" 'libllvm[0-9]*')
  if [ -z "$std" ] || [ -z "$llvm" ]; then no_compiler "rustc-web $version depends on something unexpected"; fi
  mkdir -p "$root/deb" "$root/sysroot" "$root/std"
  ( cd "$root/deb"
    download "rust-web-src=$version" "rustc-web=$version" "libstd-rust-web-dev=$version" "$std=$version" "$llvm"
    for package in rustc-web_* "${std}"_* libstd-rust-web-dev_* "${llvm}"_*; do dpkg-deb -x "$package" ../sysroot; done
    dpkg-deb --fsys-tarfile rust-web-src_*.deb |
      tar -x -C ../std --strip-components=4 --wildcards './usr/src/rustc-*/library'
    # Libraries that LLVM wants and a small machine lacks.
    library=$root/sysroot/usr/lib/$(uname -m)-linux-gnu
    if LD_LIBRARY_PATH=$library ldd "$library"/librustc_driver-*.so "$library"/libLLVM*.so* | grep -q 'not found'; then
      mkdir extra
      ( cd extra && for package in libbsd0 libedit2 libffi8 libicu72 liblzma5 libmd0 libtinfo6 libxml2 libz3-4 libzstd1; do
          download "$package" || true; done
        for package in *.deb; do dpkg-deb -x "$package" ../../sysroot; done )
      cp -an "$root/sysroot/lib/$(uname -m)-linux-gnu/." "$library/" 2>/dev/null || true
    fi
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "%s" "$@"\n' \
      "$library" "$root/sysroot/usr/bin/rustc" >"$root/rustc" )
  chmod +x "$root/rustc"
  "$root/rustc" -V >/dev/null || no_compiler "the distribution's rustc does not start"
}

# Debian has no std for our target in this version, so cargo builds it for an empty crate. Its symbols are named
# after the absolute path of its source, hence one fixed path: then it has the same bytes wherever the cache is.
build_std() { # from $root/std into $root/sysroot
  local source=${TMPDIR:-/tmp}/stepseal-guest-std flags directory
  # Others may write to the directory above: what is there must be a directory of ours.
  mkdir -p -m 700 "$source"
  if [ -L "$source" ] || [ ! -O "$source" ]; then die "$source belongs to somebody else; set TMPDIR to another directory"; fi
  exec 8<"$source" && flock 8
  find "$source" -mindepth 1 -delete
  cp -a "$root/std/." "$source/"
  mkdir -p "$source/src" && : >"$source/src/lib.rs"
  printf '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n[profile.release]\nopt-level = "s"\npanic = "abort"\n' \
    >"$source/Cargo.toml"
  flags="-Cembed-bitcode=yes --remap-path-prefix=$source=/rustc --remap-path-prefix=$source/library=/rustc/library --remap-path-prefix=library=/rustc/library"
  ( cd "$source"
    export RUSTC_BOOTSTRAP=1
    cargo fetch -q --manifest-path library/Cargo.toml >&2
    for directory in "$cargo_home"/registry/src/*/; do flags+=" --remap-path-prefix=${directory%/}=/crates"; done
    RUSTC=$root/rustc __CARGO_TESTS_ONLY_SRC_ROOT=$source/library CARGO_TARGET_DIR=$source/target RUSTFLAGS=$flags \
      cargo build -q --release --target $target -Zbuild-std=std,panic_abort >&2 )
  mkdir -p "$root/sysroot/usr/lib/rustlib/$target/lib"
  cp "$source/target/$target/release/deps"/lib*.rlib "$root/sysroot/usr/lib/rustlib/$target/lib/"
  rm -f "$root/sysroot/usr/lib/rustlib/$target/lib"/libempty-*
  find "$source" -mindepth 1 -delete
  exec 8<&-
}

compiler='' std_id=''
prepare_distribution() {
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    no_compiler "Rust's $target target is not installed and this is no Debian"
  mkdir -p "$cache"
  exec 9>"$cache/lock" && flock 9
  local version root
  root=$(readlink -f "$cache/current" || true)
  if [ ! -s "$root/std-id" ]; then
    lists_will_do || refresh_lists
    lists_will_do || no_compiler "this distribution has no rustc-web that is new enough"
    version=$(candidate rustc-web)
    say "build-guest: Rust's $target target is not installed: unpacking Debian's rustc-web $version and building std (once, a minute or two)"
    root=$cache/$version
    rm -rf "$root"
    unpack_compiler
    build_std
    rm -rf "$root/deb" "$root/std"
    cat "$root/sysroot/usr/lib/rustlib/$target/lib"/*.rlib | sha256sum | cut -c1-12 >"$root/std-id"
    ln -sfn "$version" "$cache/current"
  fi
  # rustc finds the linker beside its own libraries; rustup may have moved it since the last time.
  ln -sfn "$tools" "$root/sysroot/usr/lib/rustlib/$host/bin"
  flock -u 9
  compiler=$root/rustc
  std_id=$(cat "$root/std-id")
}

if [ "${STEPSEAL_GUEST_TOOLCHAIN:-}" = distribution ] || [ ! -d "$sysroot/lib/rustlib/$target/lib" ]; then
  prepare_distribution
fi
case ${1:-} in
  --prepare) exit 0 ;;
  --check) check=1; shift ;;
esac
case ${1:-} in '' | -*) die "usage: scripts/build-guest.sh [--check] <package>... | --prepare" ;; esac

# --- The guests ----------------------------------------------------------------------------------------------

# One flag a line; no path of this machine may end up in the bytes (panic messages carry source paths).
flags() {
  printf -- '--remap-path-prefix=%s=/cargo\n--remap-path-prefix=%s=/stepseal\n--remap-path-prefix=%s=/build\n' \
    "$cargo_home" "$workspace" "$build"
  for directory in "$cargo_home"/registry/src/*/; do printf -- '--remap-path-prefix=%s=/crates\n' "${directory%/}"; done
  # cargo does not notice another std; a flag that names it does no harm and makes cargo start afresh.
  if [ -n "$std_id" ]; then printf -- '--remap-path-prefix=/std-%s=/std\n' "$std_id"; fi
}

mkdir -p "$out"
# The registry's directory must be there to be remapped.
cargo fetch -q --locked || die "Cargo.lock does not fit the Cargo.toml files, or the registry cannot be reached"
CARGO_ENCODED_RUSTFLAGS=$(flags | tr '\n' '\037')
CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\037'}
export CARGO_ENCODED_RUSTFLAGS
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-component-ld CARGO_TARGET_DIR=$build
[ -z "$compiler" ] || export RUSTC=$compiler
# One cargo call for each: built together, the packages would share features, and so change each other's bytes.
for package in "$@"; do
  if [ -n "${check:-}" ]; then # a library that guests may use: it compiles, there is no component
    cargo check -q --locked --profile guest --target $target -p "$package" || die "$package does not compile for $target"
    say "$package compiles for $target"
    continue
  fi
  printf 'guest %-16s ' "$package" >&2
  cargo build -q --locked --profile guest --target $target -p "$package" || die "$package does not build"
  built=$build/$target/guest/${package//-/_}.wasm
  [ -f "$built" ] || die "$package made no component; its Cargo.toml needs [lib] crate-type = [\"cdylib\"]"
  if cmp -s "$built" "$out/$package.wasm"; then note=' (unchanged)'; else
    note=''
    cp "$built" "$out/.$package.wasm.$$" && mv "$out/.$package.wasm.$$" "$out/$package.wasm"
  fi
  say "target/guests/$package.wasm, $(($(stat -c %s "$built") / 1024)) KiB$note"
done
