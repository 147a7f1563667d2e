package limits_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/varve-project/varve/snapshotter/limits"
)

func TestKey(t *testing.T) {
	for key, ok := range map[string]bool{
		"": false, "a": true, "a\x00b": true,
		strings.Repeat("k", limits.MaxKey): true, strings.Repeat("k", limits.MaxKey+1): false,
	} {
		err := limits.Key("name", key)
		if (err == nil) != ok {
			t.Errorf("a key of %d bytes: %v", len(key), err)
		}
		if err != nil && (!errors.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), "name")) {
			t.Errorf("%v: want InvalidArgument that names the field", err)
		}
	}
}

func TestLabels(t *testing.T) {
	many := map[string]string{}
	for i := range limits.MaxLabels + 1 {
		many[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		labels map[string]string
		ok     bool
	}{
		{nil, true},
		{map[string]string{"k": strings.Repeat("v", limits.MaxLabel-1)}, true},
		{map[string]string{"k": strings.Repeat("v", limits.MaxLabel)}, false},
		{map[string]string{"": "v"}, false},
		{many, false},
	} {
		if err := limits.Labels(c.labels); (err == nil) != c.ok {
			t.Errorf("%d labels: %v", len(c.labels), err)
		} else if err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%v: want InvalidArgument", err)
		}
	}
}
