#!/usr/bin/env bash
# Install the Debian packages that building and off-screen rendering need; without root, say the command that would.
set -euo pipefail
cd "$(dirname "$0")/.."

rendering=(libegl1 libgl1 libgles2 libosmesa6 libegl-mesa0 libgl1-mesa-dri libusb-1.0-0)
read -ra building <<<"$("${PYTHON:-python3}" tools/check_python.py)"

if ! command -v dpkg-query >/dev/null; then
  echo "system packages: no Debian or Ubuntu; make sure to have what these hold: ${building[*]} ${rendering[*]}" >&2
  exit 0
fi

missing=("${building[@]}")
for package in "${rendering[@]}"; do
  status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
  echo "system packages: all there"
elif [ "$(id -u)" -eq 0 ]; then
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}"
else
  echo "system packages missing: ${missing[*]}; run: sudo apt-get update && sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
