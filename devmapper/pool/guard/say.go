package guard

import (
	"github.com/containerd/log"

	"github.com/varve-project/varve/internal/finding"
)

// say logs findings that are new, loudly, and those that are gone; not those
// that were there at the last look, whatever their numbers say now.
func (w *watch) say(v View) {
	now := map[string]bool{}
	for _, f := range v.Findings {
		key := f.ID + " " + string(f.Severity)
		now[key] = true
		if !w.said[key] {
			w.tell(f)
		}
	}
	for key := range w.said {
		if !now[key] && !rose(key, v.Findings) {
			w.log.Infof("pool %s: no longer: %s", w.limits.Pool, key)
		}
	}
	w.said = now
}

// rose tells whether a finding is still there with another severity.
func rose(key string, list finding.List) bool {
	for _, f := range list {
		if len(key) > len(f.ID) && key[:len(f.ID)+1] == f.ID+" " {
			return true
		}
	}
	return false
}

func (w *watch) tell(f finding.Finding) {
	entry := w.log.WithFields(log.Fields{"finding": f.ID, "pool": w.limits.Pool})
	if f.Command != "" {
		entry = entry.WithField("command", f.Command)
	}
	text := f.Text + " " + f.Meaning + " " + f.Remedy
	if f.Severity == finding.Error {
		entry.Error(text)
		return
	}
	entry.Warn(text)
}
