package story

import (
	"context"
	"fmt"
	"strings"
)

// volume writes to the claim, takes a snapshot, changes the claim, and
// restores the snapshot for another pod.
func (s *story) volume(ctx context.Context) error {
	if _, err := s.in(ctx, "web", "server", "sh", "-c", "dd if=/dev/urandom of=/data/blob bs=1M count=8 2>/dev/null; sync"); err != nil {
		return err
	}
	want, err := s.digest(ctx, "web", "server", "/data/blob")
	if err != nil {
		return err
	}
	if _, err := s.run(ctx, "volume", "snapshot", "data", "data-1"); err != nil {
		return err
	}
	s.say("the original changes after the snapshot")
	if _, err := s.in(ctx, "web", "server", "sh", "-c", "echo more >> /data/blob"); err != nil {
		return err
	}
	changed, err := s.digest(ctx, "web", "server", "/data/blob")
	if err != nil {
		return err
	}
	if err := s.start(ctx, "restored"); err != nil {
		return err
	}
	got, err := s.digest(ctx, "restored", "reader", "/data/blob")
	if err != nil {
		return err
	}
	if got != want || changed == want {
		return fmt.Errorf("the restored volume has %s; the original had %s at the snapshot and has %s now", got, want, changed)
	}
	s.say("equal to the original at the time of the snapshot, and the original is another by now")
	_, err = s.run(ctx, "volume", "ls")
	return err
}

// digest is the SHA-256 of a file in a container.
func (s *story) digest(ctx context.Context, pod, container, file string) (string, error) {
	out, err := s.in(ctx, pod, container, "sha256sum", file)
	if err != nil {
		return "", err
	}
	sum, _, ok := strings.Cut(out, " ")
	if !ok || len(sum) != 64 {
		return "", fmt.Errorf("sha256sum said %q", out)
	}
	return sum, nil
}

// deletions looks for what the Debian image's upper layers deleted: a folder,
// a file, and all that was in a folder which was made anew.
func (s *story) deletions(ctx context.Context) error {
	absent := "for f in /usr/share/doc /etc/debian_version /etc/skel/.bashrc; do test ! -e $f || echo $f is back; done; ls -A /etc/skel"
	if err := s.expect(ctx, "varve", "web", "debian", "sh", "-c", absent); err != nil {
		return err
	}
	return s.expect(ctx, "debian", "web", "debian", "cat", "/etc/varve-image")
}
