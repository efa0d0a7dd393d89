#!/bin/sh
# Runs a command in a fresh clone of this repository in a bare Debian that holds python3, make and git only:
#
#     tools/bare_debian.sh FOLDER make test       as root; FOLDER is made by debootstrap, or used again if it is there
#
# What is committed is what is cloned. This machine's resolver and certificates are lent
# to it; everything else it has to bring itself. `rm -r FOLDER` when done.
set -eu

if [ $# -lt 2 ] || [ "$(id -u)" != 0 ]; then
    echo "bare_debian: as root: tools/bare_debian.sh FOLDER COMMAND [ARGUMENTS...]" >&2
    exit 2
fi
if ! command -v debootstrap >/dev/null 2>&1; then
    echo "bare_debian: debootstrap is missing: apt-get install debootstrap" >&2
    exit 1
fi
repository=$(cd "$(dirname "$0")/.." && pwd)
root=$1
shift
suite=${SUITE:-bookworm}

if [ ! -e "$root/usr/bin/git" ]; then
    echo "bare_debian: making $root, Debian $suite"
    debootstrap --variant=minbase --include=python3,make,git "$suite" "$root" >/dev/null
fi
cp -L /etc/resolv.conf /etc/hosts "$root/etc"
# Not in its usual place, where the root's own package of certificates, once installed, would replace it.
lent=""
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/lent.crt"
    lent=PIP_CERT=/etc/lent.crt
fi
rm -rf "$root/mklab"
git clone --quiet "$repository" "$root/mklab"

# A mount namespace of its own: what is mounted here is gone when the command ends, however it ends.
export root lent
exec unshare --mount sh -eu -c '
    mount --make-rprivate /
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    exec chroot "$root" env -i HOME=/root TERM=dumb CI="${CI:-}" $lent LC_ALL=C.UTF-8 \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c "cd /mklab && exec \"\$@\"" sh "$@"
' sh "$@"
