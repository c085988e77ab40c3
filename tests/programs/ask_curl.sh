#!/bin/sh
# Asks nginx, with curl, what a version of HTTP can ask, and prints the answers but for what differs
# from hop to hop and from run to run. Usage: ask_curl.sh 1.0|1.1|2|2-upgrade|2-tls
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
case $1 in
  1.0) flags=-0 site=http://web:8080 ;;
  1.1) flags=--http1.1 site=http://web:8080 ;;
  2) flags=--http2-prior-knowledge site=http://web:8081 ;;
  # An offer that the server leaves unanswered: HTTP/1.1 it is.
  2-upgrade) flags=--http2 site=http://web:8080 ;;
  2-tls) flags="--http2 --cacert /run/tls/cert.pem" site=https://web:8443 ;;
esac
seq 1 400000 | head -c 2500000 > upload
head -c 20000000 /dev/zero > too-much
# What a server's version of an answer to HTTP/1.0 is, is each hop's own.
case $1 in 1.0) by=1.0 ;; *) by='%{http_version}' ;; esac

# The status lines, the fields in order, and what the body is: NAME CURL-ARGUMENTS...
ask() {
  name=$1
  echo "== $name"
  shift
  : > head
  : > body
  curl --no-progress-meter --max-time 30 $flags -D head -o body -w "HTTP/$by %{response_code}\n" "$@" || echo "curl: exit $?"
  # Of HEAD, curl prints the fields there too.
  case $name in HEAD*) : > body ;; esac
  tr -d '\r' < head | sed -n 's/^HTTP\/[0-9.]* \([0-9]*\).*/status \1/p'
  tr -d '\r' < head | grep ': ' | tr 'A-Z' 'a-z' | grep -Ev '^(date|connection|keep-alive|trailer): ' | sort
  echo "body: $(wc -c < body) bytes, $(sha256sum < body | cut -c -16)"
}
# Of what was just made: NAME URL
fetched() {
  echo "== $1: $(curl -sS --max-time 30 $flags "$2" | sha256sum | cut -c -16)"
}

ask "a file" $site/text.txt
if [ $1 = 2-upgrade ]; then
  ask "an upload" -T upload $site/upload/plain-$1
  exit
fi
ask "HEAD" -I $site/text.txt
ask "HEAD of a stream" -I $site/stream/page.html
ask "a range" -r 100-199 $site/text.txt
ask "not changed" -H 'If-Modified-Since: Thu, 29 Feb 2024 12:00:00 GMT' $site/text.txt
ask "nothing there" $site/nothing
ask "an error of its own" -H 'User-Agent: kettle' $site/teapot
ask "a redirect" $site/moved
ask "a redirect that is followed" -L $site/moved
ask "unknown length, and a trailer" -H 'TE: trailers' $site/stream/page.html
ask "compressed" -H 'Accept-Encoding: gzip' $site/zip/text.txt
ask "what was said" -X OPTIONS -A a-test -H 'X-Said: one, two' -H 'x-said: three' "$site/said/a%20b%2Fc/d?q=%C3%A9&empty=" --path-as-is
ask "a big download" $site/big.bin
ask "an upload" -T upload $site/upload/plain-$1
fetched "it is whole" $site/upload/plain-$1
ask "an upload that waits for 100" -H 'Expect: 100-continue' --expect100-timeout 20 -T upload $site/upload/waited-$1
fetched "it is whole" $site/upload/waited-$1
case $1 in
  # nginx and curl do not agree on how HTTP/2 says this.
  1.*) ask "an upload that need not be sent" -H 'Expect: 100-continue' --expect100-timeout 20 -T too-much $site/upload/refused-$1 ;;
esac
if [ $1 != 1.0 ]; then
  seq 1 400000 | ask "a chunked upload" -H 'Expect:' -T - $site/upload/chunked-$1
  fetched "it is whole" $site/upload/chunked-$1
fi
ask "deleted" -X DELETE $site/upload/plain-$1
ask "gone" $site/upload/plain-$1

echo "== one connection for many: $(curl -sS --max-time 30 $flags -o /dev/null -w '%{num_connects} ' "$site/text.txt?[1-5]")"
if [ $1 = 1.0 ]; then
  echo "== kept in HTTP/1.0: $(curl -sS --max-time 30 $flags -H 'Connection: keep-alive' -o /dev/null -w '%{num_connects} ' "$site/text.txt?[1-5]")"
fi
case $1 in
  1.*)
    many=$(curl --no-progress-meter --max-time 30 $flags --parallel --parallel-max 20 -o /dev/null -w '%{response_code}\n' \
      "$site/text.txt?[1-100]" | sort | uniq -c)
    ;;
  2*) many=$(h2load -n 400 -c 2 -m 20 $site/text.txt | grep -o '[0-9]* succeeded, [0-9]* failed, [0-9]* errored') ;;
esac
echo "== many at once:" $many
