#!/usr/bin/env bash
# docker/compose.yaml with the real programs in containers. The images are made here of the built
# programs and the libraries they load: no registry is asked and no Dockerfile is built.
# limit: 120s
. "$(dirname "$0")/lib.sh"
figures() { /usr/bin/python3 "$TOP/tests/integration/figures.py" "$@"; }
later stop_all "$T"
start_engine "$T" "" cb/busy || exit
export DOCKER_HOST=unix://$engine_socket COMPOSE_PROJECT_NAME=cbtest HOME=$T
DOCKER_SOCKET=$engine_socket CBWATTS_LINK_PORT=$(free_port) CBWATTS_HTTP_PORT=$(free_port)
export DOCKER_SOCKET CBWATTS_LINK_PORT CBWATTS_HTTP_PORT CBWATTS_MACHINE=box
formula_url=http://127.0.0.1:$CBWATTS_HTTP_PORT

# closure_image PART: the image cbwatts/PART of that program and its libraries
closure_image() {
  local dir=$T/image.$1 lib
  mkdir -p "$dir/usr/bin" "$dir/tmp" "$dir/etc"
  cp "$BIN/cb$1" "$dir/usr/bin/"
  for lib in $(ldd "$BIN/cb$1" | grep -oE '/[^ ]+'); do
    mkdir -p "$dir$(dirname "$lib")" && cp -L "$lib" "$dir$lib" || return
  done
  tar -C "$dir" --owner=0 --group=0 -c . | docker_api "$engine_socket" POST \
    "/images/create?fromSrc=-&repo=cbwatts/$1&tag=latest&changes=ENTRYPOINT%20%5B%22/usr/bin/cb$1%22%5D" \
    -H 'Content-Type: application/x-tar' -T -
}
compose() { timeout 60 docker-compose -f docker/compose.yaml "$@"; }

# No Dockerfile is built here, so at least the packages it names are looked at.
# packages_of PART: those of the image itself, with what they depend on
packages_of() {
  # shellcheck disable=SC2016 # it stands there like that
  sed -n '/^FROM ${BASE}$/,$p' "docker/$1.Dockerfile" | grep -oE '\b(lib|zlib)[a-z0-9.+-]+' |
    xargs apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
      --no-enhances | grep -oE '^[a-z0-9][a-z0-9.+-]*'
}
# has_all_libraries PART: prints what its program loads and its image has not
has_all_libraries() {
  local have lib packages missing=0
  have=$(packages_of "$1")
  for lib in $(readelf -d "$BIN/cb$1" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p'); do
    packages=$(dpkg -S "*/$lib" | cut -d : -f 1 | sort -u)
    grep -qxFf <(echo "$packages") <<<"$have" || { echo "$lib: $packages" && missing=1; }
  done
  return $missing
}
for part in sensor formula tester; do
  ok "the image cbwatts/$part has every library that its program loads" has_all_libraries $part
done
ok "the sensor's has what -r mongodb loads" grep -q 'libmongoc-1\.0-0' docker/sensor.Dockerfile
for tool in clang bpftool libbpf-dev; do
  ok "and is built with BPF ($tool)" grep -qw "$tool" docker/sensor.Dockerfile
done

ok "the compose file is one" compose config -q
for part in sensor formula tester; do ok "the image cbwatts/$part" closure_image $part; done
ok "all comes up" compose up -d --no-build
later compose down -v
ok "the sensor's frames arrive" wait_for 20 has_frames
like "under the machine's name" '"machine": ?"box"' "$(curl -s "$formula_url/api/v1/machines")"
compose run --rm -T tester --json cb/busy 2 >"$T/recap.json" 2>"$T/tester.err"
is "the tester in a container measures another one" 0 $?
ok "its recap adds up exactly" figures recap "$T/recap.json"
like "the container has energy" '^[1-9]' "$(figures get "$T/recap.json" phases.0.domains.0.dynamic_uj)"
[ $_failed -eq 0 ] || compose logs --no-color 2>&1 | tail -n 40 | sed 's/^/# /'
ok "all goes down" compose down -v
is "no container is left" '[]' "$(docker_api "$engine_socket" GET '/containers/json?all=1')"
done_testing
