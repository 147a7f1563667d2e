package attach_test

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// pods is how many the load test attaches. The full thousand takes minutes on
// two cores: VARVE_CNI_PODS=1000 asks for it.
func pods(t *testing.T) int {
	text := os.Getenv("VARVE_CNI_PODS")
	if text == "" {
		return 120
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 {
		t.Fatalf("VARVE_CNI_PODS=%q: want a number of pods", text)
	}
	return count
}

// atOnce makes a call for each of count, 50 at a time.
func atOnce(count int, call func(int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 50 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
				call(int(i))
			}
		})
	}
	wg.Wait()
}

// Many ADDs, 50 at a time, and as many DELs, while another runtime on the node
// collects the garbage of its own network: no address twice, none lost,
// nothing left.
func TestLoad(t *testing.T) {
	count := pods(t)
	n := newNetwork(t, func(c map[string]any) {
		c["ipam"].(map[string]any)["ranges"] = []any{[]any{map[string]any{"subnet": "10.80.0.0/20"}}, []any{map[string]any{"subnet": "fd76::/64"}}}
	})
	all := make([]*attachment, count)
	for i := range all {
		all[i] = n.container(fmt.Sprint("p", i), ports(fmt.Sprintf(`{"hostPort":%d,"containerPort":80}`, 10000+i)))
	}
	other := otherRuntime(t, n)
	atOnce(count, func(i int) {
		if err := all[i].add(); err != nil {
			t.Errorf("ADD %d: %v", i, err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	seen := map[netip.Addr]string{}
	for _, p := range all {
		for _, v4 := range []bool{true, false} {
			if holder, taken := seen[p.ip(v4)]; taken {
				t.Errorf("%s and %s both have %s", p.id, holder, p.ip(v4))
			}
			seen[p.ip(v4)] = p.id
		}
	}
	for _, i := range []int{0, count / 2, count - 1} {
		must(t, all[i].check())
	}
	atOnce(count, func(i int) {
		if err := all[i].del(); err != nil {
			t.Errorf("DEL %d: %v", i, err)
		}
	})
	other()
	n.wantNothingLeft()
}

// otherRuntime attaches a pod of another network in the same store, and then
// collects garbage there with its list and, for a third network, with an empty
// one, until it is stopped.
func otherRuntime(t *testing.T, n *network) (stop func()) {
	t.Helper()
	o := *n
	o.name, o.bridge, o.conf = "other", "tbr1", map[string]any{}
	for k, v := range n.conf {
		o.conf[k] = v
	}
	o.conf["bridge"] = o.bridge
	o.conf["ipam"] = map[string]any{"dataDir": n.dataDir, "subnet": "10.99.0.0/24"}
	t.Cleanup(o.remove)
	p := (&o).container("theirs", nil)
	p.n = &o
	must(t, p.add())
	third := o
	third.name = "third"
	quit, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
			}
			if out, err := o.call("GC", "", "", map[string]any{"cni.dev/valid-attachments": []any{map[string]any{"containerID": "theirs", "ifname": "eth0"}}}); err != nil {
				t.Errorf("GC: %v %s", err, out)
			}
			if out, err := third.call("GC", "", "", map[string]any{"cni.dev/valid-attachments": []any{}}); err != nil {
				t.Errorf("GC: %v %s", err, out)
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		must(t, p.check())
		must(t, p.del())
	}
}
