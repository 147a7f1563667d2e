package arrows

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Longest files, in lines. Nobody reads a file that scrolls for ever, and a
// long one is two subjects.
const (
	longest     = 350
	longestTest = 500
)

// headings are those of the README of every top folder, so that a reader finds
// the same answer in the same place.
var headings = []string{"Owns", "Never touches", "Where to begin", "Tested by", "Limits"}

// tracked lists the repository's files as git knows them; where the tree is no
// clone, as they lie there.
func tracked(t *testing.T, root string) []string {
	t.Helper()
	out, err := exec.Command("git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z").Output()
	if err == nil {
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
	}
	var files []string
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		files = append(files, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFilesAreShort(t *testing.T) {
	files := tracked(t, "../..")
	seen := 0
	for _, name := range files {
		if filepath.Ext(name) != ".go" {
			continue
		}
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			continue // tracked, and removed in the working tree
		}
		seen++
		if problem := tooLong(name, text); problem != "" {
			t.Error(problem)
		}
	}
	if seen < 50 {
		t.Errorf("only %d Go files seen; that cannot be the whole tree", seen)
	}
}

// tooLong says what is wrong with a Go file's length. Generated files have the
// length they have.
func tooLong(name string, text []byte) string {
	if bytes.HasPrefix(text, []byte("// Code generated ")) {
		return ""
	}
	limit := longest
	if strings.HasSuffix(name, "_test.go") {
		limit = longestTest
	}
	if lines := bytes.Count(text, []byte("\n")); lines > limit {
		return fmt.Sprintf("%s has %d lines, and %d is the limit: it holds more than one subject; split it by them", name, lines, limit)
	}
	return ""
}

func TestTooLongIsFound(t *testing.T) {
	text := bytes.Repeat([]byte("\n"), longest+1)
	if tooLong("a.go", text) == "" {
		t.Error("a file that is too long passes")
	}
	if problem := tooLong("a_test.go", text); problem != "" {
		t.Error(problem)
	}
	if tooLong("a_test.go", bytes.Repeat([]byte("\n"), longestTest+1)) == "" {
		t.Error("a test that is too long passes")
	}
}

func TestEveryTopFolderExplainsItself(t *testing.T) {
	folders := map[string]bool{}
	for _, name := range tracked(t, "../..") {
		top, _, inside := strings.Cut(name, "/")
		if inside && top[0] != '.' {
			folders[top] = true
		}
	}
	for folder := range folders {
		text, err := os.ReadFile(filepath.Join("../..", folder, "README.md"))
		if err != nil {
			t.Errorf("%s/ has no README.md: %v", folder, err)
			continue
		}
		if problem := wrongHeadings(string(text)); problem != "" {
			t.Errorf("%s/README.md: %s", folder, problem)
		}
	}
}

// wrongHeadings compares the second-level headings with the common ones: all of
// them, in their order; a folder may have more after them.
func wrongHeadings(text string) string {
	var got []string
	for line := range strings.Lines(text) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			got = append(got, strings.TrimSpace(heading))
		}
	}
	if len(got) < len(headings) || !slices.Equal(got[:len(headings)], headings) {
		return fmt.Sprintf("headings are %q, want %q first", got, headings)
	}
	return ""
}

func TestWrongHeadingsAreFound(t *testing.T) {
	good := "# x\n\n## Owns\n## Never touches\n## Where to begin\n## Tested by\n## Limits\n## Keys\n"
	if problem := wrongHeadings(good); problem != "" {
		t.Error(problem)
	}
	for _, bad := range []string{"", "# x\n", strings.Replace(good, "## Limits\n", "", 1), strings.Replace(good, "## Owns", "## Has", 1)} {
		if wrongHeadings(bad) == "" {
			t.Errorf("passes: %q", bad)
		}
	}
}

// TestLinksInMarkdown finds links to files that are not there.
func TestLinksInMarkdown(t *testing.T) {
	for _, name := range tracked(t, "../..") {
		if filepath.Ext(name) != ".md" {
			continue
		}
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			continue
		}
		for _, target := range links(string(text)) {
			if _, err := os.Stat(filepath.Join("../..", filepath.Dir(name), target)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, target)
			}
		}
	}
}

// links returns the targets of the inline links to files of the repository.
func links(text string) []string {
	var targets []string
	for _, part := range strings.Split(text, "](")[1:] {
		target, _, ok := strings.Cut(part, ")")
		target, _, _ = strings.Cut(target, "#")
		if ok && target != "" && !strings.Contains(target, "://") {
			targets = append(targets, target)
		}
	}
	return targets
}

func TestLinksAreFound(t *testing.T) {
	got := links("see [a](b/c.md), [d](https://x.org/e), [f](#g) and [h](i.md#j)")
	if want := []string{"b/c.md", "i.md"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
