#!/usr/bin/env bash
# A real Apache Kafka (KRaft, one process) on loopback, for tests and for trying things out.
#
#   kafka.sh run            starts a broker in a temporary folder, prints host:port, and stops it and
#                           removes the folder when its standard input ends or it is told to stop
#   kafka.sh start DIR      starts a broker that keeps its log in DIR, prints host:port; starts it
#                           again on the same port when it was stopped
#   kafka.sh stop DIR       stops it
#   kafka.sh kill DIR       stops it as a power cut would
#
# Needs Java 17 or later, and Maven for the first run, which fetches the jars of pom.xml (44 MB) into
# target/kafka, or into $ENDCAP_KAFKA_JARS.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=${ENDCAP_KAFKA_JARS:-$here/../../target/kafka/$(cksum <"$here/pom.xml" | cut -d' ' -f1)}

say() { echo "kafka.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

# The jars come into a folder of their own that is renamed when it is whole.
fetch() {
  [ -d "$jars" ] && return
  command -v mvn >/dev/null || fail "needs mvn to fetch Kafka: apt-get install maven"
  say "fetching Kafka into $jars"
  mkdir -p "$(dirname "$jars")"
  local part
  part=$(mktemp -d "$jars.XXXXXX")
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$part" >&2 ||
    { rm -rf "$part"; fail "Maven could not fetch Kafka"; }
  mv -T "$part" "$jars" 2>/dev/null || rm -rf "$part" # another run was faster
}

is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port below the range that the system hands out by itself, so that only another kafka.sh could take it.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + RANDOM % 12000))
    is_open "$port" || { echo "$port"; return; }
  done
  fail "no free port"
}

configure() { # DIR PORT CONTROLLER_PORT
  cat >"$1/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$3
listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$3
advertised.listeners=PLAINTEXT://127.0.0.1:$2
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$1/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
PROPERTIES
}

alive() { [ -s "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

start() { # DIR
  local dir=$1 port
  command -v java >/dev/null || fail "needs java 17 or later: apt-get install openjdk-17-jre-headless"
  fetch
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  alive "$dir" && fail "a broker is already running in $dir"
  if [ ! -f "$dir/port" ]; then
    port=$(free_port)
    configure "$dir" "$port" "$(free_port)"
    local id
    id=$(java -cp "$jars/*" kafka.tools.StorageTool random-uuid 2>/dev/null)
    java -cp "$jars/*" kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" >"$dir/format.out" 2>&1 ||
      fail "the log could not be made: $(cat "$dir/format.out")"
    echo "$port" >"$dir/port"
  fi
  port=$(cat "$dir/port")
  java -Xms256m -Xmx512m -cp "$jars/*" kafka.Kafka "$dir/server.properties" </dev/null >"$dir/out" 2>&1 &
  echo $! >"$dir/pid"
  disown # its end is no news of this shell's
  for _ in $(seq 600); do
    # The broker opens its port when it is ready to be asked.
    is_open "$port" && { echo "127.0.0.1:$port"; return; }
    alive "$dir" || fail "the broker did not start: $(tail -n 20 "$dir/out")"
    sleep 0.1
  done
  stop "$dir"
  fail "the broker did not answer within a minute: $(tail -n 20 "$dir/out")"
}

stop() { # DIR [SIGNAL]
  alive "$1" || return 0
  local pid
  pid=$(cat "$1/pid")
  kill "-${2:-TERM}" "$pid" 2>/dev/null || true
  for _ in $(seq 150); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$1/pid"; return; }
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  rm -f "$1/pid"
}

run() {
  local dir
  dir=$(mktemp -d "${TMPDIR:-/tmp}/kafka.XXXXXX")
  # shellcheck disable=SC2064 # the folder is known now
  trap "stop '$dir' KILL; rm -rf '$dir'" EXIT
  trap 'exit 0' INT TERM
  start "$dir"
  # Ends with whoever holds the other end, also when that was killed.
  cat >/dev/null || true
}

case ${1:-} in
  run) run ;;
  start) start "${2:?which folder?}" ;;
  stop) stop "${2:?which folder?}" ;;
  kill) stop "${2:?which folder?}" KILL ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
