package attach

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	cniconf "github.com/varve-project/varve/deploy/cni"
)

const ranges = `"ipam":{"ranges":[[{"subnet":"10.89.0.0/24"}]]}`

func conf(more string) []byte {
	return []byte(`{"cniVersion":"1.1.0","name":"n","type":"varve-cni",` + more + `}`)
}

func TestParseRefusesByName(t *testing.T) {
	for name, c := range map[string]struct {
		conf, args string
		code       uint
		text       string
	}{
		"unknown key":         {`"brige":"b",` + ranges, "", 7, "brige: unknown key"},
		"unknown inner key":   {`"ipam":{"ranges":[[{"subnet":"10.0.0.0/24","gatway":"10.0.0.1"}]]}`, "", 7, "ipam.ranges[][].gatway"},
		"unknown runtime key": {`"runtimeConfig":{"portMapping":[]},` + ranges, "", 7, "runtimeConfig.portMapping"},
		"unknown range key":   {`"runtimeConfig":{"ipRanges":[[{"net":"x"}]]}`, "", 7, "runtimeConfig.ipRanges[][].net"},
		"unknown cni arg":     {`"args":{"cni":{"foo":1}},` + ranges, "", 7, "args.cni.foo"},
		"vlan":                {`"vlan":5,` + ranges, "", 2, "vlan: not supported"},
		"mac spoof":           {`"macspoofchk":true`, "", 2, "macspoofchk"},
		"conditions":          {`"conditionsV4":["! -d 1.2.3.4"]`, "", 2, "conditionsV4"},
		"daemon":              {`"daemon":"/run/varve/netd.sock"`, "", 2, "daemon"},
		"aliases":             {`"runtimeConfig":{"aliases":["x"]}`, "", 2, "runtimeConfig.aliases"},
		"other ipam":          {`"ipam":{"type":"dhcp"}`, "", 2, `ipam.type "dhcp"`},
		"iptables":            {`"ipMasqBackend":"iptables"`, "", 2, "ipMasqBackend"},
		"portmap's iptables":  {`"backend":"iptables"`, "", 2, "backend"},
		"mark bit":            {`"markMasqBit":14`, "", 2, "markMasqBit 14"},
		"wrong type":          {`"mtu":"big"`, "", 6, "mtu: want int"},
		"bad mtu":             {`"mtu":7`, "", 7, "mtu 7"},
		"bridge's slash":      {`"bridge":"a/b"`, "", 7, "bridge"},
		"long bridge":         {`"bridge":"0123456789abcdef"`, "", 7, "bridge"},
		"hairpin and promisc": {`"hairpinMode":true,"promiscMode":true`, "", 7, "hairpinMode and promiscMode"},
		"no ranges":           {`"ipam":{"type":"host-local"}`, "", 7, "ipam.ranges: missing"},
		"empty set":           {`"ipam":{"ranges":[[]]}`, "", 7, "ranges[0] is empty"},
		"mixed set":           {`"ipam":{"ranges":[[{"subnet":"10.0.0.0/24"},{"subnet":"fd00::/64"}]]}`, "", 7, "ranges[0][1]"},
		"overlap":             {`"ipam":{"ranges":[[{"subnet":"10.0.0.0/16"}],[{"subnet":"10.0.5.0/24"}]]}`, "", 7, "overlaps ranges[0][0]"},
		"host bits":           {`"ipam":{"subnet":"10.0.0.5/24"}`, "", 7, "did you mean 10.0.0.0/24"},
		"too small":           {`"ipam":{"subnet":"10.0.0.0/31"}`, "", 7, "too small"},
		"gateway outside":     {`"ipam":{"subnet":"10.0.0.0/24","gateway":"10.0.1.1"}`, "", 7, "gateway 10.0.1.1 is not in"},
		"start outside":       {`"ipam":{"subnet":"10.0.0.0/24","rangeStart":"10.0.1.1"}`, "", 7, "rangeStart 10.0.1.1"},
		"end before start":    {`"ipam":{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.9","rangeEnd":"10.0.0.8"}`, "", 7, "comes before"},
		"broadcast":           {`"ipam":{"subnet":"10.0.0.0/24","rangeEnd":"10.0.0.255"}`, "", 7, "rangeEnd 10.0.0.255"},
		"only the gateway":    {`"ipam":{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.1","rangeEnd":"10.0.0.1"}`, "", 7, "no address but the gateway"},
		"bad subnet":          {`"ipam":{"subnet":"ten"}`, "", 7, `subnet "ten"`},
		"relative dataDir":    {`"ipam":{"dataDir":"x","subnet":"10.0.0.0/24"}`, "", 7, "ipam.dataDir"},
		"rest":                {`"ipam":{"restSeconds":-1,"subnet":"10.0.0.0/24"}`, "", 7, "ipam.restSeconds -1"},
		"route's host bits":   {`"ipam":{"subnet":"10.0.0.0/24","routes":[{"dst":"10.1.2.3/24"}]}`, "", 7, "ipam.routes[0].dst"},
		"route's family":      {`"ipam":{"subnet":"10.0.0.0/24","routes":[{"dst":"10.1.2.0/24","gw":"fd00::1"}]}`, "", 7, "different families"},
		"host port 0":         {`"runtimeConfig":{"portMappings":[{"hostPort":0,"containerPort":80}]}`, "", 7, "portMappings[0]: hostPort 0"},
		"protocol":            {`"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":80,"protocol":"icmp"}]}`, "", 7, `protocol "icmp"`},
		"port twice":          {`"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":80},{"hostPort":1,"containerPort":81}]}`, "", 7, "portMappings[1]"},
		"rate without burst":  {`"runtimeConfig":{"bandwidth":{"ingressRate":8000}}`, "", 7, "runtimeConfig.bandwidth.ingressRate"},
		"huge burst":          {`"egressRate":8000,"egressBurst":99999999999`, "", 7, "egressBurst"},
		"multicast mac":       {`"runtimeConfig":{"mac":"01:00:5e:00:00:01"}`, "", 7, "runtimeConfig.mac"},
		"bad ip":              {`"runtimeConfig":{"ips":["nope"]}`, "", 7, "runtimeConfig.ips[0]"},
		"env args":            {ranges, "FOO=1", 4, `"FOO"`},
		"env pair":            {ranges, "FOO", 4, "KEY=VALUE"},
		"lists differ":        {`"cni.dev/valid-attachments":[],"cni.dev/attachments":[{"containerID":"a","ifname":"b"}]`, "", 7, "differ"},
		"prevResult":          {`"prevResult":{"cniVersion":"9.9"}`, "", 6, "prevResult"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(conf(c.conf), c.args)
			var e *types.Error
			if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Msg, c.text) {
				t.Errorf("got %+v, want code %d with %q", err, c.code, c.text)
			}
		})
	}
}

