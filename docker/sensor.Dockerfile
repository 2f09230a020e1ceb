# cbsensor. compose.yaml has the rights and mounts that it needs.
# Build from the top of the tree: docker build -f docker/sensor.Dockerfile -t cbwatts/sensor .
# BASE may be any Debian 12.
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential pkg-config \
    libmongoc-dev libbson-dev libpfm4-dev libzmq3-dev libcurl4-openssl-dev libsqlite3-dev \
    libmicrohttpd-dev libjansson-dev libcap-ng-dev libseccomp-dev libyaml-dev libzstd-dev zlib1g-dev \
    clang bpftool libbpf-dev
COPY . /src
RUN make -C /src -j"$(nproc)" build/bin/cbsensor

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends libbson-1.0-0 libzmq5 libpfm4 \
    libcap-ng0 libseccomp2 libcurl4 libjansson4 libyaml-0-2 libbpf1 libmongoc-1.0-0 && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/bin/cbsensor /usr/bin/
ENTRYPOINT ["/usr/bin/cbsensor"]
