#!/bin/sh
# Run once by the image, when the volume is new: for each service a role, and a database of its own
# that no other role may connect to. A password file names the service.
set -eu

for file in "${SECRETS:-/run/secrets}"/*.password; do
    service=$(basename "$file" .password)
    [ "$service" = admin ] && continue
    psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        --set service="$service" --set password="$(cat "$file")" <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
SQL
done