func TestParseTakesTheReferenceLanguage(t *testing.T) {
	c, err := Parse(conf(`"bridge":"b0","isDefaultGateway":true,"vlan":0,"macspoofchk":false,"vlanTrunk":[],"ipMasqBackend":"nftables",
		"capabilities":{"portMappings":true},"args":{"other":{"x":1},"cni":{"ips":["10.89.0.9"],"mac":"02:00:00:00:00:01","labels":[{"key":"a","value":"b"}]}},
		"ipam":{"type":"host-local","subnet":"10.89.0.0/24","ranges":[[{"subnet":"fd00::/64"}]],"routes":[{"dst":"0.0.0.0/0"}]},
		"runtimeConfig":{"ipRanges":[[{"subnet":"10.90.0.0/24"}]],"ips":["fd00::9/64"],"portMappings":[{"hostPort":80,"containerPort":8080,"protocol":"TCP","hostIP":"127.0.0.1"}]},
		"snat":true,"markMasqBit":13,"backend":"nftables"`), "IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.90.0.7")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Ranges) != 3 || c.Ranges[0].String() != "10.90.0.1-10.90.0.254" || !c.IsGateway || len(c.Wanted) != 3 ||
		c.MAC.String() != "02:00:00:00:00:01" || c.Ports[0].Protocol != "tcp" || c.Valid != nil {
		t.Errorf("%+v", c)
	}
}

// What make install and varve up write is taken as it is.
func TestDefaultConflistParses(t *testing.T) {
	var list struct {
		Name       string
		CNIVersion string
		Plugins    []map[string]any
	}
	if err := json.Unmarshal(cniconf.Conflist, &list); err != nil || len(list.Plugins) != 1 {
		t.Fatalf("%v %v", err, list)
	}
	list.Plugins[0]["name"], list.Plugins[0]["cniVersion"] = list.Name, list.CNIVersion
	data, err := json.Marshal(list.Plugins[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(data, "")
	if err != nil || c.Network != "varve" || c.Bridge != "varve0" || len(c.Ranges) != 2 || !c.IPMasq || !c.IsDefaultGateway {
		t.Errorf("%+v %v", c, err)
	}
}

// The table in docs/cni.md is the one in the code.
func TestKeysAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/cni.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([a-z-]+) \\| ([a-z]+) \\| (.*) \\|$").FindAllStringSubmatch(string(doc), -1) {
		rows[m[1]] = m[2] + " " + m[3] + " " + m[4]
	}
	for _, k := range Keys {
		if want := k.Of + " " + string(k.Treatment) + " " + k.Text; rows[k.Path] != want {
			t.Errorf("docs/cni.md has %q for %s, want\n| `%s` | %s | %s | %s |", rows[k.Path], k.Path, k.Path, k.Of, k.Treatment, k.Text)
		}
		delete(rows, k.Path)
	}
	for path := range rows {
		t.Errorf("docs/cni.md has %s, which the code does not know", path)
	}
}

// FuzzParse: no input panics, and every refusal has a code of the spec.
func FuzzParse(f *testing.F) {
	f.Add(conf(ranges), "")
	f.Add(conf(`"runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":8080}],"ips":["10.89.0.7"],"bandwidth":{"ingressRate":8000,"ingressBurst":8000}},`+ranges), "IgnoreUnknown=1;MAC=02:00:00:00:00:01")
	f.Add(conf(`"prevResult":{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.1/24"}]},"cni.dev/valid-attachments":[{"containerID":"a","ifname":"b"}]`), "IP=1.2.3.4")
	f.Add(conf(`"ipam":{"subnet":"fd00::/64","routes":[{"dst":"::/0","gw":"fd00::1","table":5}]}`), ";;")
	f.Add([]byte("{"), "=")
	f.Fuzz(func(t *testing.T, stdin []byte, args string) {
		if c, err := ParseStore(stdin); err == nil && (c.Network == "" || !filepath.IsAbs(c.DataDir)) {
			t.Errorf("DEL took %q", stdin)
		}
		c, err := Parse(stdin, args)
		if err == nil {
			if c.Network == "" || checkLinkName(c.Bridge) != nil {
				t.Errorf("took %q", stdin)
			}
			return
		}
		var e *types.Error
		if !errors.As(err, &e) || e.Code != 2 && e.Code != 4 && e.Code != 6 && e.Code != 7 {
			t.Errorf("%q: %v", stdin, err)
		}
	})
}
