FROM debian:bookworm-slim
ARG MLFLOW
RUN --mount=type=secret,id=ca,required=false apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3 python3-venv ca-certificates && rm -rf /var/lib/apt/lists/* \
    && if [ -f /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && python3 -m venv /opt/mlflow && /opt/mlflow/bin/pip install -q --no-cache-dir "mlflow==$MLFLOW"
ENV PATH=/opt/mlflow/bin:/usr/local/bin:/usr/bin:/bin
