#!/usr/bin/env bash
# A real Apache Kafka (KRaft) on loopback, for tests and for trying things out: one broker, or several.
#
#   kafka.sh run [BROKERS]        starts it in a temporary folder, prints host:port,…, and stops it and removes
#                                 the folder when its standard input ends or it is told to stop
#   kafka.sh run secure           one broker with two more ways in: prints also `sasl_ssl=host:port` (user alice,
#                                 password alice-secret by PLAIN and SCRAM-SHA-512, unsigned tokens by OAUTHBEARER),
#                                 `ssl=host:port` (a client certificate) and `tls=DIR` (ca.pem, client.pem, client.key)
#   kafka.sh start DIR [BROKERS]  starts it with its logs in DIR, prints host:port,…; where some of its brokers
#                                 run already, starts the others, each on its port
#   kafka.sh stop DIR [BROKER]    stops all of it, or the broker with this number (from 1)
#   kafka.sh kill DIR [BROKER]    the same as a power cut would
#
# ENDCAP_KAFKA_ADVERTISED=host:port is told to clients in place of the broker's own address: a proxy's.
# Three brokers keep three copies of each topic, and take a message that is on two.
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

# An authority, and certificates of the broker and of a client, for two days.
certify() { # DIR
  command -v openssl >/dev/null || fail "needs openssl: apt-get install openssl"
  local tls=$1/tls name
  mkdir -p "$tls"
  {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-authority \
      -keyout "$tls/ca.key" -out "$tls/ca.pem"
    for name in broker client; do
      openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
        -keyout "$tls/$name.key" -out "$tls/$name.csr"
      openssl x509 -req -in "$tls/$name.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial -days 2 \
        -extfile <(echo subjectAltName=DNS:localhost,IP:127.0.0.1) -out "$tls/$name.pem"
    done
  } >"$tls/openssl.out" 2>&1 || fail "the certificates could not be made: $(cat "$tls/openssl.out")"
  cat "$tls/broker.key" "$tls/broker.pem" >"$tls/broker.both.pem"
}

secure() { # DIR SASL_SSL_PORT SSL_PORT
  sed -i -E "s#^(listeners=.*)#\1,SASL_SSL://127.0.0.1:$2,SSL://127.0.0.1:$3#
    s#^(advertised.listeners=.*)#\1,SASL_SSL://127.0.0.1:$2,SSL://127.0.0.1:$3#
    s#^(listener.security.protocol.map=.*)#\1,SASL_SSL:SASL_SSL,SSL:SSL#" "$1/server.properties"
  cat >>"$1/server.properties" <<PROPERTIES
ssl.keystore.type=PEM
ssl.keystore.location=$1/tls/broker.both.pem
ssl.truststore.type=PEM
ssl.truststore.location=$1/tls/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="alice-secret";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
PROPERTIES
}

configure() { # NODE_DIR NODE PORT VOTERS COPIES CONTROLLER_PORT
  local isr=$(($5 > 1 ? $5 - 1 : 1))
  cat >"$1/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$2
controller.quorum.voters=$4
listeners=PLAINTEXT://127.0.0.1:$3,CONTROLLER://127.0.0.1:$6
advertised.listeners=PLAINTEXT://${ENDCAP_KAFKA_ADVERTISED:-127.0.0.1:$3}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$1/log
auto.create.topics.enable=false
default.replication.factor=$5
min.insync.replicas=$isr
offsets.topic.replication.factor=$5
transaction.state.log.replication.factor=$5
transaction.state.log.min.isr=$isr
share.coordinator.state.topic.replication.factor=$5
share.coordinator.state.topic.min.isr=$isr
group.initial.rebalance.delay.ms=0
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=3000
group.consumer.session.timeout.ms=6000
PROPERTIES
}

alive() { [ -s "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

format() { # DIR BROKERS|secure
  local dir=$1 brokers=$2 node id voters="" ports=() controllers=() scram=()
  [ "$2" = secure ] && brokers=1
  id=$(java -cp "$jars/*" kafka.tools.StorageTool random-uuid 2>/dev/null)
  for node in $(seq "$brokers"); do
    ports[node]=$(free_port)
    controllers[node]=$(free_port)
    voters+=${voters:+,}$node@127.0.0.1:${controllers[node]}
  done
  for node in $(seq "$brokers"); do
    mkdir -p "$dir/$node"
    configure "$dir/$node" "$node" "${ports[node]}" "$voters" "$brokers" "${controllers[node]}"
    if [ "$2" = secure ]; then
      free_port >"$dir/$node/sasl_ssl"
      free_port >"$dir/$node/ssl"
      certify "$dir/$node"
      secure "$dir/$node" "$(cat "$dir/$node/sasl_ssl")" "$(cat "$dir/$node/ssl")"
      scram=(--add-scram 'SCRAM-SHA-512=[name=alice,password=alice-secret]')
    fi
    java -cp "$jars/*" kafka.tools.StorageTool format -t "$id" -c "$dir/$node/server.properties" "${scram[@]}" \
      >"$dir/$node/format.out" 2>&1 || fail "the log could not be made: $(cat "$dir/$node/format.out")"
    echo "${ports[node]}" >"$dir/$node/port"
  done
  echo "$brokers" >"$dir/brokers"
}

start() { # DIR BROKERS|secure
  local dir=$1 brokers node port addresses=()
  command -v java >/dev/null || fail "needs java 17 or later: apt-get install openjdk-17-jre-headless"
  fetch
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  [ -f "$dir/brokers" ] || format "$dir" "$2"
  brokers=$(cat "$dir/brokers")
  for node in $(seq "$brokers"); do
    addresses+=("127.0.0.1:$(cat "$dir/$node/port")")
    alive "$dir/$node" && continue
    java -Xms256m -Xmx512m -cp "$jars/*" kafka.Kafka "$dir/$node/server.properties" </dev/null >"$dir/$node/out" 2>&1 &
    echo $! >"$dir/$node/pid"
    disown # its end is no news of this shell's
  done
  for node in $(seq "$brokers"); do
    port=$(cat "$dir/$node/port")
    for _ in $(seq 600); do
      # A broker opens its port when it is ready to be asked.
      is_open "$port" && continue 2
      alive "$dir/$node" || fail "the broker did not start: $(tail -n 20 "$dir/$node/out")"
      sleep 0.1
    done
    stop "$dir"
    fail "the broker did not answer within a minute: $(tail -n 20 "$dir/$node/out")"
  done
  (IFS=,; echo "${addresses[*]}")
  [ ! -f "$dir/1/ssl" ] ||
    printf 'sasl_ssl=127.0.0.1:%s\nssl=127.0.0.1:%s\ntls=%s\n' "$(cat "$dir/1/sasl_ssl")" "$(cat "$dir/1/ssl")" "$dir/1/tls"
}

stop() { # DIR [SIGNAL [BROKER]]
  local node pid
  for node in "$1"/${3:-[0-9]*}; do
    alive "$node" || continue
    pid=$(cat "$node/pid")
    kill "-${2:-TERM}" "$pid" 2>/dev/null || true
  done
  for node in "$1"/${3:-[0-9]*}; do
    [ -s "$node/pid" ] || continue
    pid=$(cat "$node/pid")
    for _ in $(seq 150); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$node/pid"
  done
}

run() { # BROKERS|secure
  local dir
  dir=$(mktemp -d "${TMPDIR:-/tmp}/kafka.XXXXXX")
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
  stop) stop "${2:?which folder?}" TERM "${3:-}" ;;
  kill) stop "${2:?which folder?}" KILL "${3:-}" ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
