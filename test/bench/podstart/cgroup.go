package podstart

import "github.com/varve-project/varve/test/node"

// parentCgroups are those that the contenders put theirs below: the floor's,
// containerd's (its namespace) and podman's.
var parentCgroups = []string{"varve-bench", "bench", "libpod_parent"}

// tidyCgroups arranges that those which are not there yet are removed at the
// end.
func (s *suite) tidyCgroups() error {
	for _, name := range parentCgroups {
		there, err := node.HasCgroup(name)
		if err != nil {
			return err
		}
		if !there {
			s.closers = append(s.closers, func() error { return node.RemoveCgroup(name) })
		}
	}
	return nil
}
