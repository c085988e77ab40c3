#!/bin/sh
# Redis with its own client: pipelines, blocking, publish and subscribe, megabytes.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ask() {
  timeout 30 redis-cli -h redis -p 6379 "$@"
}
echo "== set, get, count: $(ask SET key value) $(ask GET key) $(ask INCR counter) $(ask INCR counter)"
echo "== a mistake: $(ask INCR key)"
echo "== a script: $(ask EVAL 'return {1, 2, redis.call("GET", KEYS[1])}' 1 key | tr '\n' ' ')"
printf 'MULTI\nINCR a\nINCR a\nEXEC\n' | ask
head -c 8000000 /dev/zero | tr '\0' z | ask -x SET large
echo "== megabytes: $(ask --raw GET large | sha256sum)"
echo "== 10,000 in a pipe:"
seq 1 10000 | sed 's/.*/SET k& v&/' | ask --pipe
echo "== all there: $(ask DBSIZE)"
ask BLPOP queue 20 > "$work/popped" &
until [ "$(ask INFO clients | tr -d '\r' | sed -n 's/^blocked_clients://p')" = 1 ]; do sleep 0.05; done
ask RPUSH queue job > /dev/null
wait $!
echo "== waited for: $(tr '\n' ' ' < "$work/popped")"
timeout 30 redis-cli -h redis -p 6379 SUBSCRIBE news > "$work/news" &
until [ "$(ask PUBSUB NUMSUB news | tail -n 1)" = 1 ]; do sleep 0.05; done
ask PUBLISH news first > /dev/null
ask PUBLISH news last > /dev/null
until grep -q last "$work/news"; do sleep 0.05; done
kill $!
echo "== subscribed: $(tr '\n' ' ' < "$work/news")"
