# cbformula. Its state is in /var/lib/cbwatts/formula: keep it in a volume.
# Build from the top of the tree: docker build -f docker/formula.Dockerfile -t cbwatts/formula .
# BASE may be any Debian 12.
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential pkg-config \
    libmongoc-dev libbson-dev libpfm4-dev libzmq3-dev libcurl4-openssl-dev libsqlite3-dev \
    libmicrohttpd-dev libjansson-dev libcap-ng-dev libseccomp-dev libyaml-dev libzstd-dev zlib1g-dev
COPY . /src
RUN make -C /src -j"$(nproc)" build/bin/cbformula

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends libbson-1.0-0 libzmq5 libmongoc-1.0-0 \
    libcurl4 libsqlite3-0 libmicrohttpd12 libjansson4 libzstd1 zlib1g && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/bin/cbformula /usr/bin/
ENTRYPOINT ["/usr/bin/cbformula"]
