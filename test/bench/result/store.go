package result

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Write puts the file into dir as BENCH.json and makes dir/README.md anew
// from all the JSON files there.
func (f File) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("result %s: %w", f.Bench, err)
	}
	if err := os.WriteFile(filepath.Join(dir, f.Bench+".json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	files, err := Read(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "README.md"), []byte(Markdown(files)), 0o644)
}

// Read reads every result of dir, by name.
func Read(dir string) ([]File, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	files := make([]File, len(names))
	for i, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &files[i]); err != nil {
			return nil, fmt.Errorf("%s: %w; remove it or run its benchmark again", name, err)
		}
	}
	return files, nil
}
