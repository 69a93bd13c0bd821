#!/usr/bin/env bash
# Measures Ando beside other proxies; README.md says how and what. Linux with at least two processors, Go, taskset.
#
#   bench.sh [--local] [all|baseline|plain|key-auth|stress|bodies|tls|newconn|log|routes|slow|loops|ramp]...
#
# BENCH_DURATION     seconds of a run (2)
# BENCH_CONNECTIONS  of plain and key-auth (200)
# BENCH_ROUNDS       how often each peer is measured (3)
# BENCH_PEERS        names of the peers, all that are there without it
# BENCH_RT           1: run peers and load with SCHED_RR, for a machine that is not idle; needs root
set -euo pipefail
cd "$(dirname "$0")/.."

docker=-docker
scenarios=()
for word; do
	case $word in
	--local) docker= ;;
	-*)
		sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' benchmark/bench.sh
		exit 2
		;;
	*) scenarios+=("$word") ;;
	esac
done

if [ "$(nproc)" -lt 2 ]; then
	echo 'bench.sh: the proxy and its load need a processor each' >&2
	exit 1
fi

out=benchmark/results/$(date -u +%Y%m%d-%H%M%S)
work=$(mktemp -d)
compare=
up=
clean() {
	trap - EXIT INT TERM HUP
	# It stops what it started.
	if [ -n "$compare" ] && kill -TERM "$compare" 2>/dev/null; then
		wait "$compare" || true
	fi
	if [ -n "$up" ]; then
		docker compose -f benchmark/docker-compose.yml --profile by-hand down --timeout 5 || true
	fi
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

export CGO_ENABLED=0
mkdir "$work/bin"
go build -o "$work/bin/" ./benchmark/load ./benchmark/compare
if [ -z "$docker" ]; then
	go build -o "$work/bin/" ./cmd/ando github.com/caddyserver/caddy/v2/cmd/caddy
else
	export BENCH_CONFIGS=$work/configs BENCH_BIN=$work/bin
	chmod 755 "$work"
	"$work/bin/compare" -configs -out "$BENCH_CONFIGS"
	chmod -R a+rX "$BENCH_CONFIGS"
	up=1
	docker compose -f benchmark/docker-compose.yml up -d --build
fi

# Open files, of which a thousand connections on both sides need some.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"

realtime=
[ "${BENCH_RT:-}" != 1 ] || realtime=-realtime
"$work/bin/compare" -bin "$work/bin" -out "$out" -duration "${BENCH_DURATION:-2}s" -rounds "${BENCH_ROUNDS:-3}" \
	-connections "${BENCH_CONNECTIONS:-200}" -peers "${BENCH_PEERS:-}" $docker $realtime "${scenarios[@]}" &
compare=$!
status=0
wait "$compare" || status=$?
compare=
exit "$status"
