# shellcheck shell=bash
# Shared by the scripts of dev/: the names they agree on, progress, packages, and the steps from an empty machine to an
# installed chart. To be sourced, under `set -euo pipefail`.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export BUDSTIKKE_CACHE=${BUDSTIKKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/budstikke}
export BUDSTIKKE_STATE=${BUDSTIKKE_STATE:-/var/lib/budstikke-dev}
# Outside the checkout, so that a clean checkout stays warm.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$BUDSTIKKE_CACHE/target}

# The contract with the chart, the examples and the binary.
namespace=budstikke
release=budstikke
image=budstikke.dev/budstikke:dev
simulator_image=budstikke.dev/budstikke-simulator:dev
postgres_image=budstikke.dev/postgres:15
pause_image=budstikke.dev/pause:1
coredns_image=budstikke.dev/coredns:1.15.0
export pause_image coredns_image

say() { printf '%s\n' "$*" >&2; }
die() { printf '\n%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# step TITLE COMMAND…: numbered progress with the time since the start; the command's words go to a log of its own, whose
# last line is shown every half minute, and its end when the command fails. VERBOSE=1 shows everything at once.
step_number=0
step() {
  local title=$1 log beat
  shift
  step_number=$((step_number + 1))
  log=$BUDSTIKKE_CACHE/log/$(basename "$0")-$step_number.log
  mkdir -p "$(dirname "$log")"
  : >"$log"
  printf '[%4d s] %d. %s\n' "$SECONDS" "$step_number" "$title" >&2
  # A subshell that still stops at the first failure, which a function called in a condition would not.
  set +e
  if [ "${VERBOSE:-}" = 1 ]; then
    (set -e; "$@") 2>&1 | tee "$log" >&2
    local status=${PIPESTATUS[0]}
  else
    heartbeat "$log" &
    beat=$!
    (set -e; "$@") >"$log" 2>&1
    local status=$?
    kill "$beat"
    wait "$beat" 2>/dev/null
  fi
  set -e
  if [ "$status" = 0 ]; then return; fi
  say ""
  tail -n 25 "$log" | sed 's/^/    /' >&2
  say ""
  say "Failed: step $step_number, $title."
  say "  log:  $log"
  say "  next: ${hint:-read the log; running the same command again continues where it stopped (VERBOSE=1 shows all).}"
  exit 1
}

heartbeat() { # LOG
  # The sleep outlives its parent for a while and must not hold a reader of our output.
  # Ends with the script, also when that is interrupted.
  while sleep 30 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    printf '[%4d s]    … %s\n' "$SECONDS" "$(tail -n 1 "$1" | tr -d '\r' | cut -c1-100)" >&2
  done
}

# missing_packages NAME[:COMMAND]…: those Debian packages whose command (by default the package's name) is missing.
missing_packages() {
  local item missing=()
  for item in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${item#*:}" >/dev/null || missing+=("${item%%:*}")
  done
  echo "${missing[*]}"
}

# packages NAME[:COMMAND]…: installs the missing ones.
packages() {
  local missing=()
  read -r -a missing < <(missing_packages "$@") || true
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || die "missing: ${missing[*]} (names of Debian packages). Install them and run this again."
  [ "$(id -u)" = 0 ] || die "missing: ${missing[*]}. Run as root: apt-get install ${missing[*]}"
  say "Installing packages: ${missing[*]}"
  # Their words go to stderr: callers read stdout.
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
}

tools() { "$repository/dev/tools/build" "$@"; }
cluster() { "$repository/dev/cluster" "$@"; }

# What everything else here takes from Debian; mmdebstrap packs the PostgreSQL image.
base_packages=(build-essential:cc curl jq ca-certificates:update-ca-certificates mmdebstrap)

install_packages() {
  packages "${base_packages[@]}"
  command -v cargo >/dev/null || die "Rust is needed (the version is in rust-toolchain.toml): install rustup or cargo and run this again."
}

# The two builds are told apart by their profile: release is what is shipped, debug has the simulator.
# BUDSTIKKE_PROFILE=debug runs the latter in all pods, for those who change the code and try it.
profile=${BUDSTIKKE_PROFILE:-release}
build_release() { (cd "$repository" && cargo build --release --locked); }
build_simulator() { (cd "$repository" && cargo build --locked --features simulate); }
binaries() { # release | debug
  local host
  host=$(rustc -vV | sed -n 's/^host: //p')
  echo "$CARGO_TARGET_DIR/$host/$1"
}

# Packs and loads one image; pods that still run an older build of the same name are replaced.
load_image() { # TAG ARGUMENTS_OF_dev/image_BEFORE_THE_ARCHIVE…
  local tag=$1 archive
  shift
  archive=$BUDSTIKKE_CACHE/images/$(basename "${tag//:/-}").tar
  "$repository/dev/image" "$@" "$archive" "$tag"
  if [ "$(cluster load "$archive")" = loaded ]; then replace_pods "$tag"; fi
}

replace_pods() { # TAG
  kubectl get pods --all-namespaces --output json |
    jq --raw-output --arg tag "$1" '.items[]
      | select([.spec.containers[].image, (.spec.initContainers // [])[].image] | index($tag))
      | "\(.metadata.namespace) \(.metadata.name)"' |
    while read -r in name; do kubectl delete pod --namespace "$in" "$name" --wait=false; done
}

load_images() {
  # Debugging symbols would be nine tenths of the archive.
  local stripped=$BUDSTIKKE_CACHE/stripped program
  mkdir -p "$stripped"
  for program in budstikke budstikke-sender; do
    strip --strip-debug -o "$stripped/$program" "$(binaries debug)/$program"
  done
  load_image "$simulator_image" budstikke "$stripped"
  if [ "$profile" = debug ]; then
    load_image "$image" budstikke "$stripped"
  else
    load_image "$image" budstikke "$(binaries release)"
  fi
  load_image "$postgres_image" postgres
}

# Held to `restricted`, so that a pod which is not is refused here and not at somebody else's.
make_namespace() {
  kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
  kubectl label namespace "$namespace" --overwrite pod-security.kubernetes.io/enforce=restricted
}

install_chart() {
  make_namespace
  helm upgrade --install "$release" "$repository/charts/budstikke" --namespace "$namespace" \
    --values "$repository/dev/values.yaml" --wait --timeout 5m
}

# From an empty machine to an installed chart. Shared by dev/demo and dev/e2e.
bring_up() {
  local missing
  missing=$(missing_packages "${base_packages[@]}")
  step "Packages${missing:+: installing $missing}" install_packages
  VERBOSE=1 step "Programs of the cluster (from source: 15 minutes the first time)" cluster build
  if [ "$profile" = release ]; then step "Release binary (about 11 minutes the first time)" build_release; fi
  step "Simulator binary (about 5 minutes the first time)" build_simulator
  # Says what it changes on this machine: to be seen before it does.
  VERBOSE=1 step "Cluster" cluster up
  eval "$(cluster env)"
  step "Images" load_images
  hint="kubectl get pods -n $namespace, after eval \"\$(dev/cluster env)\"; dev/cluster logs kubelet" \
    step "Chart" install_chart
}
