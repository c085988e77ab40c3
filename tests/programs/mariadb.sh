#!/bin/sh
# Starts MariaDB in /run/data, with a database for everybody who has the password.
set -eu
data=/run/data/mariadb
mariadb-install-db --no-defaults --datadir=$data --auth-root-authentication-method=normal --skip-test-db \
  --innodb-log-file-size=8M > /run/data/mariadb-install.log 2>&1 || { cat /run/data/mariadb-install.log; exit 1; }
# Before it listens: whoever comes first finds the database and its user.
mariadbd --no-defaults --datadir=$data --bootstrap --innodb-log-file-size=8M --innodb-use-native-aio=0 <<SQL
FLUSH PRIVILEGES;
CREATE DATABASE shop;
CREATE USER app@'%' IDENTIFIED BY 'secret';
GRANT ALL ON shop.* TO app@'%';
SQL
exec mariadbd --no-defaults --datadir=$data --socket=/run/data/mariadb.sock --pid-file=/run/data/mariadb.pid \
  --port=3306 --bind-address='*' --skip-name-resolve \
  --innodb-log-file-size=8M --innodb-flush-log-at-trx-commit=0 --innodb-use-native-aio=0 --max-allowed-packet=32M
