# shellcheck shell=bash
# One throwaway cluster for a shell script; sourced by tests/regress/run and tests/demo/run. (The tests in Rust have
# tests/support/cluster.rs.)
#
# It listens on a unix socket in its own directory and nowhere else, so it needs no free port and nobody else can
# reach it; everything it writes is in that directory.
#
# cluster_find_server   sets cluster_bin from PG_CONFIG, else to the private server that pgrx-config/setup made
# cluster_create NAME   makes the directory and runs initdb; settings from standard input come last and win
# cluster_start         starts it and points PGHOST, PGPORT and PGUSER at it
# cluster_stop          stops it, by the pid file in its own directory
# cluster_remove        stops it and removes the directory

cluster_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cluster_target=$(realpath -m "${CARGO_TARGET_DIR:-$cluster_root/target}")
cluster_dir=''

cluster_find_server() {
    local pg_config=${PG_CONFIG:-} major
    if [[ -z $pg_config ]]; then
        read -r major _ < <("$cluster_root/pgrx-config/setup" --which)
        pg_config=$cluster_target/pg$major/bin/pg_config
    fi
    [[ -x $pg_config ]] || {
        echo "$pg_config is missing; run: pgrx-config/setup" >&2
        return 1
    }
    cluster_bin=$("$pg_config" --bindir)
}

# The server's programs refuse root; for root they run as user postgres. From /, since that user may not be able to
# enter the directory that the caller is in.
cluster_run() {
    if [[ $EUID -eq 0 ]]; then
        (cd / && exec runuser -u postgres -- "$@")
    else
        (cd / && exec "$@")
    fi
}

cluster_create() {
    [[ -e $("$cluster_bin/pg_config" --pkglibdir)/target_profile.so ]] || {
        echo "target_profile is not installed in the server at $cluster_bin; run: make server" >&2
        return 1
    }
    cluster_dir=$(mktemp -d "${TMPDIR:-/tmp}/target_profile-$1.XXXXXX")
    [[ $EUID -ne 0 ]] || chown postgres: "$cluster_dir"
    cluster_run "$cluster_bin/initdb" --pgdata="$cluster_dir/data" --username=postgres --auth=trust --encoding=UTF8 \
        --locale=C.UTF-8 --no-sync --no-instructions >"$cluster_dir/initdb.log" 2>&1 || {
        cat "$cluster_dir/initdb.log" >&2
        return 1
    }
    {
        cat "$cluster_root/pgrx-config/postgresql.conf"
        printf "\nlisten_addresses = ''\nunix_socket_directories = '%s'\n" "$cluster_dir"
        cat
    } >>"$cluster_dir/data/postgresql.conf"
}

cluster_start() {
    cluster_run "$cluster_bin/pg_ctl" --pgdata="$cluster_dir/data" --log="$cluster_dir/log" --silent --wait start \
        >"$cluster_dir/start.log" 2>&1 </dev/null || {
        cat "$cluster_dir/start.log" "$cluster_dir/log" >&2
        return 1
    }
    unset PGDATABASE PGSERVICE PGOPTIONS PGHOSTADDR PGPASSWORD
    export PGHOST=$cluster_dir PGPORT=5432 PGUSER=postgres
}

cluster_stop() {
    [[ -e $cluster_dir/data/postmaster.pid ]] || return 0
    cluster_run "$cluster_bin/pg_ctl" --pgdata="$cluster_dir/data" --silent --wait --mode="${1:-fast}" stop >/dev/null
}

cluster_remove() {
    [[ -n $cluster_dir ]] || return 0
    cluster_stop fast || cluster_stop immediate || true
    rm -rf "$cluster_dir"
    cluster_dir=''
}
