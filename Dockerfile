# The server alone on Debian's smallest image, as a user without rights. compose.yaml says how it is
# meant to be run; every key of the configuration has an environment variable.

FROM swift:6.2-bookworm AS build
WORKDIR /build
# What changes seldom comes first: packages of Debian, then those of Swift.
COPY scripts/dependencies scripts/
RUN scripts/dependencies run && rm -rf /var/lib/apt/lists/*
COPY Package.swift ./
RUN swift package resolve
COPY scripts scripts
COPY Sources Sources
COPY Tests Tests
RUN swift build -c release --product elemta $(scripts/release-flags) \
    && strip --strip-unneeded -o /elemta .build/release/elemta

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libcrypt1 libevent-2.1-7 \
        libevent-core-2.1-7 libevent-extra-2.1-7 libevent-openssl-2.1-7 libldap-2.5-0 liblmdb0 \
        libssl3 libstdc++6 libunbound8 libyaml-0-2 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && groupadd --gid 1001 elemta \
    && useradd --uid 1001 --gid elemta --home-dir /app --no-create-home --shell /usr/sbin/nologin elemta \
    && install -d -o elemta -g elemta -m 0700 /app/queue \
    && install -d -o elemta -g elemta -m 0750 /app/logs \
    && install -d -m 0755 /app/config
COPY --from=build /elemta /usr/local/bin/elemta
WORKDIR /app
USER 1001:1001
# The queue is a database that maps its file into memory: a named volume or a disk of the host's, not a
# folder that desktop software shares with a virtual machine.
VOLUME ["/app/queue", "/app/config", "/app/logs"]
EXPOSE 2525 8080
# Nobody relays but the container itself: behind a published port strangers may have an address of the
# container's own networks.
ENV ELEMTA_ALLOWED_RELAYS="127.0.0.1,::1"
# /metrics, /healthz and /readyz, for the networks that the container is in.
ENV ELEMTA_HTTP_LISTEN_ADDR=":8080"
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["elemta", "health"]
ENTRYPOINT ["elemta"]
CMD ["server"]
