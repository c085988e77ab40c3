#!/bin/sh
# Starts nginx with files that are the same wherever it runs. /run/data is its own.
set -eu
prefix=/run/data/nginx
mkdir -p $prefix/files/upload $prefix/files/stream $prefix/files/zip
cd $prefix/files
seq 1 2000 > text.txt
cp text.txt zip/text.txt
echo '<!--# echo var="request_method" --> at <!--# echo var="uri" -->' > stream/page.html
head -c 33554432 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 2> /dev/null > big.bin
/run/programs/repository.sh git
touch -d '2024-02-29 12:00:00 UTC' text.txt zip/text.txt stream/page.html big.bin
exec nginx -p $prefix -c /run/programs/nginx.conf
