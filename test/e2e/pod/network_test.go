package pod_test

import (
	"os/exec"
	"strings"
	"testing"
)

const server = `command: [sh, -c, "mkdir /w; hostname > /w/index.html; exec httpd -f -p 80 -h /w"],
    readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}`

// Two pods listen on one port; each is reached at its own addresses, from the
// host and from another pod, and through its own host port.
func TestPodsReachEachOther(t *testing.T) {
	s := start(t)
	s.apply(pod("one", `{name: c, image: busybox, ports: [{containerPort: 80, hostPort: 18081}], `+server+`}`) + "---\n" +
		pod("two", `{name: c, image: busybox, ports: [{containerPort: 80, hostPort: 18082}], `+server+`}`) + "---\n" +
		pod("client", `{name: c, image: busybox, `+forever+`}`))
	for name, port := range map[string]string{"one": "18081", "two": "18082"} {
		ips := s.inspect(name).Status.IPs
		if len(ips) != 2 {
			t.Fatalf("addresses of %s: %v", name, ips)
		}
		for _, ip := range ips {
			url := "http://" + ip
			if strings.Contains(ip, ":") {
				url = "http://[" + ip + "]"
			}
			if got := s.exec("client", "wget", "-q", "-O", "-", url+"/"); got != name {
				t.Errorf("client reaches %q at %s, want %s", got, url, name)
			}
		}
		for _, host := range []string{"127.0.0.1", "[::1]"} {
			out, err := exec.Command("curl", "-sS", "-m", "5", "http://"+host+":"+port+"/").CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != name {
				t.Errorf("host port %s:%s reaches %q, %v, want %s", host, port, out, err, name)
			}
		}
	}
	// A host port that is taken is refused, and said so.
	r := s.varve(pod("three", `{name: c, image: busybox, ports: [{containerPort: 80, hostPort: 18081}], `+server+`}`), "run", "-")
	if r.code != 1 || !strings.Contains(r.err, "18081") {
		t.Errorf("a taken host port: %+v", r)
	}
}
