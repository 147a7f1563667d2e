package story

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// hostPort is that of the web pod.
const hostPort = "18080"

// network asks the web pod from the client pod, by its own addresses and by
// the node's with the host port, and from the node itself.
func (s *story) network(ctx context.Context) error {
	if err := s.start(ctx, "client"); err != nil {
		return err
	}
	web, err := s.pod(ctx, "web")
	if err != nil {
		return err
	}
	four, six, err := web.ips()
	if err != nil {
		return err
	}
	node4, node6, err := nodeAddresses()
	if err != nil {
		return err
	}
	s.say("the web pod is %s and %s, the node %s and %s", four, six, node4, node6)
	for _, address := range []string{
		net.JoinHostPort(four, "8080"), net.JoinHostPort(six, "8080"),
		net.JoinHostPort(node4, hostPort), net.JoinHostPort(node6, hostPort),
	} {
		if err := s.fetch(ctx, "hello from the volume", address); err != nil {
			return err
		}
	}
	s.say("from the node itself, by loopback and the host port")
	return s.get("hello from the volume", net.JoinHostPort("127.0.0.1", hostPort))
}

// fetch asks from the client pod. busybox's wget would wait for ever.
func (s *story) fetch(ctx context.Context, want, address string) error {
	return s.expect(ctx, want, "client", "shell", "timeout", "5", "wget", "-qO-", "http://"+address+"/")
}

// get asks from the node.
func (s *story) get(want, address string) error {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + address + "/")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return err
	}
	got := strings.TrimSpace(string(body))
	s.say("GET http://%s/: %s", address, got)
	if got != want {
		return fmt.Errorf("http://%s/ answered %q, want %q", address, got, want)
	}
	return nil
}

// twins shows two pods on one port, each with an answer of its own.
func (s *story) twins(ctx context.Context) error {
	if err := s.start(ctx, "twin"); err != nil {
		return err
	}
	for name, want := range map[string]string{"web": "hello from the volume", "twin": "hello from the twin"} {
		p, err := s.pod(ctx, name)
		if err != nil {
			return err
		}
		four, _, err := p.ips()
		if err != nil {
			return err
		}
		if err := s.fetch(ctx, want, net.JoinHostPort(four, "8080")); err != nil {
			return err
		}
	}
	return nil
}

// nodeAddresses are the node's own: its namespace has loopback and what the
// CNI plug-in made.
func nodeAddresses() (four, six string, err error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", "", err
	}
	for _, a := range addresses {
		ip := a.(*net.IPNet).IP
		switch {
		case ip.IsLoopback() || ip.IsLinkLocalUnicast():
		case ip.To4() != nil:
			four = ip.String()
		default:
			six = ip.String()
		}
	}
	if four == "" || six == "" {
		return "", "", fmt.Errorf("the node has the addresses %v, want an IPv4 and an IPv6 one on the bridge", addresses)
	}
	return four, six, nil
}
