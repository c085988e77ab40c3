#!/bin/sh
# git, over HTTPS that is the application's own and over git's own protocol. Usage: ask_git.sh https|git
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME="$work" GIT_CONFIG_NOSYSTEM=1 GIT_SSL_CAINFO=/run/tls/cert.pem GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME=b GIT_AUTHOR_EMAIL=b@example.com GIT_AUTHOR_DATE='2024-03-01 12:00:00 +0000'
export GIT_COMMITTER_NAME=b GIT_COMMITTER_EMAIL=b@example.com GIT_COMMITTER_DATE='2024-03-01 12:00:00 +0000'
git=/usr/bin/git
case $1 in
  https) url=https://web:8443/git/project.git ;;
  git) url=git://git:9418/project.git ;;
esac
echo "== what is there"
timeout 30 $git ls-remote "$url"
echo "== a clone"
timeout 30 $git clone -q "$url" clone && $git -C clone fsck --strict && $git -C clone log --format='%H %s'
if [ "$1" = https ]; then
  echo "== a server that is not known: $(GIT_SSL_CAINFO=/dev/null timeout 30 $git ls-remote "$url" > /dev/null 2>&1; echo $?)"
else
  echo "== a push"
  seq 1 300000 > clone/large
  $git -C clone add . && $git -C clone commit -q -m pushed
  timeout 30 $git -C clone push -q origin main:pushed
  timeout 30 $git ls-remote "$url"
fi
