package volume

import (
	"fmt"
	"sort"
	"strings"
)

// A token names the last entry given out, not a position: entries that come
// or go between two pages neither repeat nor hide another one, and a token
// stays good when its entry is deleted.
const tokenPrefix = "after:"

// Page cuts one page out of items, which are ordered by id. It returns the
// page and the token of the next one, "" when there is none. maxEntries 0
// means all.
func Page[T any](items []T, id func(T) string, maxEntries int32, token string) ([]T, string, error) {
	if maxEntries < 0 {
		return nil, "", fmt.Errorf("max_entries %d: must not be negative: %w", maxEntries, ErrInvalid)
	}
	if token != "" {
		after, ok := strings.CutPrefix(token, tokenPrefix)
		if !ok || ValidID(after) != nil {
			return nil, "", fmt.Errorf("starting_token %q: %w; start again without one", token, ErrToken)
		}
		items = items[sort.Search(len(items), func(i int) bool { return id(items[i]) > after }):]
	}
	if maxEntries == 0 || len(items) <= int(maxEntries) {
		return items, "", nil
	}
	items = items[:maxEntries]
	return items, tokenPrefix + id(items[len(items)-1]), nil
}
