# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
# docker.sh - two real containers, staggered; sourced by the Docker scenarios.
export DOCKER_HOST=unix:///run/docker.sock
docker_answers() { curl -sf -o /dev/null --unix-socket /run/docker.sock http://docker/_ping; }

dockerd --data-root /run/docker-data --exec-root /run/docker-exec -p /run/docker.pid \
  -H "$DOCKER_HOST" --bridge=none --iptables=false --ip-forward=false >"$D/dockerd.log" 2>&1 &
dockerd=$!
until_ok 90 docker_answers || die "dockerd does not answer"
tar -C "$GUEST" -c wl | docker import -c 'ENTRYPOINT ["/wl"]' - wl:latest || die "docker import"
for name in "hungry wl_cpu" "modest wl_mem"; do
  id=$(docker create --name "${name% *}" --network none wl:latest "${name#* }" 70 100 12) ||
    die "docker create"
  container "${name% *}" "/docker/$id"
done
meter --docker-host "$DOCKER_HOST"
sleep 2
docker start hungry || die "docker start"
sleep 5
docker start modest || die "docker start"
docker wait hungry modest
sleep 1
docker rm hungry modest
kill $dockerd
wait $dockerd
