# Kafka from Maven Central on Debian's Java, with the paths and the KAFKA_* variables of apache/kafka.
FROM debian:bookworm-slim
RUN apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/* \
    && useradd -u 1000 -m appuser && mkdir -p /opt/kafka/bin /opt/kafka/config /var/lib/kafka/data \
    && chown -R appuser /opt/kafka/config /var/lib/kafka
COPY jars /opt/kafka/libs
COPY kafka-start.sh kafka-broker-api-versions.sh /opt/kafka/bin/
USER 1000
VOLUME /var/lib/kafka/data
CMD ["/opt/kafka/bin/kafka-start.sh"]
