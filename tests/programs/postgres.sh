#!/bin/sh
# Starts PostgreSQL in /run/data, with TLS for whoever asks for it.
set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
data=/run/data/postgres
echo secret > /run/data/postgres-password
"$bin/initdb" -D $data -U app --pwfile=/run/data/postgres-password -A scram-sha-256 -E UTF8 --locale=C --no-sync > /dev/null
cp /run/tls/cert.pem $data/server.crt
(umask 077; cat /run/tls/key.pem > $data/server.key)
echo 'host all all all scram-sha-256' >> $data/pg_hba.conf
exec "$bin/postgres" -D $data -p 5432 -c listen_addresses='*' -c unix_socket_directories=/run/data -c ssl=on \
  -c fsync=off -c log_min_messages=fatal
