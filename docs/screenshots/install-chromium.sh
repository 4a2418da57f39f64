#!/bin/sh
# Installs Debian's `chromium` package (about 400 MB with what it needs) for `make screenshots`.
# Does nothing where a `chromium` is there already; elsewhere than on Debian, install one yourself.
set -eu

if command -v chromium >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "make screenshots needs Chromium, and this is no Debian: install it as your system does." >&2
    exit 1
fi
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
echo "Installing Debian's chromium package with apt-get, for make screenshots."
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium
