#!/usr/bin/env bash
# A real Redis (or Valkey) on loopback, for tests and for trying things out.
#
#   redis.sh run [MASTERS]        starts a server, or a cluster of so many masters, in a temporary folder, prints
#                                 host:port,…, and stops it and removes the folder when its standard input ends or
#                                 it is told to stop
#   redis.sh run secure           a server that wants TLS and a password (redis-secret); prints also `tls=DIR` (ca.pem)
#   redis.sh start DIR [MASTERS]  the same with data kept in DIR; on the same ports when it was stopped
#   redis.sh stop DIR             stops it
#   redis.sh kill DIR             stops it as a power cut would
#
# Every write is on disk within a second (appendonly). Needs redis-server and redis-cli 7 (apt-get install
# redis-server), or valkey-server and valkey-cli; ENDCAP_REDIS_SERVER and ENDCAP_REDIS_CLI name others.
set -euo pipefail

say() { echo "redis.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

first_of() { local tool; for tool in "$@"; do command -v "$tool" && return; done; return 1; }
server=${ENDCAP_REDIS_SERVER:-$(first_of redis-server valkey-server || true)}
cli=${ENDCAP_REDIS_CLI:-$(first_of redis-cli valkey-cli || true)}

is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the range that the system hands out by itself; the cluster's bus takes the port 10,000 above.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((10000 + RANDOM % 10000))
    is_open "$port" || is_open $((port + 10000)) || { echo "$port"; return; }
  done
  fail "no free port"
}

alive() { [ -s "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

# An authority and the server's certificate, for two days.
certify() { # DIR
  command -v openssl >/dev/null || fail "needs openssl: apt-get install openssl"
  mkdir -p "$1"
  {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-authority \
      -keyout "$1/ca.key" -out "$1/ca.pem"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=redis -keyout "$1/key.pem" -out "$1/csr.pem"
    openssl x509 -req -in "$1/csr.pem" -CA "$1/ca.pem" -CAkey "$1/ca.key" -CAcreateserial -days 2 \
      -extfile <(echo subjectAltName=DNS:localhost,IP:127.0.0.1) -out "$1/cert.pem"
  } >"$1/openssl.out" 2>&1 || fail "the certificates could not be made: $(cat "$1/openssl.out")"
}

start_node() { # DIR CLUSTER(yes|no) [SECURE(yes)]
  mkdir -p "$1"
  alive "$1" && fail "a server is already running in $1"
  local attempt port ports secure=() ask=()
  if [ "${3:-no}" = yes ]; then
    certify "$1/tls"
    secure=(--tls-cert-file "$1/tls/cert.pem" --tls-key-file "$1/tls/key.pem" --tls-ca-cert-file "$1/tls/ca.pem"
      --tls-auth-clients no --requirepass redis-secret)
    ask=(--tls --cacert "$1/tls/ca.pem" --no-auth-warning -a redis-secret)
  fi
  for attempt in 1 2 3 4 5; do
    port=$(cat "$1/port" 2>/dev/null || free_port)
    ports=(--port "$port")
    [ "${#secure[@]}" -eq 0 ] || ports=(--port 0 --tls-port "$port")
    (cd "$1" && exec "$server" "${ports[@]}" "${secure[@]}" --bind 127.0.0.1 --daemonize no --dir "$1" --appendonly yes \
      --appendfsync everysec --save '' --cluster-enabled "$2" --cluster-node-timeout 2000) \
      </dev/null >"$1/out" 2>&1 &
    echo $! >"$1/pid"
    disown # its end is no news of this shell's
    for _ in $(seq 300); do
      # A large log of writes is read first: then the server answers LOADING.
      [ "$("$cli" "${ask[@]}" -h 127.0.0.1 -p "$port" ping 2>/dev/null)" = PONG ] && alive "$1" &&
        { echo "$port" >"$1/port"; return; }
      alive "$1" || break
      sleep 0.1
    done
    alive "$1" && fail "the server did not answer within 30 s: $(tail -n 20 "$1/out")"
    # Another server may have taken the port meanwhile.
    [ -f "$1/port" ] && [ "$attempt" -gt 1 ] && break
    sleep 0.2
  done
  fail "the server did not start: $(tail -n 20 "$1/out")"
}

start() { # DIR MASTERS|secure
  [ -n "$server" ] && [ -n "$cli" ] || fail "needs redis-server: apt-get install redis-server"
  mkdir -p "$1"
  local dir masters=$2 node addresses=() secure=no
  dir=$(cd "$1" && pwd)
  [ "$masters" != secure ] || { masters=1 secure=yes; }
  local cluster=no
  [ "$masters" -gt 1 ] && cluster=yes
  for node in $(seq "$masters"); do
    start_node "$dir/$node" "$cluster" "$secure"
    addresses+=("127.0.0.1:$(cat "$dir/$node/port")")
  done
  if [ "$cluster" = yes ]; then
    if [ ! -f "$dir/cluster" ]; then
      "$cli" --cluster create "${addresses[@]}" --cluster-yes >"$dir/create.out" 2>&1 ||
        fail "the cluster could not be made: $(cat "$dir/create.out")"
      touch "$dir/cluster"
    fi
    for _ in $(seq 300); do
      local good=0
      for node in $(seq "$masters"); do
        "$cli" -p "$(cat "$dir/$node/port")" cluster info 2>/dev/null | grep -q '^cluster_state:ok' && good=$((good + 1))
      done
      [ "$good" = "$masters" ] && break
      sleep 0.1
    done
    [ "$good" = "$masters" ] || fail "the cluster did not come together"
  fi
  (IFS=,; echo "${addresses[*]}")
  [ "$secure" = no ] || echo "tls=$dir/1/tls"
}

stop() { # DIR [SIGNAL]
  local node pid
  for node in "$1"/[0-9]*; do
    alive "$node" || continue
    pid=$(cat "$node/pid")
    kill "-${2:-TERM}" "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$node/pid"
  done
}

run() { # MASTERS|secure
  local dir
  dir=$(mktemp -d "${TMPDIR:-/tmp}/redis.XXXXXX")
  # shellcheck disable=SC2064 # the folder is known now
  trap "stop '$dir' KILL; rm -rf '$dir'" EXIT
  trap 'exit 0' INT TERM
  start "$dir" "$1"
  # Ends with whoever holds the other end, also when that was killed.
  cat >/dev/null || true
}

case ${1:-} in
  run) run "${2:-1}" ;;
  start) start "${2:?which folder?}" "${3:-1}" ;;
  stop) stop "${2:?which folder?}" ;;
  kill) stop "${2:?which folder?}" KILL ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
