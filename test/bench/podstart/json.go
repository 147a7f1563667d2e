package podstart

import (
	"encoding/json"
	"fmt"
	"os"
)

// editJSON changes a file that holds one T.
func editJSON[T any](file string, change func(*T)) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var value T
	if err := json.Unmarshal(text, &value); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	change(&value)
	if text, err = json.Marshal(value); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, text, 0o644)
}
