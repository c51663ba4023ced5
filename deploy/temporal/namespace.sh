#!/bin/sh
# Makes the namespace and the search attributes that Waypost's executions carry, or brings them up to date.
# TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and WAYPOST_RETENTION come from the environment. Safe to run again.
set -eu

namespace="${TEMPORAL_NAMESPACE:-default}"
retention="${WAYPOST_RETENTION:-72h}"

tries=0
until temporal operator cluster health > /dev/null 2>&1; do
  tries=$((tries + 1))
  if [ "$tries" -ge 60 ]; then
    echo "Temporal at $TEMPORAL_ADDRESS did not answer in two minutes" >&2
    exit 1
  fi
  sleep 2
done

if temporal operator namespace describe --namespace "$namespace" > /dev/null 2>&1; then
  temporal operator namespace update --namespace "$namespace" --retention "$retention" > /dev/null
else
  temporal operator namespace create --namespace "$namespace" --retention "$retention" > /dev/null
fi

attributes="WaypostTenant WaypostKind WaypostSource WaypostState"

missing() {
  known="$(temporal operator search-attribute list --namespace "$namespace" 2> /dev/null || true)"
  for name in $attributes; do
    echo "$known" | grep -qw "$name" || echo "$name"
  done
}

# A namespace is known to every part of the server only some seconds after it was made, and so is a search attribute.
tries=0
while wanted="$(missing)" && [ -n "$wanted" ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt 60 ]; then
    echo "In namespace $namespace these search attributes could not be made: $wanted" >&2
    exit 1
  fi
  # shellcheck disable=SC2046,SC2086 # one option a name
  temporal operator search-attribute create --namespace "$namespace" --type Keyword \
    $(printf -- '--name %s ' $wanted) > /dev/null 2>&1 || sleep 1
done

echo "Namespace $namespace is ready; closed executions are kept for $retention."
