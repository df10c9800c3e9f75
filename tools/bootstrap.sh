#!/bin/sh
# Makes sure that a Python of at least 3.11 with venv and headers, and a C compiler, are there; makes .venv and installs headrace into it.
# Where something is missing and apt is there, it is installed (as root) or the one line to type is printed.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

missing=""
need() { case " $missing " in *" $1 "*) ;; *) missing="${missing:+$missing }$1" ;; esac }
check() {
	missing=""
	if command -v "$python" >/dev/null 2>&1; then
		"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
			echo "headrace needs Python 3.11 or newer; $python is $("$python" -V 2>&1). Set PYTHON=/path/to/python3.11 and try again." >&2
			exit 1
		}
		"$python" -c 'import ensurepip, venv' 2>/dev/null || need python3-venv
		"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || need python3-dev
	else
		need python3; need python3-venv; need python3-dev
	fi
	command -v "${CC:-cc}" >/dev/null 2>&1 || { need gcc; need libc6-dev; }
}

check
if [ -n "$missing" ]; then
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "headrace needs these (Debian's names): $missing. Install them and try again." >&2
		exit 1
	fi
	if [ "$(id -u)" != 0 ]; then
		echo "headrace needs some system packages first. Type:" >&2
		echo "    sudo apt-get install -y --no-install-recommends $missing" >&2
		exit 1
	fi
	echo "Installing system packages: $missing"
	apt-get update -qq
	# shellcheck disable=SC2086 (a list of words)
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
	check
	[ -z "$missing" ] || { echo "Still missing after installing: $missing" >&2; exit 1; }
fi

[ -x .venv/bin/python ] || { echo "Making .venv"; "$python" -m venv .venv; }
extra=${1:-}
echo "Building headrace into .venv${extra:+ with what its $extra work needs}"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extra:+[$extra]}"
