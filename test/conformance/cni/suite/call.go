package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// hang is how long a plug-in may take before it counts as stuck.
const hang = 60 * time.Second

// Answer is what one execution of a plug-in gave.
type Answer struct {
	Stdout, Stderr []byte
	// Exit is the exit status, -1 for a signal.
	Exit int
}

// Error is the error object of the specification.
type Error struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details"`
}

func (a Answer) ok() bool { return a.Exit == 0 }

// err is the answer's error object; nil when stdout holds none.
func (a Answer) err() *Error {
	var e Error
	if json.Unmarshal(a.Stdout, &e) != nil || e.Code == 0 {
		return nil
	}
	return &e
}

func (a Answer) String() string {
	text := fmt.Sprintf("exit status %d", a.Exit)
	if len(a.Stdout) > 0 {
		text += ", stdout " + short(a.Stdout)
	}
	if len(a.Stderr) > 0 {
		text += ", stderr " + short(a.Stderr)
	}
	return text
}

func short(data []byte) string {
	if len(data) > 600 {
		return string(data[:600]) + "…"
	}
	return strings.TrimSpace(string(data))
}

// environment is the environment of one call; an empty value is not set.
type environment map[string]string

// execute runs the executable of a plug-in once. ctx kills it.
func (s *Subject) execute(ctx context.Context, kind string, env environment, stdin []byte) (Answer, error) {
	path, err := s.executable(kind)
	if err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "CNI_") || strings.HasPrefix(variable, "CNI_CONFORMANCE_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	for name, value := range env {
		if value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	answer := Answer{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Exit: cmd.ProcessState.ExitCode()}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return answer, fmt.Errorf("execute %s: %w", path, err)
	}
	return answer, nil
}

// request is one call of a chain.
type request struct {
	verb string
	pod  *Pod // nil for STATUS, GC and VERSION
	// ifname is eth0 unless given.
	ifname string
	// version is the subject's unless given.
	version string
	// caps are the capability arguments, by capability.
	caps map[string]any
	// keys go into every plug-in's configuration as they are.
	keys map[string]any
	// prev is the first plug-in's prevResult (ADD), or everybody's. DEL gets
	// what the pod's last ADD answered, unless forgotten.
	prev      json.RawMessage
	forgotten bool
	// env is put over what the verb needs; "-" unsets.
	env environment
}

func (s *Subject) environment(q request) environment {
	env := environment{"CNI_COMMAND": q.verb, "CNI_PATH": strings.Join(s.Path, ":")}
	if q.pod != nil {
		env["CNI_CONTAINERID"], env["CNI_NETNS"], env["CNI_IFNAME"] = q.pod.ID, q.pod.NetNS, "eth0"
		env["CNI_ARGS"] = "IgnoreUnknown=1;K8S_POD_NAME=" + q.pod.ID
	}
	if q.ifname != "" {
		env["CNI_IFNAME"] = q.ifname
	}
	for name, value := range q.env {
		if value == "-" {
			value = ""
		}
		env[name] = value
	}
	return env
}

// config is what plug-in i reads on its standard input.
func (s *Subject) config(i int, q request) map[string]any {
	conf := clone(s.Plugins[i])
	conf["name"], conf["cniVersion"] = s.Name, s.Version
	if q.version != "" {
		conf["cniVersion"] = q.version
	}
	given := map[string]any{}
	for capability, value := range q.caps {
		if able(conf, capability) {
			given[capability] = value
		}
	}
	if len(given) > 0 {
		conf["runtimeConfig"] = given
	}
	for key, value := range q.keys {
		conf[key] = value
	}
	if q.prev != nil {
		conf["prevResult"] = q.prev
	}
	return conf
}

// one calls plug-in i of the chain, alone.
func (s *Subject) one(ctx context.Context, i int, q request) (Answer, error) {
	conf := s.config(i, q)
	stdin, err := json.Marshal(conf)
	if err != nil {
		return Answer{}, err
	}
	kind, _ := conf["type"].(string)
	return s.execute(ctx, kind, s.environment(q), stdin)
}

// chain calls the plug-ins as a runtime does: in order, each with the result
// of the one before; DEL in reverse; the first failure ends it. The answer is
// the last one.
func (s *Subject) chain(ctx context.Context, q request) (Answer, error) {
	var answer Answer
	if q.verb == "DEL" && q.prev == nil && !q.forgotten {
		q.prev = q.pod.results.get(ifname(q))
	}
	for n := range s.Plugins {
		i := n
		if q.verb == "DEL" {
			i = len(s.Plugins) - 1 - n
		}
		var err error
		if answer, err = s.one(ctx, i, q); err != nil || !answer.ok() {
			return answer, err
		}
		if q.verb == "ADD" {
			q.prev = answer.Stdout
		}
	}
	if q.verb == "ADD" {
		q.pod.results.put(ifname(q), answer.Stdout)
	}
	return answer, nil
}

func ifname(q request) string {
	if q.ifname != "" {
		return q.ifname
	}
	return "eth0"
}

// call is chain for the case's own goroutine.
func (r *Run) call(q request) Answer {
	answer, err := r.chain(context.Background(), q)
	r.must(err)
	return answer
}

// first calls the first plug-in alone.
func (r *Run) first(q request) Answer {
	answer, err := r.one(context.Background(), 0, q)
	r.must(err)
	return answer
}

// wants demands a success.
func (r *Run) wants(what string, a Answer) {
	if !a.ok() {
		r.fatalf("%s: %s", what, a)
	}
}

// refuses demands the specification's error object and one of the codes, any
// when none is given.
func (r *Run) refuses(what string, a Answer, codes ...uint) {
	e := a.err()
	switch {
	case a.ok():
		r.errorf("%s: succeeded, want an error%s", what, wanted(codes))
	case e == nil:
		r.errorf("%s: stdout holds no error object with a code: %s", what, a)
	case e.Msg == "":
		r.errorf("%s: the error has no msg: %s", what, a)
	case len(codes) > 0 && !contains(codes, e.Code):
		r.errorf("%s: error code %d (%s)%s", what, e.Code, e.Msg, wanted(codes))
	}
}

func contains(codes []uint, code uint) bool {
	for _, c := range codes {
		if c == code {
			return true
		}
	}
	return false
}

func wanted(codes []uint) string {
	if len(codes) == 0 {
		return ""
	}
	return ", want code " + strings.Trim(strings.ReplaceAll(fmt.Sprint(codes), " ", " or "), "[]")
}
