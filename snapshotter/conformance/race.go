package conformance

import (
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
)

var raceCases = []Case{
	{Name: "one of many Prepares of a key succeeds", Run: on(samePrepare)},
	{Name: "one of many Removes of a key succeeds", Run: on(sameRemove)},
	{Name: "one of many Commits to a name succeeds", Run: on(sameCommit)},
	{Name: "Prepare and Remove of one key at once leave it whole or gone", Run: on(prepareRemove)},
	{Name: "many keys at once do not disturb each other", Run: on(manyKeys)},
}

const clients = 16

// at calls fn from many clients at once and returns the errors.
func at(fn func(i int) error) []error {
	var group sync.WaitGroup
	errs := make([]error, clients)
	begin := make(chan struct{})
	for i := range clients {
		group.Add(1)
		go func() {
			defer group.Done()
			<-begin
			errs[i] = fn(i)
		}()
	}
	close(begin)
	group.Wait()
	return errs
}

// single fails the case unless exactly one call succeeded and the others
// failed the right way.
func (r *run) single(errs []error, is func(error) bool, what, kind string) {
	r.Helper()
	succeeded := 0
	for _, err := range errs {
		if err == nil {
			succeeded++
		} else if !is(err) {
			r.Errorf("%s: %v, want %s", what, err, kind)
		}
	}
	if succeeded != 1 {
		r.Errorf("%s: %d of %d succeeded, want one", what, succeeded, len(errs))
	}
}

func samePrepare(r *run) {
	r.layer("base", "", func(dir string) { r.write(dir, "f", "x") })
	for round := range 5 {
		key := fmt.Sprint("key", round)
		errs := at(func(int) error { _, err := r.sn.Prepare(r.ctx, key, "base"); return err })
		r.single(errs, errdefs.IsAlreadyExists, "Prepare of one key", "AlreadyExists")
		m, err := r.sn.Mounts(r.ctx, key)
		r.must(err, "Mounts")
		r.mounted(m, func(dir string) { r.holds(dir, "f", "x"); r.write(dir, "g", "y") })
	}
}

func sameRemove(r *run) {
	for round := range 5 {
		key := fmt.Sprint("key", round)
		r.prepare(key, "")
		errs := at(func(int) error { return r.sn.Remove(r.ctx, key) })
		r.single(errs, errdefs.IsNotFound, "Remove of one key", "NotFound")
	}
}

func sameCommit(r *run) {
	for i := range clients {
		m := r.prepare(fmt.Sprint("a", i), "")
		r.mounted(m, func(dir string) { r.write(dir, "f", fmt.Sprint(i)) })
	}
	errs := at(func(i int) error { return r.sn.Commit(r.ctx, "name", fmt.Sprint("a", i)) })
	r.single(errs, errdefs.IsAlreadyExists, "Commit to one name", "AlreadyExists")
	for i, err := range errs {
		if err == nil {
			r.look("name", func(dir string) { r.holds(dir, "f", fmt.Sprint(i)) })
			continue
		}
		r.commit(fmt.Sprint("c", i), fmt.Sprint("a", i)) // the losers lost nothing
	}
}

func prepareRemove(r *run) {
	r.layer("base", "", func(dir string) { r.write(dir, "f", "x") })
	r.cleanup()
	before := r.Held(r)
	for range 20 {
		errs := at(func(i int) error {
			if i%2 == 0 {
				_, err := r.sn.Prepare(r.ctx, "key", "base")
				return err
			}
			return r.sn.Remove(r.ctx, "key")
		})
		for _, err := range errs {
			if err != nil && !errdefs.IsAlreadyExists(err) && !errdefs.IsNotFound(err) && !errdefs.IsUnavailable(err) {
				r.Errorf("Prepare beside Remove: %v", err)
			}
		}
		m, err := r.sn.Mounts(r.ctx, "key")
		if errdefs.IsNotFound(err) {
			continue
		}
		r.must(err, "Mounts")
		r.mounted(m, func(dir string) { r.holds(dir, "f", "x"); r.lacks(dir, "g"); r.write(dir, "g", "y") })
		r.remove("key")
	}
	r.cleanup()
	if after := r.Held(r); after > before {
		r.Errorf("%d units are held after all was removed, %d before", after, before)
	}
}

func manyKeys(r *run) {
	r.layer("base", "", func(dir string) { r.write(dir, "f", "x") })
	errs := at(func(i int) error {
		parent := "base"
		for n := range 5 {
			key := fmt.Sprintf("%d-%d", i, n)
			if _, err := r.sn.Prepare(r.ctx, key, parent); err != nil {
				return fmt.Errorf("prepare %s: %w", key, err)
			}
			if err := r.sn.Commit(r.ctx, key+"c", key); err != nil {
				return fmt.Errorf("commit %s: %w", key, err)
			}
			parent = key + "c"
		}
		for n := 4; n >= 0; n-- {
			if err := r.sn.Remove(r.ctx, fmt.Sprintf("%d-%dc", i, n)); err != nil {
				return fmt.Errorf("remove: %w", err)
			}
		}
		return nil
	})
	for i, err := range errs {
		if err != nil {
			r.Errorf("client %d: %v", i, err)
		}
	}
	if left := r.list(); len(left) != 1 {
		r.Errorf("%v are left, want base alone", left)
	}
}
