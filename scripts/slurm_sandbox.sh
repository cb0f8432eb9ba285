#!/usr/bin/env bash
# A throw-away one-machine Slurm on loopback, to test launches against the real thing: no systemd, no cgroups,
# no accounting, nothing in /etc. Written for Debian 12 (slurm-wlm 22.05, whose slurmd may run several times).
set -euo pipefail

usage() { cat <<'USAGE'
  up               start munged, slurmctld and one slurmd per node; a second `up` changes nothing
  down             cancel the jobs, stop the daemons, remove the sandbox
  env              print what a shell needs: eval "$(scripts/slurm_sandbox.sh env)"
  status           whether it is up, and its nodes (exit code 1 where it is not)
  kill-node NAME   as if the node lost power: its slurmd, its steps and their tasks die by SIGKILL
  start-node NAME  start that node's slurmd again and wait until the controller takes it
Variables read by `up`: NODES (2), CPUS per node (cores / NODES), KILLWAIT (10 s from SIGTERM to SIGKILL),
GRACE (0 s for a preempted job to end by itself), CONTROLLER (SlurmctldParameters, as
preempt_send_user_signal). Every command reads SLURM_SANDBOX, the folder (/tmp/speechml-slurm-UID).
USAGE
}
say() { echo "slurm_sandbox: $*"; }
die() { local code=$1; shift; say "$*" >&2; exit "$code"; }

