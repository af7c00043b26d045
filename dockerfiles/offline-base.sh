#!/usr/bin/env bash
# Makes a stand-in for the images' base out of Debian packages alone, where no registry of images can be reached:
#   dockerfiles/offline-base.sh localhost/histoseg-base:bookworm
#   podman build --pull=never --network=host --build-arg BASE=localhost/histoseg-base:bookworm …
# Needs root, debootstrap, podman. Takes four minutes. Tests use it; what is published is built from the pinned base.
set -euo pipefail

tag=${1:?name the image to make, e.g. localhost/histoseg-base:bookworm}
mirror=${2:-}  # empty: the one that debootstrap takes by itself
certificates=/etc/ssl/certs/ca-certificates.crt
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# Debian 12's own Python is 3.11, the version of the pinned base.
debootstrap --variant=minbase --include=ca-certificates,python3,python3-dev,python3-venv bookworm "$root" ${mirror:+"$mirror"}
ln -s /usr/bin/python3 "$root/usr/local/bin/python3"
ln -s /usr/bin/python3 "$root/usr/local/bin/python"
# What this machine trusts (a proxy's certificate, say), the build has to trust, too.
cp "$certificates" "$root$certificates"
rm -rf "$root"/var/cache/apt/archives/*.deb
tar --create --directory "$root" . | podman import \
    --change "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    --change "ENV SSL_CERT_FILE=$certificates" \
    --change "ENV PIP_CERT=$certificates" \
    - "$tag"
