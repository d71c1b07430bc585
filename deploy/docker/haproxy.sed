# deploy/haproxy/haproxy.cfg -> the configuration of HAProxy in compose.yaml.
# The resolver of the container. This comes first: a deleted line ends the script for it, and may be the last one.
$a\
\
resolvers docker\
    nameserver docker 127.0.0.11:53\
    hold valid 1s
# There is no certificate. If you have one, mount it at /etc/haproxy/fanmail.pem, publish port 443 and remove this.
/^ *bind :443 /d
# Nothing uses the loopback of the container; the port is published on that of the host.
s/bind 127\.0\.0\.1:8080/bind :8080/
# For Prometheus, on the network `watch`; not published.
s/bind 127\.0\.0\.1:9200/bind :9200/
# A recreated container has another address. While a name cannot be resolved, the front is down.
s/default-server /&resolvers docker init-addr libc,none /
s/server front\([01]\) 127\.0\.0\.1:810[01]/server front\1 front-\1:8100/
s/server operations\([01]\) 127\.0\.0\.1:910[01]/server operations\1 front-\1:9100/
/server \(front\|operations\)[23] /d
# HAProxy runs as that user already, without its supplementary groups.
/^ *\(user\|group\) haproxy$/d
