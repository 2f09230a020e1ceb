# cbtester. It needs the Docker socket, and the formula's address in CBFORMULA_URL.
# Build from the top of the tree: docker build -f docker/tester.Dockerfile -t cbwatts/tester .
# BASE may be any Debian 12.
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential pkg-config \
    libmongoc-dev libbson-dev libpfm4-dev libzmq3-dev libcurl4-openssl-dev libsqlite3-dev \
    libmicrohttpd-dev libjansson-dev libcap-ng-dev libseccomp-dev libyaml-dev libzstd-dev zlib1g-dev
COPY . /src
RUN make -C /src -j"$(nproc)" build/bin/cbtester

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends libcurl4 libjansson4 && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/bin/cbtester /usr/bin/
ENTRYPOINT ["/usr/bin/cbtester"]
