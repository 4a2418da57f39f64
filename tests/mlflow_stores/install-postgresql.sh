#!/bin/sh
# Installs Debian's `postgresql` package (about 60 MB) for the tests of an MLflow server on it.
# Does nothing where there is one already; elsewhere than on Debian, install it yourself.
set -eu

if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "The tests need PostgreSQL, and this is no Debian: install it as your system does." >&2
    exit 1
fi
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
echo "Installing Debian's postgresql package with apt-get, for the tests of an MLflow server."
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql
