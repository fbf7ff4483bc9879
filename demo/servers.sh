# shellcheck shell=bash disable=SC2154,SC2034
# Sourced by quickstart: two private PostgreSQL servers in $dir, reached only through sockets in that folder, so no
# port and no other server of the machine is touched. $bin is the folder of PostgreSQL's programs.

source_port=6001
target_port=6002

# Prints the URI of a database on one of the two servers.
server_uri() { echo "postgresql://postgres@/$2?host=$dir&port=$1"; }

# PostgreSQL refuses to run as root; the folder belongs to the user it runs as, and nobody else may enter it.
as_server() {
    if [ "$(id -u)" = 0 ]; then
        (cd "$dir" && runuser -u postgres -- "$@")
    else
        (cd "$dir" && "$@")
    fi
}

# server_start NAME PORT: the rest of its settings are PostgreSQL's own.
server_start() {
    as_server "$bin/initdb" -D "$dir/$1" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
    cat >>"$dir/$1/postgresql.conf" <<END
listen_addresses = ''
port = $2
unix_socket_directories = '$dir'
cluster_name = 'walferry_quickstart_$1'
wal_level = logical
shared_buffers = 128MB
max_wal_size = 2GB
END
    as_server "$bin/pg_ctl" -D "$dir/$1" -l "$dir/$1.log" -t 60 -w start >/dev/null
}

server_stop() {
    [ -e "$dir/$1/postmaster.pid" ] || return 0
    as_server "$bin/pg_ctl" -D "$dir/$1" -m fast -t 15 -w stop >/dev/null 2>&1 ||
        as_server "$bin/pg_ctl" -D "$dir/$1" -m immediate -w stop >/dev/null 2>&1 || true
}
