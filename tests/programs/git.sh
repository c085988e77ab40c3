#!/bin/sh
# Serves a repository by git's own protocol, and takes pushes.
set -eu
export HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1
/run/programs/repository.sh /run/data/git
exec /usr/lib/git-core/git-daemon --export-all --enable=receive-pack --reuseaddr --base-path=/run/data/git --port=9418
