# syntax=docker/dockerfile:1
ARG CADDY_VERSION=2.11.9

FROM caddy:${CADDY_VERSION}-builder AS builder
ARG CADDY_VERSION
COPY . /src
RUN xcaddy build v${CADDY_VERSION} --with github.com/andogate/ando=/src

FROM caddy:${CADDY_VERSION}
COPY --from=builder /usr/bin/caddy /usr/bin/caddy
# A container's Admin API is reached through a published port, so it needs a key.
COPY <<"EOF" /etc/caddy/Caddyfile
{
	default_bind ando/
	auto_https off
	servers {
		listener_wrappers {
			ando
		}
	}
	ando {
		admin :9180 {
			key admin {$ANDO_ADMIN_KEY}
		}
	}
}

:9080 {
	ando
}

https://:9443 {
	ando
}
EOF
EXPOSE 9080 9180 9443 9443/udp