dir=$(realpath -ms -- "${SLURM_SANDBOX:-/tmp/speechml-slurm-$(id -u)}")
conf=$dir/slurm.conf
marker=$dir/.speechml-slurm-sandbox
export SLURM_CONF=$conf PATH=$PATH:/usr/sbin:/sbin
check_folder() {
  # slurm.conf knows no quoting, expands %, and a unix socket's path ends at 107 characters.
  [[ $dir =~ ^/[A-Za-z0-9._/-]+$ && ${#dir} -le 70 ]] || die 2 "'$dir' is too long or has characters that slurm.conf cannot hold"
  [[ ! -L $dir ]] || die 2 "$dir is a symlink; not used"
  [[ -e $dir ]] || return 0
  [[ -d $dir && -O $dir ]] || die 2 "$dir is not a folder of this user; not used"
  [[ -e $marker || -z $(ls -A -- "$dir") ]] || die 2 "$dir holds something that is no sandbox; not used"
}

# Pids come from files, and a pid may have been given to another process since: so both its name and a trace of
# this sandbox on its command line must fit.
ours() { # PID COMM
  [[ $1 =~ ^[0-9]+$ && $(cat "/proc/$1/comm" 2>/dev/null) == "$2" ]] || return 1
  { tr '\0' '\n' <"/proc/$1/cmdline" | grep -F -- "$dir/" >/dev/null; } 2>/dev/null
}
# PIDFILE COMM
pid_of() { local pid; pid=$(cat "$1" 2>/dev/null) && ours "$pid" "$2" && echo "$pid"; }
stop() { # PIDFILE COMM
  local pid _
  pid=$(pid_of "$1" "$2") || return 0
  kill "$pid" 2>/dev/null || return 0
  for _ in {1..100}; do ours "$pid" "$2" || return 0; sleep 0.1; done # slurmctld removes its file before it ends
  kill -9 "$pid" 2>/dev/null || true
}
is_up() { pid_of "$dir/run/slurmctld.pid" slurmctld >/dev/null; }
need_up() { is_up || die 1 "no sandbox is up in $dir; start it with: $0 up"; }
nodes() { sed -n 's/^NodeName=\([^ ]*\) .*/\1/p' "$conf" 2>/dev/null || true; }
need_node() { nodes | grep -qxF -- "${1:-}" || die 2 "no node '${1:-}'; nodes: $(nodes | paste -sd" ")"; }

# Every process of a node: slurmd; its slurmstepd (children of init by now, and their command line names only the
# step, but each keeps the node's log open); what left their tree but has the node and this sandbox in its
# environment; and all that descends from these. Daemons come first, so that they die before they can report.
node_pids() { # NODE
  local p pid ppid table seen=" " queue=()
  if p=$(pid_of "$dir/run/slurmd-$1.pid" slurmd); then queue+=("$p"); fi
  for p in $(pgrep -x slurmstepd || true); do
    [[ -z $(find "/proc/$p/fd" -lname "$dir/log/slurmd-$1.log" 2>/dev/null) ]] || queue+=("$p")
  done
  for p in $(grep -lzxF -- "SLURM_CONF=$conf" /proc/[0-9]*/environ 2>/dev/null || true); do
    if grep -qzxF -- "SLURMD_NODENAME=$1" "$p" 2>/dev/null; then p=${p#/proc/}; queue+=("${p%/environ}"); fi
  done
  table=$(ps -e -o pid=,ppid=)
  while ((${#queue[@]})); do
    p=${queue[0]} queue=("${queue[@]:1}")
    [[ $seen != *" $p "* ]] || continue
    seen+="$p "; echo "$p"
    while read -r pid ppid; do [[ $ppid != "$p" ]] || queue+=("$pid"); done <<<"$table"
  done
}
kill_node() { # NODE
  local pids round
  for round in {1..20}; do # again, for what was being forked meanwhile
    mapfile -t pids < <(node_pids "$1")
    ((${#pids[@]})) || return 0
    kill -9 "${pids[@]}" 2>/dev/null || true
    sleep 0.05
  done
  die 1 "processes of $1 are still there after $round rounds: ${pids[*]}"
}
start_slurmd() { slurmd -f "$conf" -N "$1" </dev/null >>"$dir/log/start.log" 2>&1; }

write_conf() {
  local host count=${NODES:-2} cpus port i
  host=$(hostname -s)
  cpus=${CPUS:-$(($(nproc) / count > 0 ? $(nproc) / count : 1))}
  while # free ports below the ephemeral ones; drawn by chance, as two sandboxes may come up at the same moment
    port=$((16384 + 64 * (RANDOM % 250)))
    ss -Hltn | awk -v a="$port" '{n = $4; sub(/.*:/, "", n); if (n >= a && n < a + 64) used = 1} END {exit !used}'
  do :; done
  # cred_expire is also how long a requeued job waits before it may start again (120 s by default; less than 5 is
  # ignored). NoInAddrAny binds each daemon to its own address only. config_overrides takes more CPUs than there are.
  cat >"$conf" <<CONF
ClusterName=speechml-sandbox
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthInfo=socket=$dir/munge/socket,cred_expire=5
StateSaveLocation=$dir/state/slurmctld
SlurmdSpoolDir=$dir/state/slurmd-%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
${CONTROLLER:+SlurmctldParameters=$CONTROLLER}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MaxArraySize=11
KillWait=${KILLWAIT:-10}
MessageTimeout=5
BatchStartTimeout=3
SlurmdTimeout=10
ReturnToService=2
$(for ((i = 1; i <= count; i++)); do echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=$cpus State=UNKNOWN"; done)
PartitionName=main Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=${GRACE:-0} State=UP
PartitionName=urgent Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF State=UP
CONF
}

clean() { # only what `up` made, and the folder itself where nothing else is in it
  local node
  for node in $(nodes); do kill_node "$node"; done
  stop "$dir/run/slurmctld.pid" slurmctld
  stop "$dir/run/munged.pid" munged
  rm -rf -- "${dir:?}"/{state,run,munge,log} "$conf" "$marker"
  rmdir -- "$dir" 2>/dev/null || true
}

up() {
  local program missing=() node want=${NODES:-2} _
  check_folder
  for program in munged slurmctld slurmd sbatch scontrol sinfo pgrep ss; do command -v "$program" >/dev/null || missing+=("$program"); done
  ((${#missing[@]} == 0)) || die 2 "${missing[*]} not found: apt-get install -y --no-install-recommends slurm-wlm munge (and procps iproute2 for pgrep, ss)"
  ((EUID == 0)) || die 2 "slurmd needs root: run this as root"
  if is_up; then say "is up already in $dir"; return 0; fi
  [[ $want =~ ^[1-9][0-9]?$ && $want -le 60 ]] || die 2 "NODES is a number from 1 to 60"
  [[ ! -e $marker ]] || clean # left by a crash
  (umask 022 && mkdir -p "$dir" && touch "$marker" && mkdir "$dir"/{state,run,munge,log})
  trap 'tail -n 5 "$dir"/log/* >&2 || true; clean; say "did not come up" >&2; exit 1' EXIT
  write_conf
  (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")
  munged --key-file="$dir/munge/key" --socket="$dir/munge/socket" --seed-file="$dir/munge/seed" --num-threads=2 \
    --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" </dev/null >>"$dir/log/start.log" 2>&1
  slurmctld -f "$conf" -c </dev/null >>"$dir/log/start.log" 2>&1
  for node in $(nodes); do start_slurmd "$node"; done
  for _ in {1..300}; do [[ $(sinfo -h -N -p main -o %T 2>/dev/null | grep -cx idle) != "$want" ]] || break; sleep 0.1; done
  [[ $(sinfo -h -N -p main -o %T | grep -cx idle) == "$want" ]]
  trap - EXIT
  say "up: partitions $(sinfo -h -o %R | paste -sd,), nodes $(nodes | paste -sd,), $(sinfo -h -p main -o %c | head -n 1) CPUs each; use it: eval \"\$($0 env)\""
}
down() {
  local i
  check_folder
  if [[ ! -e $marker ]]; then say "no sandbox is up in $dir"; return 0; fi
  if is_up; then # the nodes are killed below in any case; this lets jobs end the ordinary way first
    timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
    for ((i = 0; i < 30; i++)); do [[ -n $(timeout 5 squeue -h 2>/dev/null) ]] || break; sleep 0.1; done
  fi
  clean
  say "down"
}
start_node() { # NODE
  local before _
  if pid_of "$dir/run/slurmd-$1.pid" slurmd >/dev/null; then say "$1 runs already"; return 0; fi
  # The controller that gave a node up goes on trying to tell it to end the lost job, and a node that is back at
  # once would end that job's new run on this message. So wait until none is under way.
  for _ in {1..300}; do
    [[ $(sinfo -h -N -n "$1" -p main -o %T) == down* && $(sdiag | awk '/^Agent (count|queue size):/ {n += $NF} END {print n}') != 0 ]] || break
    sleep 0.1
  done
  before=$(date +%Y-%m-%dT%H:%M:%S)
  start_slurmd "$1"
  for _ in {1..600}; do # the state alone may be from before the kill, so the daemon's start must be the new one
    if scontrol -o show node "$1" | tr ' ' '\n' | awk -F= -v t="$before" '{v[$1] = $2}
      END {exit !(v["SlurmdStartTime"] >= t && v["State"] ~ /^(IDLE|MIXED|ALLOCATED)$/)}'; then say "$1 is back"; return 0; fi
    sleep 0.1
  done
  die 1 "$1 did not come back in 60 s: $(sinfo -h -N -n "$1" -o '%T %E' | head -n 1)"
}

case ${1:-} in
  up) up ;;
  down) down ;;
  env) need_up; printf 'export SLURM_CONF=%q\n' "$conf" ;;
  status) is_up || { say "not up in $dir"; exit 1; }; say "is up in $dir"; sinfo ;;
  kill-node) need_up; need_node "${2:-}"; kill_node "$2"; say "$2 lost power" ;;
  start-node) need_up; need_node "${2:-}"; start_node "$2" ;;
  *) usage >&2; exit 2 ;;
esac
