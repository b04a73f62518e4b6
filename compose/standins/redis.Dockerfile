FROM debian:bookworm-slim
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* && mkdir -p /data && chown redis /data
USER redis
WORKDIR /data
# the package's defaults listen on loopback; the image's do not
ENTRYPOINT ["/entry.sh"]
COPY redis-entry.sh /entry.sh
