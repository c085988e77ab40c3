#!/bin/sh
# PostgreSQL with its own client, plain and with TLS of its own.
set -u
export PGPASSWORD=secret PGCONNECT_TIMEOUT=8
# Debian's psql is a script that looks for this.
psql=$(ls /usr/lib/postgresql/*/bin/psql | tail -n 1)
ask() {
  echo "== $1"
  tls=$2
  shift 2
  "$psql" -X -A -t -v ON_ERROR_STOP=1 "host=postgres port=5432 user=app dbname=postgres sslmode=$tls sslrootcert=/run/tls/cert.pem" "$@" 2>&1
}
for tls in disable verify-full; do
  ask "sealed?" $tls -c 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'
  ask "a table" $tls -c 'DROP TABLE IF EXISTS item' -c 'CREATE TABLE item (id int PRIMARY KEY, name text)' -c "INSERT INTO item VALUES (1, 'one')"
  seq 2 20000 | sed 's/.*/&\tname &/' | ask "copied in" $tls -c 'COPY item FROM STDIN'
  ask "copied out" $tls -c 'COPY (SELECT * FROM item ORDER BY id) TO STDOUT' | sha256sum
  ask "what is undone" $tls -c 'BEGIN; DELETE FROM item; ROLLBACK' -c 'SELECT count(*) FROM item'
  ask "a mistake" $tls -c 'SELECT * FROM nothing'
  ask "megabytes" $tls -c "SELECT repeat('x', 8000000)" | sha256sum
  ask "a time-out of its own" $tls -c 'SET statement_timeout = 100' -c 'SELECT pg_sleep(20)'
done
PGPASSWORD=wrong ask "a wrong password" disable -c 'SELECT 1' | sed 's/at "postgres" ([^)]*)/at "postgres"/'
