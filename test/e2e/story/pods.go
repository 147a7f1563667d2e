package story

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// daemons starts the suite and asks its doctor.
func (s *story) daemons(ctx context.Context) error {
	if _, err := s.run(ctx, "version"); err != nil {
		return err
	}
	if _, err := s.run(ctx, "up"); err != nil {
		return err
	}
	return s.doctor(ctx)
}

func (s *story) images(ctx context.Context) error {
	for _, archive := range []string{s.Busybox, s.Debian} {
		if _, err := s.run(ctx, "image", "load", archive); err != nil {
			return err
		}
	}
	_, err := s.run(ctx, "image", "ls")
	return err
}

// web starts the web pod and waits for its probe to pass.
func (s *story) web(ctx context.Context) error {
	if err := s.start(ctx, "web"); err != nil {
		return err
	}
	if _, err := s.run(ctx, "pod", "ls"); err != nil {
		return err
	}
	s.say("one network namespace: the debian container reaches the server on loopback")
	request := `exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && tail -n 1 <&3`
	if err := s.expect(ctx, "hello from the volume", "web", "debian", "bash", "-c", request); err != nil {
		return err
	}
	s.say("one volume: it reads what the init container wrote")
	return s.expect(ctx, "hello from the volume", "web", "debian", "cat", "/srv/index.html")
}

// start runs the manifest NAME.yaml and waits until the pod is ready.
func (s *story) start(ctx context.Context, name string) error {
	_, err := s.run(ctx, "run", "--wait", name+".yaml")
	// Also of a pod that did not get ready there may be something to remove.
	if p, asked := s.pod(ctx, name); asked == nil {
		s.scope.Cgroups = append(s.scope.Cgroups, p.Metadata.UID)
	}
	return err
}

// pod is what the story reads of `varve pod inspect -o json`.
type pod struct {
	Metadata struct{ UID string }
	Status   struct {
		IPs        []string
		Containers []struct {
			Name string
			Pid  int
		}
	}
	Supervisor int
}

// pod asks for one pod.
func (s *story) pod(ctx context.Context, name string) (pod, error) {
	var list []pod
	if err := s.ask(ctx, &list, "pod", "inspect", name); err != nil {
		return pod{}, err
	}
	if len(list) != 1 {
		return pod{}, fmt.Errorf("varve pod inspect %s -o json: %d pods", name, len(list))
	}
	return list[0], nil
}

// ips are the pod's IPv4 and IPv6 addresses.
func (p pod) ips() (four, six string, err error) {
	for _, ip := range p.Status.IPs {
		if strings.Contains(ip, ":") {
			six = ip
		} else {
			four = ip
		}
	}
	if four == "" || six == "" {
		err = fmt.Errorf("the pod's addresses are %v, want one IPv4 and one IPv6", p.Status.IPs)
	}
	return four, six, err
}

// pids are those of the running containers, by name.
func (p pod) pids() (map[string]int, error) {
	pids := map[string]int{}
	for _, c := range p.Status.Containers {
		if c.Pid > 0 {
			pids[c.Name] = c.Pid
		}
	}
	if len(pids) == 0 {
		return nil, errors.New("no container has a process")
	}
	return pids, nil
}
