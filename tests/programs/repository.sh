#!/bin/sh
# Makes a git repository whose commits are the same wherever it is made, in the directory $1.
set -eu
export HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_AUTHOR_DATE='2024-02-29 12:00:00 +0000'
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com GIT_COMMITTER_DATE='2024-02-29 12:00:00 +0000'
work=$1.work
/usr/bin/git init -q -b main "$work"
for n in 1 2 3; do
  seq $n 5000 > "$work/file-$n"
  /usr/bin/git -C "$work" add .
  /usr/bin/git -C "$work" commit -q -m "the commit $n"
done
/usr/bin/git clone -q --bare "$work" "$1/project.git"
/usr/bin/git -C "$1/project.git" update-server-info
rm -rf "$work"
