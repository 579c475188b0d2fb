package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
)

// nginxConf is nginx with its best for one small image: as many processes as the
// image server of ours may use cores, no limit of requests per connection, and an
// access log, which is what one would count from, buffered.
const nginxConf = `daemon off;
master_process on;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log;
events { worker_connections 4096; }
http {
  access_log %[1]s/access.log combined buffer=64k flush=1s;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  tcp_nodelay on;
  server {
    listen %[2]s reuseport backlog=4096;
    location / { empty_gif; }
  }
}
`

// nginx starts Debian's nginx answering its built-in image, on loopback, its files
// in dir. It is errAbsent if there is none.
func (s *Setup) nginx(ctx context.Context, dir string) (*node, error) {
	program, err := exec.LookPath(s.Nginx)
	if err != nil {
		return nil, fmt.Errorf("nginx %w", errAbsent)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // its workers are another user
		return nil, err
	}
	address, err := freePort()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, address), 0o600); err != nil {
		return nil, err
	}
	p, err := Start(ctx, "nginx", program, []string{"-c", conf, "-p", dir, "-e", filepath.Join(dir, "error.log")}, s.Env)
	if err != nil {
		return nil, err
	}
	n := &node{Process: p, public: address}
	err = p.await(ctx, s.StopLimit, func(ctx context.Context) (bool, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address.String())
		if err != nil {
			return false, nil
		}
		return true, c.Close()
	})
	if err != nil {
		n.kill()
		return nil, err
	}
	return n, nil
}

// freePort returns an address of this machine that nobody listens on now.
func freePort() (netip.AddrPort, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer l.Close()
	return netip.ParseAddrPort(l.Addr().String())
}
