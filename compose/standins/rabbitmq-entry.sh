#!/bin/sh
# RABBITMQ_DEFAULT_USER and _PASS as in the image of that name.
set -eu
if [ "${1:-}" = rabbitmq-server ]; then
  {
    echo "loopback_users = none"
    echo "default_user = ${RABBITMQ_DEFAULT_USER:-guest}"
    echo "default_pass = ${RABBITMQ_DEFAULT_PASS:-guest}"
  } > /etc/rabbitmq/rabbitmq.conf
  chown -R rabbitmq /var/lib/rabbitmq
fi
exec "$@"
