package network

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/varve-project/varve/runtime/config"
)

func TestResolvConf(t *testing.T) {
	two, host := "2", filepath.Join(t.TempDir(), "resolv.conf")
	defer func(was []string) { hostResolvConfs = was }(hostResolvConfs)
	stub := filepath.Join(t.TempDir(), "stub")
	hostResolvConfs = []string{stub, host}
	for path, text := range map[string]string{
		stub: "nameserver 127.0.0.53\nsearch stub\n",
		host: "# a comment\nnameserver 192.0.2.1\nnameserver 127.0.0.1\nsearch example\noptions edns0 trust-ad\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fromCNI := types.DNS{Nameservers: []string{"192.0.2.9"}, Domain: "cni"}
	config := &corev1.PodDNSConfig{
		Nameservers: []string{"192.0.2.2", "192.0.2.1"}, Searches: []string{"more"},
		Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "debug"}},
	}
	for _, c := range []struct {
		name   string
		policy corev1.DNSPolicy
		config *corev1.PodDNSConfig
		dns    types.DNS
		want   string
	}{
		{"host's, past the stub", corev1.DNSDefault, nil, fromCNI, "nameserver 192.0.2.1\nsearch example\noptions edns0 trust-ad\n"},
		{"plug-in's", corev1.DNSClusterFirst, nil, fromCNI, "nameserver 192.0.2.9\nsearch cni\n"},
		{"no plug-in's", corev1.DNSClusterFirst, nil, types.DNS{}, "nameserver 192.0.2.1\nsearch example\noptions edns0 trust-ad\n"},
		{"only its own", corev1.DNSNone, config, fromCNI, "nameserver 192.0.2.2\nnameserver 192.0.2.1\nsearch more\noptions ndots:2 debug\n"},
		{"both", corev1.DNSDefault, config, fromCNI, "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch example more\noptions edns0 trust-ad ndots:2 debug\n"},
	} {
		got, err := ResolvConf(&corev1.PodSpec{DNSPolicy: c.policy, DNSConfig: c.config}, c.dns)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func conf(t *testing.T) config.Config {
	c := config.Default()
	c.Root, c.State, c.CNIConfDir = t.TempDir(), t.TempDir(), t.TempDir()
	return c
}

// The default network is written once, found by its name, and never over a
// network of the same name.
func TestWriteDefault(t *testing.T) {
	c := conf(t)
	if _, err := New(c).conf(); !errors.Is(err, ErrNoNetwork) || !strings.Contains(err.Error(), "varve up") {
		t.Errorf("no network: %v", err)
	}
	path, err := WriteDefault(c)
	if err != nil || path == "" {
		t.Fatalf("%q, %v", path, err)
	}
	list, err := New(c).conf()
	if err != nil || list.Name != "varve" || list.Plugins[0].Network.Type != "varve-cni" {
		t.Fatalf("%+v, %v", list, err)
	}
	if again, err := WriteDefault(c); err != nil || again != "" {
		t.Errorf("written again: %q, %v", again, err)
	}
}

// A broken file of another network does no harm; without a good one it is
// the error.
func TestBrokenConf(t *testing.T) {
	c := conf(t)
	broken := filepath.Join(c.CNIConfDir, "00-broken.conflist")
	if err := os.WriteFile(broken, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(c).conf(); err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("broken alone: %v", err)
	}
	if _, err := WriteDefault(c); err == nil {
		t.Error("the default was written beside a file that may be it")
	}
	good := `{"cniVersion":"1.0.0","name":"varve","plugins":[{"type":"x"}]}`
	if err := os.WriteFile(filepath.Join(c.CNIConfDir, "10-good.conflist"), []byte(good), 0o644); err != nil {
		t.Fatal(err)
	}
	if list, err := New(c).conf(); err != nil || list.Plugins[0].Network.Type != "x" {
		t.Errorf("beside a broken one: %+v, %v", list, err)
	}
}
