# What every script here shares. Sourced, not run.
#
# shellcheck shell=bash

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" -eq 0 ] || fail "this makes network namespaces and installs packages: run it as root"
}

# rustup leaves cargo outside root's usual path.
find_cargo() {
    if ! command -v cargo >/dev/null 2>&1; then
        [ -x "${HOME:-/root}/.cargo/bin/cargo" ] || fail "no cargo here: install Rust first, https://rustup.rs"
        PATH="${HOME:-/root}/.cargo/bin:$PATH"
        export PATH
    fi
}

# Debian packages that a build needs: DPDK, and clang for bindgen.
build_packages=(build-essential pkg-config clang libclang-dev libdpdk-dev)
# … and those that the laboratory needs: phones, a proxy, a DNS server, network tools, and the library that judges the conversion.
lab_packages=(
    sip-tester baresip-core kamailio kamailio-tls-modules rtpengine-daemon dnsmasq-base openssl libspandsp2
    iproute2 iputils-ping nftables ethtool util-linux procps
)
# … and those that say whether the packet rate fell, and test what the benchmarks compare with: testpmd, callgrind, FFmpeg.
rate_packages=(dpdk-dev valgrind libavcodec59)
# … and those that the pair's tests need: an environment for moto, which comes from PyPI (scripts/moto).
pair_packages=(python3 python3-venv)
# … and those that look at the image's files.
image_packages=(packer python3-venv systemd)
# … and those that the benchmarks need beside them: the incumbent, and the commit that a report names.
bench_packages=("${rate_packages[@]}" git)
