#!/usr/bin/env bash
# MinIO: a server that speaks S3, on loopback, for tests and for trying things out.
#
#   minio.sh run [BUCKET…]   starts one in a temporary folder with these buckets, prints its host:port, and stops it and
#                            removes the folder when its standard input ends or it is told to stop
#   minio.sh start DIR       the same with data kept in DIR; on the same port when it was stopped
#   minio.sh stop DIR        stops it
#   minio.sh kill DIR        stops it as a power cut would
#   minio.sh bucket ADDRESS BUCKET   makes a bucket
#   minio.sh build           builds the server, and says where it is
#   minio.sh built           whether it is built
#
# The access key is `endcap`, its secret `endcap-secret`, the region us-east-1. Needs curl 7.75 (for its --aws-sigv4), and
# Go for the first run, which builds the server into target/minio: five minutes on two cores.
set -euo pipefail

version=v0.0.0-20260212201848-7aac2a2c5b7c # its releases have no versions that Go knows
user=endcap
secret=endcap-secret
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$here/../../target/minio/$version

fail() { echo "minio.sh: $*" >&2; exit 1; }

build() {
  [ -x "$bin/minio" ] && return
  command -v go >/dev/null || fail "needs go: apt-get install golang"
  mkdir -p "$bin"
  GOBIN=$(cd "$bin" && pwd) go install "github.com/minio/minio@$version" >&2
}

is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
  local port
  for _ in $(seq 100); do
    port=$((10000 + RANDOM % 10000))
    is_open "$port" || { echo "$port"; return; }
  done
  fail "no free port"
}

alive() { [ -s "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

start() { # DIR
  build
  mkdir -p "$1/data"
  local dir port
  dir=$(cd "$1" && pwd)
  alive "$dir" && fail "a server is already running in $dir"
  port=$(cat "$dir/port" 2>/dev/null || free_port)
  MINIO_ROOT_USER=$user MINIO_ROOT_PASSWORD=$secret MINIO_BROWSER=off MINIO_UPDATE=off MINIO_CI_CD=on \
    "$bin/minio" server --quiet --address "127.0.0.1:$port" --config-dir "$dir/config" "$dir/data" \
    </dev/null >"$dir/out" 2>&1 &
  echo $! >"$dir/pid"
  disown # its end is no news of this shell's
  for _ in $(seq 600); do
    curl -sf "http://127.0.0.1:$port/minio/health/ready" >/dev/null && alive "$dir" &&
      { echo "$port" >"$dir/port"; echo "127.0.0.1:$port"; return; }
    alive "$dir" || break
    sleep 0.05
  done
  fail "the server did not start: $(tail -n 20 "$dir/out")"
}

stop() { # DIR [SIGNAL]
  alive "$1" || return 0
  local pid
  pid=$(cat "$1/pid")
  kill "-${2:-TERM}" "$pid" 2>/dev/null || true
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL "$pid" 2>/dev/null || true
  rm -f "$1/pid"
}

bucket() { # ADDRESS BUCKET
  curl -sSf -X PUT --aws-sigv4 aws:amz:us-east-1:s3 --user "$user:$secret" "http://$1/$2" >/dev/null
}

run() { # BUCKET…
  local dir address name
  dir=$(mktemp -d "${TMPDIR:-/tmp}/minio.XXXXXX")
  # shellcheck disable=SC2064 # the folder is known now
  trap "stop '$dir' KILL; rm -rf '$dir'" EXIT
  trap 'exit 0' INT TERM
  address=$(start "$dir")
  for name in "$@"; do bucket "$address" "$name"; done
  echo "$address"
  # Ends with whoever holds the other end, also when that was killed.
  cat >/dev/null || true
}

case ${1:-} in
  run) run "${@:2}" ;;
  start) start "${2:?which folder?}" ;;
  stop) stop "${2:?which folder?}" ;;
  kill) stop "${2:?which folder?}" KILL ;;
  bucket) bucket "${2:?which server?}" "${3:?which bucket?}" ;;
  built) [ -x "$bin/minio" ] ;;
  build) build; echo "$bin/minio" ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
