#!/usr/bin/env bash
# Toxiproxy: TCP proxies whose network can be made slow or cut, for tests.
#
#   toxiproxy.sh run                       starts it on loopback, prints its API's host:port, and stops it when its
#                                          standard input ends or it is told to stop
#   toxiproxy.sh add API NAME UPSTREAM     a proxy to UPSTREAM; prints the host:port it listens on
#   toxiproxy.sh point API NAME UPSTREAM   the same proxy, to somewhere else
#   toxiproxy.sh slow API NAME MS JITTER   each packet of an answer comes so many milliseconds later
#   toxiproxy.sh fast API NAME             … no more
#   toxiproxy.sh cut API NAME              connections end, and new ones are refused
#   toxiproxy.sh mend API NAME             … no more
#
# Needs curl, and Go for the first run, which builds the server into target/toxiproxy (17 s).
set -euo pipefail

version=v2.12.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$here/../../target/toxiproxy/$version

fail() { echo "toxiproxy.sh: $*" >&2; exit 1; }

build() {
  [ -x "$bin/server" ] && return
  command -v go >/dev/null || fail "needs go: apt-get install golang"
  mkdir -p "$bin"
  GOBIN=$(cd "$bin" && pwd) go install "github.com/Shopify/toxiproxy/v2/cmd/server@$version" >&2
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

run() {
  build
  local port pid
  port=$(free_port)
  "$bin/server" -host 127.0.0.1 -port "$port" </dev/null >/dev/null 2>&1 &
  pid=$!
  # shellcheck disable=SC2064 # the process is known now
  trap "kill $pid 2>/dev/null || true" EXIT
  trap 'exit 0' INT TERM
  for _ in $(seq 100); do
    curl -sf "http://127.0.0.1:$port/version" >/dev/null && break
    kill -0 "$pid" 2>/dev/null || fail "the server did not start"
    sleep 0.05
  done
  echo "127.0.0.1:$port"
  # Ends with whoever holds the other end, also when that was killed.
  cat >/dev/null || true
}

call() { # METHOD API PATH [BODY]
  curl -sSf -X "$1" "http://$2$3" ${4:+-d "$4"}
}

case ${1:-} in
  run) run ;;
  add)
    listen=127.0.0.1:$(free_port)
    call POST "$2" /proxies "{\"name\":\"$3\",\"listen\":\"$listen\",\"upstream\":\"$4\",\"enabled\":true}" >/dev/null
    echo "$listen"
    ;;
  point) call POST "$2" "/proxies/$3" "{\"upstream\":\"$4\"}" >/dev/null ;;
  slow) call POST "$2" "/proxies/$3/toxics" \
    "{\"name\":\"slow\",\"type\":\"latency\",\"attributes\":{\"latency\":$4,\"jitter\":$5}}" >/dev/null ;;
  fast) call DELETE "$2" "/proxies/$3/toxics/slow" >/dev/null ;;
  cut) call POST "$2" "/proxies/$3" '{"enabled":false}' >/dev/null ;;
  mend) call POST "$2" "/proxies/$3" '{"enabled":true}' >/dev/null ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
