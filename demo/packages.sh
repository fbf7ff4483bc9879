# shellcheck shell=bash disable=SC2154
# Sourced by quickstart: what has to be there, how it is found, and how Debian installs it.

missing=()
createcluster_conf=/etc/postgresql-common/createcluster.conf

# Prints the folder of the newest PostgreSQL server of this machine.
server_bin() {
    local bin
    while read -r bin; do
        if [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && [ -x "$bin/pgbench" ]; then
            echo "$bin"
            return 0
        fi
    done < <(printf '%s\n' /usr/lib/postgresql/*/bin | sort -Vr; pg_config --bindir 2>/dev/null)
    return 1
}

# PostgreSQL refuses to run as root, so root needs the user that the package makes.
server_usable() { server_bin && { [ "$(id -u)" != 0 ] || id postgres; }; }

compiler_usable() { echo '#include <stdio.h>' | cc -E -; }

library_usable() {
    if command -v pkg-config; then pkg-config --exists "$1"; else dpkg -s "$2"; fi
}

need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

packages_look() {
    missing=()
    need build-essential compiler_usable
    need cmake command -v cmake
    need ninja-build command -v ninja
    need pkg-config command -v pkg-config
    need libpq-dev library_usable libpq libpq-dev
    need libyaml-dev library_usable yaml-0.1 libyaml-dev
    need libjansson-dev library_usable jansson libjansson-dev
    need liblz4-dev library_usable liblz4 liblz4-dev
    need libxxhash-dev library_usable libxxhash libxxhash-dev
    need librdkafka-dev library_usable rdkafka librdkafka-dev
    need libcurl4-openssl-dev library_usable libcurl libcurl4-openssl-dev
    need libavro-dev library_usable avro-c libavro-dev
    need uthash-dev test -e /usr/include/uthash.h
    need postgresql server_usable
    need postgresql-client command -v psql
    return 0
}

# True when the machine's owner has said, one way or the other, whether the package makes a cluster.
cluster_choice_made() {
    grep -Eqs '^[[:space:]]*create_main_cluster[[:space:]]*=' \
        "$createcluster_conf" /etc/postgresql-common/createcluster.d/*.conf
}

# One line to paste into a root shell. Debian must not start a server of its own on port 5432.
packages_command() {
    printf 'apt-get update && '
    if [[ " ${missing[*]} " == *" postgresql "* ]]; then
        printf 'apt-get install -y postgresql-common && '
        cluster_choice_made || printf "echo 'create_main_cluster = false' >>%s && " "$createcluster_conf"
    fi
    printf 'apt-get install -y %s\n' "${missing[*]}"
}

# Runs as root: by itself, or through a sudo that does not ask.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Waits for another apt (a fresh machine often updates itself).
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" \
        >>"$dir/apt.log" 2>&1 </dev/null
}

packages_install() {
    apt update
    if [[ " ${missing[*]} " == *" postgresql "* ]]; then
        apt install -y --no-install-recommends postgresql-common
        if ! cluster_choice_made; then
            echo 'create_main_cluster = false' | as_root tee -a "$createcluster_conf" >/dev/null
            say "$createcluster_conf: create_main_cluster = false, so that Debian starts no server on port 5432"
        fi
    fi
    apt install -y --no-install-recommends "${missing[@]}"
}
