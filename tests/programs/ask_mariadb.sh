#!/bin/sh
# MariaDB with its own client: the server speaks first.
set -u
ask() {
  echo "== $1"
  shift
  mariadb --no-defaults -h mariadb -P 3306 -u app -psecret --connect-timeout=8 --max-allowed-packet=32M shop "$@" 2>&1
}
ask "a table" -e 'CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(40)); INSERT INTO item VALUES (1, "one"), (2, "two"); SELECT * FROM item'
ask "what is undone" -e 'START TRANSACTION; DELETE FROM item; ROLLBACK; SELECT COUNT(*) FROM item'
ask "a mistake" -e 'SELECT * FROM nothing'
ask "many rows" -N -e 'SELECT seq FROM seq_1_to_20000' | sha256sum
ask "megabytes" -N -e "SELECT REPEAT('x', 8000000)" | sha256sum
{ printf "SELECT LENGTH('"; head -c 8000000 /dev/zero | tr '\0' y; echo "');"; } | ask "a statement of megabytes" -N
ask "prepared" -e "PREPARE s FROM 'SELECT name FROM item WHERE id = ?'; SET @id = 2; EXECUTE s USING @id"
ask "a wrong password" -pwrong -e 'SELECT 1' | sed "s/'app'@'[^']*'/'app'@'its address'/"
for n in 1 2 3 4 5; do ask "again $n" -N -e "SELECT $n"; done
