#!/bin/sh
# Makes the namespace and the search attributes that Waypost's executions carry, or brings them up to date.
# TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and WAYPOST_RETENTION come from the environment. Safe to run again.
set -eu

export TEMPORAL_NAMESPACE="${TEMPORAL_NAMESPACE:-default}"
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

if temporal operator namespace describe > /dev/null 2>&1; then
  temporal operator namespace update --retention "$retention" > /dev/null
else
  temporal operator namespace create --retention "$retention" > /dev/null
fi

# A namespace is known to every part of the server only some seconds after it was made.
for name in WaypostTenant WaypostKind WaypostSource WaypostState WaypostLane; do
  tries=0
  until temporal operator search-attribute list 2> /dev/null | grep -qw "$name"; do
    temporal operator search-attribute create --name "$name" --type Keyword > /dev/null 2>&1 || true
    tries=$((tries + 1))
    if [ "$tries" -ge 30 ]; then
      echo "The search attribute $name could not be made in namespace $TEMPORAL_NAMESPACE" >&2
      exit 1
    fi
    sleep 1
  done
done

echo "Namespace $TEMPORAL_NAMESPACE is ready; closed executions are kept for $retention."
