# Steps with times, and what the checks of bin/test-vm ask the cluster. The log has what each step said.
log=${VM_LOG_FILE:-/log/log}

say() { printf 'podwire test-vm: %5s s  %s\n' "$SECONDS" "$1" | tee --append "$log"; }

stamp() {
  local line
  while IFS= read -r line; do printf '%(%H:%M:%S)T %s\n' -1 "$line"; done >> "$log"
}

step() {
  # step TITLE COMMAND...: the first that fails ends the run. Not in a condition: there bash would go on
  # after a command of COMMAND that failed.
  local title=$1 begin=$SECONDS status
  shift
  say "$title"
  set +e
  (set -e; "$@" 2>&1 < /dev/null) | stamp
  status=${PIPESTATUS[0]}
  set -e
  if [[ $status -ne 0 ]]; then
    say "FAILED after $((SECONDS - begin)) s: $title"
    tail -n 40 "$log" >&2
    return 1
  fi
  say "  took $((SECONDS - begin)) s"
}

eventually() {
  # eventually SECONDS COMMAND...: until it succeeds
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [[ $SECONDS -lt $end ]] || { echo "did not come true: $*"; return 1; }
    sleep 2
  done
}

in_time() { eventually 1200 "$@"; } # emulated, on a busy machine; kubectl gives TLS alone no more than 10 s

wait_ready() { in_time kubectl wait node "$@" --for=condition=Ready --timeout=1m; }

wait_pods() { in_time kubectl wait pod --all --for=condition=Ready --timeout=1m; }

find_targets() {
  # find_targets PODS: set $targets to what every Pod must reach; false unless so many Pods have an address
  local pods service
  pods=$(kubectl get pods --output=jsonpath='{range .items[*]}{.status.podIP}{"\n"}{end}') || return 1
  service=$(kubectl get service web --output=jsonpath='{.spec.clusterIP}') || return 1
  mapfile -t targets < <(print_targets "$service" <<<"$pods")
  [[ -n $service && ${#targets[@]} -eq $(($1 + 3)) ]]
}

expect_refusal() {
  # expect_refusal WORDS COMMAND...: it fails, and says WORDS, without a backtrace of Ruby's
  local words=$1 said
  shift
  if said=$("$@" 2>&1); then echo "$said"; echo "did not fail: $*"; return 1; fi
  echo "$said"
  [[ $said == *"$words"* && $said != *".rb:"* ]] || { echo "did not say: $words"; return 1; }
}

expect_same_runs() {
  # expect_same_runs LEAST BEFORE AFTER: no unit that runs began anew; LEAST, for silence proves nothing
  local least=$1 units
  units=$(grep -c '^InvocationID=[0-9a-f]' <<<"$2" || true)
  [[ $units -ge $least ]] || { echo "$units units run, and $least should: $2"; return 1; }
  diff <(echo "$2") <(echo "$3") && echo "$units units are still in the same run"
}

print_targets() {
  # what every Pod must reach: stdin is the Pods' addresses, $1 the ClusterIP
  local address
  while read -r address; do
    [[ -z $address ]] || echo "$address:8080"
  done
  printf '%s\n' "$1" web.default.svc.cluster.local web
}
