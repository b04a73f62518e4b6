# One build of the workspace, one image per service (`--target ingestion`, ...) and the all-in-one (`--target forebay`, the last).
#
#   docker build --target prediction -t forebay-prediction:0.1.0 .
#   docker compose -f compose/compose.yaml build          # all of them, one after the other, from one build
#
# BUILD_IMAGE  anything with Rust, a C and C++ compiler, make and perl
# RUN_IMAGE    anything at all: the programs are linked statically and bring their certificates along
#              (gcr.io/distroless/static-debian12:nonroot, a company's own base, or debian:bookworm-slim to look around with a shell)
#
# Behind a proxy that opens TLS: --secret id=ca,src=/path/to/ca-bundle.pem. Needs BuildKit, the default since Docker 23
# (DOCKER_BUILDKIT=1 before); no syntax line and no heredoc, so that no front end is fetched and Docker 20.10 builds it.
ARG BUILD_IMAGE=rust:1.95.0-bookworm
ARG RUN_IMAGE=scratch

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
# Compiled crates stay in the cache mounts, so a second build compiles what changed; what an image needs is copied to /out.
# cargo-auditable writes the list of crates into the programs, where scanners of images find it.
# LIBZ_SYS_STATIC: zlib goes into the program, whether or not the build image has one of its own.
RUN --mount=type=cache,target=/cache/cargo,sharing=locked \
    --mount=type=cache,target=/cache/target,sharing=locked \
    --mount=type=secret,id=ca,required=false \
    set -eu; \
    if [ -f /run/secrets/ca ]; then export CARGO_HTTP_CAINFO=/run/secrets/ca; fi; \
    export CARGO_HOME=/cache/cargo CARGO_TARGET_DIR=/cache/target CARGO_TERM_COLOR=never LIBZ_SYS_STATIC=1; \
    export CARGO_PROFILE_RELEASE_STRIP=symbols RUSTFLAGS="-C target-feature=+crt-static"; \
    host=$(rustc --print host-tuple); \
    cargo install --quiet --locked --root /cache/cargo --version 0.7.7 cargo-auditable; \
    PATH=/cache/cargo/bin:$PATH cargo auditable build --locked --release --target "$host" --workspace --exclude forebay-loadtest --exclude forebay-testkit --bins; \
    mkdir -p /out/bin /out/etc/ssl/certs /out/tmp; \
    for name in forebay forebay-ingestion forebay-preprocessing forebay-caching forebay-prediction forebay-publishing; do \
      cp "/cache/target/$host/release/$name" /out/bin/; \
    done; \
    cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/; \
    chmod 1777 /out/tmp

# What all images have in common. Everything is read-only but /tmp, where files of a model registry are kept.
FROM ${RUN_IMAGE} AS base
COPY --from=build /out/etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/tmp /tmp
COPY LICENSE /LICENSE
USER 65532:65532
# Inside a container every address is the container's own; which of them is published is decided outside.
ENV FOREBAY__ADMIN__LISTEN=0.0.0.0:8000 FOREBAY__HTTP__LISTEN=0.0.0.0:8080 FOREBAY__GRPC__LISTEN=0.0.0.0:8081 HOME=/tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.title="Forebay" \
      org.opencontainers.image.description="Real-time ML inference mesh" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"

FROM base AS ingestion
COPY --from=build /out/bin/forebay-ingestion /bin/forebay-ingestion
EXPOSE 8080 8081
ENTRYPOINT ["/bin/forebay-ingestion"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["/bin/forebay-ingestion", "health"]

FROM base AS preprocessing
COPY --from=build /out/bin/forebay-preprocessing /bin/forebay-preprocessing
ENTRYPOINT ["/bin/forebay-preprocessing"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["/bin/forebay-preprocessing", "health"]

FROM base AS caching
COPY --from=build /out/bin/forebay-caching /bin/forebay-caching
ENTRYPOINT ["/bin/forebay-caching"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["/bin/forebay-caching", "health"]

FROM base AS prediction
COPY --from=build /out/bin/forebay-prediction /bin/forebay-prediction
ENTRYPOINT ["/bin/forebay-prediction"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["/bin/forebay-prediction", "health"]

FROM base AS publishing
COPY --from=build /out/bin/forebay-publishing /bin/forebay-publishing
ENTRYPOINT ["/bin/forebay-publishing"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["/bin/forebay-publishing", "health"]

FROM base AS forebay
COPY --from=build /out/bin/forebay /bin/forebay
EXPOSE 8080 8081
ENTRYPOINT ["/bin/forebay"]
CMD ["up"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["/bin/forebay", "health"]
