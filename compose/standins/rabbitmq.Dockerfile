FROM debian:bookworm-slim
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends rabbitmq-server \
    && rm -rf /var/lib/apt/lists/* && rabbitmq-plugins enable --offline rabbitmq_management
COPY rabbitmq-entry.sh /entry.sh
VOLUME /var/lib/rabbitmq
ENTRYPOINT ["/entry.sh"]
CMD ["rabbitmq-server"]
