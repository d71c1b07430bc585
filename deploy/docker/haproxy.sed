# deploy/haproxy/haproxy.cfg -> what HAProxy runs with in compose.yaml.
# The container's resolver. It comes first: a line that is deleted ends the script for it, and that may be the last.
$a\
\
resolvers docker\
    nameserver docker 127.0.0.11:53\
    hold valid 1s
# There is no certificate. Where you have one, mount it at /etc/haproxy/fanmail.pem, publish port 443 and take this out.
/^ *bind :443 /d
# The container's own loopback is nobody's; the port is published on that of the host.
s/bind 127\.0\.0\.1:8080/bind :8080/
# Only 8080 is published. This one is for Prometheus, on the network `watch`.
s/bind 127\.0\.0\.1:9200/bind :9200/
# A container that is made anew has another address. Where a name means nothing yet, the front is down for now.
s/default-server /&resolvers docker init-addr libc,none /
s/server front\([01]\) 127\.0\.0\.1:810[01]/server front\1 front-\1:8100/
s/server operations\([01]\) 127\.0\.0\.1:910[01]/server operations\1 front-\1:9100/
/server \(front\|operations\)[23] /d
# HAProxy does without the user's other groups, and runs as that user already.
/^ *\(user\|group\) haproxy$/d
