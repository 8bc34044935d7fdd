# eipdns as an image: one binary, certificates, an ordinary user.
#
#   docker build -t eipdns .
#   docker run --network host -v /etc/eipdns:/etc/eipdns:ro -v eipdns:/var/lib/eipdns eipdns
#
# Both stages have the architecture of the target, so nothing is
# cross-compiled: `docker buildx build --platform linux/arm64` compiles on an
# arm64 builder, or emulated and slowly. The EC2 SDK takes about 7 GB of memory.

FROM docker.io/library/rust:1-bookworm AS build
# Given by the builder. A base image of another architecture is found out here,
# not at the first start.
ARG TARGETARCH
RUN test "${TARGETARCH:-$(dpkg --print-architecture)}" = "$(dpkg --print-architecture)" \
 && apt-get update \
 && apt-get install -y --no-install-recommends libcap2-bin \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build

# The dependencies alone, as a layer that stands until Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
COPY src/Cargo.toml src/
COPY src/aws/Cargo.toml src/aws/
RUN echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs src/aws/lib.rs \
 && cargo build --release --locked \
 && rm -r src

COPY src src
# Cargo goes by times of modification, and the copied files may be older than
# the empty ones.
RUN touch src/main.rs src/lib.rs src/aws/lib.rs \
 && cargo build --release --locked \
 && strip --strip-debug -o eipdns target/release/eipdns
# Port 53 for an ordinary user. With --cap-drop=ALL goes
# --cap-add=NET_BIND_SERVICE: the kernel does not start a file whose
# capabilities it cannot grant. Under no-new-privileges a file grants none; the
# port is then open where the runtime opens it (Docker's own networks, podman's
# --cap-add), and on a host's network by its sysctl
# net.ipv4.ip_unprivileged_port_start=53.
RUN setcap cap_net_bind_service=+ep eipdns

FROM docker.io/library/debian:bookworm-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /build/eipdns /usr/local/bin/
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/eipdns/
RUN install -d /etc/eipdns \
 && install -d -o 65532 -g 65532 -m 0700 /var/lib/eipdns
ENV EIPDNS_CONFIG=/etc/eipdns \
    EIPDNS_STATE=/var/lib/eipdns
VOLUME /var/lib/eipdns
EXPOSE 53/udp 53/tcp 8053/tcp
# By number, so that Kubernetes can see it is not root.
USER 65532:65532
# Asks where EIPDNS_LISTEN_HTTP or else `listen.http` says: without either, run with
# --no-healthcheck. Neither an outage of EC2 nor a bad edit makes a container
# unhealthy.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["eipdns", "status", "--live"]
ENTRYPOINT ["eipdns"]
